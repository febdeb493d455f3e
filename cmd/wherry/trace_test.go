//go:build unix

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wherry-net/wherry/socket/rudp/arq"
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

// captured FILE TEXT... holds that FILE is pcapng, that comments of packets have
// those texts, and where tshark is installed, that it and the dissector find
// nothing wrong with any packet. TestTransfers in socket/capture insists on
// tshark.
func captured(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: captured FILE TEXT...")
	}
	file := ts.ReadFile(args[0])
	if !strings.HasPrefix(file, "\x0a\x0d\x0d\x0a") {
		ts.Fatalf("%s is no pcapng: %.20q", args[0], file)
	}
	for _, text := range args[1:] {
		if !strings.Contains(file, text) {
			ts.Fatalf("%s: no packet has a comment with %q", args[0], text)
		}
	}
	path, err := exec.LookPath("tshark")
	if err != nil {
		return
	}
	lua := ts.MkAbs("wherry.lua")
	ts.Check(os.WriteFile(lua, []byte(arq.Dissector), 0o600))
	cmd := exec.Command(path, "-n", "-o", "udp.try_heuristic_first:TRUE", "-r", ts.MkAbs(args[0]), "-X", "lua_script:"+lua, "-T", "fields", "-e", "_ws.col.Protocol", "-e", "wherry.type", "-e", "_ws.malformed", "-e", "wherry.malformed", "-e", "wherry.bad_checksum")
	cmd.Env = append(os.Environ(), "HOME="+ts.MkAbs("."), "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	ts.Check(err)
	types, strange := map[string]int{}, 0
	for i, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		f := strings.Split(line, "\t")
		if len(f) == 5 && f[0] != "wherry" && f[1] == "" {
			strange++ // corrupted in its first bytes, or before anything else had come
			continue
		}
		if len(f) != 5 || f[2]+f[3] != "" {
			ts.Fatalf("%s: packet %d: tshark says %q", args[0], i+1, line)
		}
		types[f[1]]++
	}
	if types["1"] == 0 || types["3"] == 0 || types["0"] < 50 || strange > 3 {
		ts.Fatalf("%s: by type: %v, and %d that are none", args[0], types, strange)
	}
}
