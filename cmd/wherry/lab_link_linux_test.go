package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whatever ends a link, nothing of it stays: no process is left in its
// namespaces, which have no names and so are gone with the last one.
func TestLabLinkLeavesNothing(t *testing.T) {
	if !mayHaveNamespaces() {
		t.Skip("SKIPPED: no namespaces here")
	}
	// The test binary by the name under which it is wherry.
	wherry, err := exec.LookPath("wherry")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		signal syscall.Signal // to the wherry that made the link
		end    string         // of the command, where there is no signal
		code   int
	}{
		{"success", 0, "true", 0},
		{"error", 0, "exit 3", 3},
		{"interrupt", syscall.SIGINT, "cat", 130},
		{"terminate", syscall.SIGTERM, "cat", 143},
		{"kill", syscall.SIGKILL, "cat", -1},
	} {
		for _, backend := range []string{"tun", "packet"} {
			if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err == nil {
				f.Close()
			} else if backend == "tun" {
				continue
			}
			t.Run(c.name+"/"+backend, func(t *testing.T) {
				dir := t.TempDir()
				// Children of all kinds: on B, in a session of its own, without a
				// parent.
				script := `cd ` + dir + `
wherry lab on b -- sh -c 'readlink /proc/self/ns/net >b; sleep 1000' &
setsid sleep 1001 & (sleep 1002 &)
until test -s b; do sleep 0.01; done
readlink /proc/self/ns/net /proc/self/ns/pid /proc/self/ns/mnt >a
echo up
exec ` + c.end
				if strings.HasPrefix(c.end, "exit") {
					script = strings.Replace(script, "exec exit", "exit", 1)
				}
				cmd := exec.Command(wherry, "lab", "link", "--quiet", "--backend", backend, "--", "sh", "-c", script)
				var errs bytes.Buffer
				cmd.Stderr = &errs
				// Not in this test's group, to which a terminal may be attached.
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				line := make([]byte, 3)
				if _, err := out.Read(line); err != nil || string(line) != "up\n" {
					t.Errorf("it said %q, %v", line, err)
				}
				if c.signal != 0 {
					if err := cmd.Process.Signal(c.signal); err != nil {
						t.Error(err)
					}
				}
				_ = cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != c.code {
					t.Errorf("exit code %d, want %d; %s", code, c.code, errs.String())
				}
				var spaces []string
				for _, name := range []string{"a", "b"} {
					text, err := os.ReadFile(filepath.Join(dir, name))
					if err != nil {
						t.Fatal(err)
					}
					spaces = append(spaces, strings.Fields(string(text))...)
				}
				if len(spaces) != 4 || spaces[0] == spaces[3] {
					t.Fatalf("the namespaces were %v", spaces)
				}
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				var left string
				// After kill -9 the kernel takes its time; otherwise nothing is
				// left when wherry ends.
				patience := time.Duration(0)
				if c.signal == syscall.SIGKILL {
					patience = scriptPatience
				}
				for end := time.Now().Add(patience); ; <-tick.C {
					if left = inNamespaces(t, spaces); left == "" || time.Now().After(end) {
						break
					}
				}
				if left != "" {
					t.Errorf("still there: %s", left)
				}
			})
		}
	}
}

// What the link did is a line of JSON after what the command printed, and so is
// what kept it from being made.
func TestLabLinkEvents(t *testing.T) {
	if !mayHaveNamespaces() {
		t.Skip("SKIPPED: no namespaces here")
	}
	wherry, err := exec.LookPath("wherry")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(wherry, "lab", "link", "--json", "--rate", "1Mbit", "--", "true").Output()
	if err != nil {
		t.Fatal(err)
	}
	if events := holdToSchema(t, string(out)); len(events) != 1 || events[0] != "done" {
		t.Errorf("%s", out)
	}
	out, _ = exec.Command(wherry, "lab", "link", "--json", "--rate", "0", "--", "true").Output()
	if events := holdToSchema(t, string(out)); len(events) != 1 || events[0] != "error" {
		t.Errorf("%s", out)
	}
}

// inNamespaces names a process that is in one of these namespaces. A zombie is none:
// it has only to be collected, by whoever is process 1 here.
func inNamespaces(t *testing.T, spaces []string) string {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/ns")
	if err != nil || len(procs) == 0 {
		t.Fatalf("%d processes, %v", len(procs), err)
	}
	for _, p := range procs {
		if stat, err := os.ReadFile(filepath.Join(filepath.Dir(p), "stat")); err != nil || bytes.Contains(stat, []byte(") Z ")) {
			continue
		}
		for _, kind := range []string{"net", "pid", "mnt"} {
			ns, err := os.Readlink(filepath.Join(p, kind))
			for _, s := range spaces {
				if err == nil && ns == s {
					text, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
					return fmt.Sprintf("%s in %s: %q", p, s, text)
				}
			}
		}
	}
	return ""
}
