package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// holdToSchema checks lines of JSON against events.schema.json and returns the
// events' names.
func holdToSchema(t *testing.T, out string) (events []string) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		events = append(events, v.(map[string]any)["event"].(string))
	}
	return events
}

// A relay tells where it listens, its counters as they change, and its end.
func TestLabRelayEvents(t *testing.T) {
	pc, err := net.ListenPacket("udp4", listenAny)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(3 * time.Minute))
	r := startWherry(t, noInput(), "lab", "relay", "--json", "--udp", "--interval", "1ms", "--listen", listenAny, "--to", pc.LocalAddr().String())
	saw := func(what string) string {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); <-tick.C {
			if _, rest, ok := strings.Cut(r.out.String(), what); ok {
				return rest
			}
		}
		t.Fatalf("no %s: %v", what, r)
		return ""
	}
	address, _, _ := strings.Cut(saw(`"address":"`), `"`)
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, _, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "hello" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	saw(`"event":"stats"`)
	r.stop()
	if code := r.wait(); code != exitDone {
		t.Errorf("%v", r)
	}
	events := holdToSchema(t, r.out.String())
	if n := len(events); n < 3 || events[0] != "ready" || events[1] != "stats" || events[n-1] != "done" {
		t.Errorf("the events were %v", events)
	}
}
