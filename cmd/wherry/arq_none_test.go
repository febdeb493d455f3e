package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// What is whole of a large file that was sent once is kept, and another protocol
// brings the rest. Besides the datagram that the link loses, a receiver that is kept
// waiting loses what its socket has no room for; if that leaves nothing whole, it is
// tried again with less a second.
func TestOnceAndThenTheRest(t *testing.T) {
	const size, group = 4 << 20, 1 << 20
	file, want := filepath.Join(t.TempDir(), "large"), make([]byte, size) // no group is like another
	_, _ = rand.NewChaCha8([32]byte{1}).Read(want)
	if err := os.WriteFile(file, want, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, rate := range []string{"20Mbit", "8Mbit", "2Mbit"} {
		dir := t.TempDir()
		receive := func(more ...string) *wherryProc {
			return startWherry(t, noInput(), append([]string{"receive", "--udp", "--listen", listenAny, "--dir", dir, "--plain", "--yes", "--json"}, more...)...)
		}
		r := receive("--arq", "none")
		s := startWherry(t, noInput(), "send", "--udp", "--to", r.address(t), "--plain", "--json", "--arq", "none", "--loss", "0.04%", "--seed", "1", "--rate", rate, file)
		if s.wait() != exitVerify || r.wait() != exitVerify {
			t.Fatalf("send: %v\nreceive: %v", s, r)
		}
		var broken [size / group]bool
		for _, e := range r.events(t) {
			ranges, _ := e["ranges"].([]any)
			for _, x := range ranges {
				hole := x.([]any)
				for g := int(hole[0].(float64)) / group; g*group < int(hole[1].(float64)); g++ {
					broken[g] = true
				}
			}
		}
		whole := 0
		for _, b := range broken {
			if !b {
				whole++
			}
		}
		if whole == size/group {
			t.Fatalf("nothing was lost: %v", r)
		}
		if whole == 0 {
			t.Logf("at %s nothing is whole: %v", rate, r)
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "large.wherry-journal")); err != nil {
			t.Error(err)
		}
		r = receive()
		s = startWherry(t, noInput(), "send", "--udp", "--to", r.address(t), "--plain", "--json", "--arq", "go-back-n", file)
		if s.wait() != 0 || r.wait() != 0 {
			t.Fatalf("send: %v\nreceive: %v", s, r)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "large")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the copy differs, %v", err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("left behind: %v", left)
		}
		events := r.events(t)
		if done := events[len(events)-1]; done["arq"] != "go-back-n" || done["files"] != 1. || done["resumed_bytes"] != float64(whole*group) {
			t.Errorf("%d groups were whole: %v", whole, done)
		}
		return
	}
	t.Error("nothing was whole")
}
