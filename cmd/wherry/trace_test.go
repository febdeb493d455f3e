//go:build unix

package main

import (
	"encoding/json"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wherry-net/wherry/socket/trace"
)

// traced FILE EVENTS KIND... holds that FILE is a trace with events of these
// kinds, and that it counts as the done event in EVENTS does, if that is not
// empty.
func traced(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: traced FILE EVENTS KIND...")
	}
	events, err := trace.Read(strings.NewReader(ts.ReadFile(args[0])))
	if err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	seen := map[string]int{}
	sent, again := 0, 0
	for _, e := range events {
		seen[e.Kind.String()]++
		if e.Kind == trace.PacketSent && e.Type == "data" {
			sent++
			if e.Flags&trace.Retransmit != 0 {
				again++
			}
		}
	}
	for _, kind := range args[2:] {
		if seen[kind] == 0 {
			ts.Fatalf("%s has no %s: %v", args[0], kind, seen)
		}
	}
	if args[1] == "" {
		return
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[1])), "\n")
	var done struct {
		Event       string
		PacketsSent int `json:"packets_sent"`
		PacketsLost int `json:"packets_lost"`
		Retransmits int
	}
	ts.Check(json.Unmarshal([]byte(lines[len(lines)-1]), &done))
	// What the event has no knowledge of any more is how the connection ends:
	// a few packets of the closing.
	lost := seen["packet_lost"]
	if done.Event != "done" || sent < done.PacketsSent || sent > done.PacketsSent+200 ||
		again < done.Retransmits || lost < done.PacketsLost || lost > done.PacketsLost+200 {
		ts.Fatalf("%s has %d packets sent, %d lost, %d retransmitted; the summary: %+v", args[0], sent, lost, again, done)
	}
}
