package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestREADME runs the README's marked sessions, in order and in one directory,
// and holds them to what the README shows, but for numbers: times, rates, ports.
// Lines are compared as a set, since two processes write them.
func TestREADME(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED: the README's sessions need bash")
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)<!-- run: (\\w+) -->\n```console\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 3 {
		t.Fatalf("found %d sessions in the README", len(blocks))
	}
	work := t.TempDir()
	port := quietPort(t)
	if err := os.MkdirAll(work+"/photos/june", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(work+"/photos/june/ferry.jpg", make([]byte, 3_000_000), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(work+"/notes.txt", []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(work+"/testdata", os.DirFS("../../testdata")); err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		t.Run(b[1], func(t *testing.T) {
			var script, want []string
			for line := range strings.Lines(b[2]) {
				line = strings.TrimSuffix(line, "\n")
				if cmd, ok := strings.CutPrefix(line, "$ "); ok {
					cmd = strings.ReplaceAll(cmd, "127.0.0.1:7557", fmt.Sprintf("127.0.0.1:%d", port))
					script = append(script, cmd)
					switch {
					case strings.HasPrefix(cmd, "wherry lab dns"):
						// The servers listen before these are written.
						script = append(script, `for i in $(seq 10000); do [ -s hints ] && [ -s anchor ] && break; sleep 0.02; done`)
					case strings.HasSuffix(cmd, "&"):
						// What a reader does by typing slowly: the listener is up
						// before the other end dials. 0A is LISTEN, 07 an unconnected UDP socket.
						script = append(script, `for i in $(seq 10000); do grep -qE ':`+fmt.Sprintf("%04X", port)+` 0+:0+ 0[A7] ' /proc/net/tcp /proc/net/udp 2>/dev/null && break; sleep 0.02; done`)
					}
				} else {
					want = append(want, numbers(line))
				}
			}
			session := func() string {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, "bash", "-c", "trap 'kill $(jobs -p) 2>/dev/null' EXIT TERM\n"+strings.Join(script, "\n"))
				cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
				cmd.WaitDelay = 5 * time.Second
				cmd.Dir = work
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return string(out)
			}
			out := session()
			// A name server that is kept waiting for longer than a resolver waits is not
			// what the README shows.
			for range 10 {
				if !strings.Contains(out, "no reply") {
					break
				}
				t.Logf("again:\n%s", out)
				os.Remove(work + "/hints") // or nothing would tell that the next ones listen
				os.Remove(work + "/anchor")
				out = session()
			}
			var got []string
			for line := range strings.Lines(out) {
				got = append(got, numbers(strings.TrimSuffix(line, "\n")))
			}
			// A busy machine makes even loopback retransmit, or not; what takes more
			// than five seconds tells how far it is, and a receiver may be kept waiting.
			progress := regexp.MustCompile(`^(sending|receiving) N of N \(N%\)`)
			mayBe := func(line string) bool {
				return line == "" || strings.Contains(line, "packets sent") || strings.Contains(line, "the others do not wait for it") || progress.MatchString(line)
			}
			got, want = slices.DeleteFunc(got, mayBe), slices.DeleteFunc(want, mayBe)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("the session printed\n%s\nand the README shows\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// quietPort is a port that is free here (7557 may be taken by somebody's real
// transfer) and stays so: it is below those that systems give to who asks for any.
func quietPort(t *testing.T) int {
	for i := range 1000 {
		port := 12000 + (os.Getpid()*31+i)%10000
		at := fmt.Sprintf("127.0.0.1:%d", port)
		tcp, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		tcp.Close()
		udp, err := net.ListenPacket("udp", at)
		if err != nil {
			continue
		}
		udp.Close()
		return port
	}
	t.Fatal("no port is free")
	return 0
}

// numbers makes two runs of a session comparable.
func numbers(s string) string {
	s = regexp.MustCompile(`limited by [^;]*`).ReplaceAllString(s, "limited by X")
	s = regexp.MustCompile(`([0-9]+h)?([0-9]+m)?[0-9][0-9.]*(e[-+][0-9]+)?( ?([KMGT]?i?B|[kMG]?bit/s|[nmµ]?s))?`).ReplaceAllString(s, "N")
	// Name servers have port 53 only where that is allowed, and columns are as wide as
	// what is in them.
	return regexp.MustCompile(` +`).ReplaceAllString(strings.ReplaceAll(s, "N:N", "N"), " ")
}
