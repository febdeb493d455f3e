package main

import (
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// The protocols of the textbook do over the kernel's sockets and a link between two
// hosts what they do in the simulator: three deliver all, and one says what is
// missing.
func TestLabRunTextbookOnALink(t *testing.T) {
	if !mayHaveNamespaces() {
		t.Skip("SKIPPED: no namespaces here")
	}
	dir := t.TempDir()
	plan, out := filepath.Join(dir, "plan.yaml"), filepath.Join(dir, "out")
	if err := os.WriteFile(plan, []byte("engine: link\nseed: 2\nwindow: 8\nfile: {size: 96KiB}\ntimeout: 3m\nlinks: [{rate: 20Mbit, delay: 2ms, loss: 10%}]\n"+
		"transports: [udp:go-back-n, udp:selective-repeat, udp:stop-and-wait, udp:none]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// The test binary by the name under which it is wherry.
	wherry, err := exec.LookPath("wherry")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := exec.CommandContext(t.Context(), wherry, "lab", "run", plan, "--out", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	f, err := os.Open(filepath.Join(out, "results.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 5 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows[1:] {
		v := map[string]string{}
		for i, name := range rows[0] {
			v[name] = row[i]
		}
		number := func(name string) int {
			n, err := strconv.Atoi(v[name])
			if err != nil {
				t.Errorf("%s: %s is %q", v["transport"], name, v[name])
			}
			return n
		}
		missing, lost := number("missing_bytes"), number("link_lost")
		if v["error"] != "" || lost == 0 || number("packets_sent") < 80 {
			t.Errorf("%v", v)
		}
		if none := v["transport"] == "udp:none"; none != (missing > 0) || missing > 96<<10/2 {
			t.Errorf("%s: %d bytes missing after %d losses", v["transport"], missing, lost)
		}
		if v["transport"] == "udp:stop-and-wait" && v["limiter"] == "the sender's source" {
			t.Error("stop-and-wait waits for its window, not for its source")
		}
	}
}
