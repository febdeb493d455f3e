package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// What lab run prints with --json is described by the schema of the events.
func TestLabEvents(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	plan := filepath.Join(dir, "p.yaml")
	if err := os.WriteFile(plan, []byte("file: {size: 64KiB}\nlinks: [{rate: 10Mbit, loss: [0, 1%]}]\ntransports: [udp]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{4, 2} { // the second time nothing is to be run
		r := startWherry(t, noInput(), "lab", "sim", plan, "--json", "--out", filepath.Join(dir, "out"))
		if r.wait() != exitDone {
			t.Fatal(r)
		}
		n := 0
		for line := range strings.Lines(r.out.String()) {
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
			if err == nil {
				err = schema.Validate(v)
			}
			if err != nil {
				t.Errorf("%s%v", line, err)
			}
			n++
		}
		if n != want {
			t.Errorf("%d events, want %d:\n%s", n, want, r.out.String())
		}
	}
}
