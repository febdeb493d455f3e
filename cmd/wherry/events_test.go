package main

import (
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Every line that --json prints is one of the events that events.schema.json
// describes; whoever adds a field documents it there.
func TestEventSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	check := func(what, out string) {
		t.Helper()
		last := ""
		for line := range strings.Lines(out) {
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
			if err != nil {
				t.Fatalf("%s: %q: %v", what, line, err)
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s: %s%v", what, line, err)
			}
			last, _ = v.(map[string]any)["event"].(string)
			seen[last] = true
		}
		if last != "done" && last != "error" {
			t.Errorf("%s: the last event is %q", what, last)
		}
	}
	file := aFile(t, "f", 2_500_000)
	dir := t.TempDir()
	exchange := func(what string, send, receive []string) {
		r := startWherry(t, noInput(), append([]string{"receive", "--json", "--yes", "--no-sync", "--listen", listenAny}, receive...)...)
		s := startWherry(t, noInput(), append([]string{"send", "--json", "--to", r.address(t)}, send...)...)
		s.wait()
		r.wait()
		check(what+", send", s.out.String())
		check(what+", receive", r.out.String())
	}
	code := dir + "/code"
	if err := os.WriteFile(code, []byte("5-cedar-otter"), 0o600); err != nil {
		t.Fatal(err)
	}
	exchange("plain, slow", []string{"--plain", "--rate", "16Mbit", file}, []string{"--plain", "--dir", t.TempDir()})
	there := t.TempDir()
	exchange("paired", []string{"--code-file", code, file}, []string{"--code-file", code, "--dir", there})
	exchange("again", []string{"--code-file", code, file}, []string{"--code-file", code, "--dir", there})
	exchange("udp", []string{"--plain", "--udp", file}, []string{"--plain", "--udp", "--dir", t.TempDir()})
	exchange("once", []string{"--plain", "--udp", "--arq", "none", "--loss", "5%", "--rate", "100Mbit", file}, []string{"--plain", "--udp", "--arq", "none", "--dir", t.TempDir()})
	if err := os.WriteFile(there+"/f", []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	exchange("kept", []string{"--plain", file}, []string{"--plain", "--overwrite", "never", "--dir", there})
	exchange("refused", []string{"--plain", file}, []string{"--plain", "--max-size", "1", "--dir", t.TempDir()})

	_, out, _ := wherryRun(t.Context(), "send", "--json", "--plain", "--to", deadPort(t), file)
	check("nobody there", out)
	_, out, _ = wherryRun(t.Context(), "send", "--json", "--nonsense")
	check("usage", out)

	e := startWherry(t, noInput(), "echo", "--json", "--listen", listenAny)
	addr, _, _ := strings.Cut(e.until(t, `"tcp":"`), `"`)
	for _, args := range [][]string{{}, {"--udp"}} {
		_, out, _ := wherryRun(t.Context(), append([]string{"ping", "--json", "--count", "2", "--interval", "5ms", addr}, args...)...)
		check("ping", out)
	}
	e.stop()
	e.wait()
	check("echo", e.out.String())
	for _, event := range []string{"listening", "start", "progress", "file", "warning", "missing", "done", "error", "reply", "connected", "closed"} {
		if !seen[event] {
			t.Errorf("no %q event was seen: this test has become blind to it", event)
		}
	}

	// The schema must be able to say no.
	for _, bad := range []string{
		`{"event":"file","peer":"p","path":"f","size":"1","blake3":"` + strings.Repeat("0", 64) + `"}`,
		`{"event":"file","peer":"p","path":"f","size":1}`,
		`{"event":"done","role":"send"}`,
		`{"event":"listening","address":"a","extra":1}`,
		`{"event":"surprise"}`, `{}`, `[]`,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(v) == nil {
			t.Errorf("the schema accepts %s", bad)
		}
	}
}
