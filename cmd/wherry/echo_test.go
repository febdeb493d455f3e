package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// startEcho runs `wherry echo --json` on a free port and returns the port, and a
// func that stops it and returns its exit code and last event.
func startEcho(t *testing.T, flags ...string) (port string, stop func() (int, map[string]any)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		args := append([]string{"wherry", "echo", "--json", "--listen", "127.0.0.1:0"}, flags...)
		code <- run(ctx, args, stdio{In: strings.NewReader(""), Out: w, Err: io.Discard})
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		t.Fatalf("echo ended with %d", <-code)
	}
	var start struct{ Event, TCP, UDP string }
	if err := json.Unmarshal(lines.Bytes(), &start); err != nil || start.Event != "start" {
		t.Fatalf("first line %s: %v", lines.Bytes(), err)
	}
	addr := start.TCP
	if addr == "" {
		addr = start.UDP
	} else if start.UDP != "" && start.UDP != addr {
		t.Errorf("TCP on %s and UDP on %s", addr, start.UDP)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	last := make(chan map[string]any, 1)
	go func() {
		var v map[string]any
		for lines.Scan() {
			v = nil
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
				t.Errorf("%s: %v", lines.Bytes(), err)
			}
		}
		last <- v
	}()
	stopped := false
	stop = func() (int, map[string]any) {
		stopped = true
		cancel()
		return <-code, <-last
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	return port, stop
}

// wherry runs a command line and returns what it printed.
func wherryRun(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, append([]string{"wherry"}, args...), stdio{In: strings.NewReader(""), Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

// pingPatience is how long a ping waits for an answer that comes at once, however long
// this process is kept from looking at it.
const pingPatience = "60s"

func TestEchoAndPing(t *testing.T) {
	port, stop := startEcho(t)
	for _, udp := range []bool{false, true} {
		args := []string{"ping", "127.0.0.1:" + port, "--count", "3", "--interval", "5ms", "--timeout", pingPatience, "--json"}
		if udp {
			args = append(args, "--udp")
		}
		code, out, errs := wherryRun(t.Context(), args...)
		if code != 0 || errs != "" {
			t.Fatalf("%v: exit code %d, %s", args, code, errs)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		var done struct {
			Event, Role, Transport string
			Sent                   int                                     `json:"packets_sent"`
			Lost                   int                                     `json:"packets_lost"`
			RTTMS                  struct{ Min, Median, P99, Max float64 } `json:"rtt_ms"`
			ConnectMS              float64                                 `json:"connect_ms"`
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &done); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{false: "tcp", true: "udp"}[udp]
		if len(lines) != 1+3+1 || done.Event != "done" || done.Role != "ping" || done.Transport != want || done.Sent != 3 || done.Lost != 0 ||
			done.RTTMS.Min <= 0 || done.RTTMS.Median > done.RTTMS.P99 || (done.ConnectMS > 0) == udp {
			t.Errorf("%v:\n%s", args, out)
		}
	}
	code, out, errs := wherryRun(t.Context(), "ping", "127.0.0.1:"+port, "--count", "2", "--interval", "5ms", "--timeout", pingPatience)
	if code != 0 || errs != "" || !strings.Contains(out, "seq=1 time=") || !strings.Contains(out, "2 sent, 2 received, 0 lost (0%)") || !strings.Contains(out, "round trip min/median/p99/max") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if code, out, errs := wherryRun(t.Context(), "ping", "--quiet", "127.0.0.1:"+port, "--count", "1", "--timeout", pingPatience); code != 0 || out+errs != "" {
		t.Errorf("--quiet: exit code %d\n%s%s", code, out, errs)
	}
	code, last := stop()
	if code != 0 || last["event"] != "done" || last["role"] != "echo" || last["datagrams"] != 3.0 || last["connections"] != 3.0 {
		t.Errorf("echo: exit code %d, %v", code, last)
	}
}

func TestPingFailures(t *testing.T) {
	port, stop := startEcho(t, "--tcp")
	deadUDP := deadUDPPort(t)
	defer stop()
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	go func() {
		if c, err := web.Accept(); err == nil {
			io.ReadFull(c, make([]byte, 64)) // or Close would reset
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			c.Close()
		}
	}()
	for _, tt := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"ping"}, 2, []string{"one address"}},
		{[]string{"ping", "a", "b"}, 2, []string{"one address"}},
		{[]string{"ping", "http://x/"}, 2, []string{"URL"}},
		{[]string{"ping", "127.0.0.1:1", "--size", "5"}, 2, []string{"size 5"}},
		{[]string{"ping", "127.0.0.1:1", "--interval", "0"}, 2, []string{"interval"}},
		{[]string{"ping", "127.0.0.1:1", "--count", "-1"}, 2, []string{"count"}},
		{[]string{"ping", deadUDP, "--udp", "--count", "2", "--interval", "5ms", "--timeout", pingPatience}, 6, []string{deadUDP, "refused", "wherry echo"}},
		{[]string{"ping", "127.0.0.1:1"}, 6, []string{"127.0.0.1:1", "refused", "wherry echo"}},
		{[]string{"ping", web.Addr().String(), "--count", "2", "--timeout", pingPatience}, 6, []string{"no echo server", "wherry echo"}},
		{[]string{"echo", "x"}, 2, []string{"no argument", "--listen"}},
		{[]string{"echo", "--listen", "nonsense:port"}, 2, []string{"nonsense:port"}},
		{[]string{"echo", "--listen", "127.0.0.1:" + port}, 1, []string{port, "in use"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		code, out, errs := wherryRun(ctx, tt.args...)
		cancel()
		if code != tt.code {
			t.Errorf("%v: exit code %d, want %d\n%s%s", tt.args, code, tt.code, out, errs)
		}
		for _, s := range tt.says {
			if !strings.Contains(errs, s) {
				t.Errorf("%v does not say %q: %s", tt.args, s, errs)
			}
		}
	}
}

// An endless ping is meant to be stopped; one with a count is interrupted.
func TestPingStopped(t *testing.T) {
	port, _ := startEcho(t)
	for count, want := range map[string]int{"0": 0, "1000000": 130} {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, []string{"wherry", "ping", "--udp", "--interval", "1ms", "--count", count, "127.0.0.1:" + port}, stdio{In: strings.NewReader(""), Out: w, Err: io.Discard})
			w.Close()
		}()
		text := ""
		for lines := bufio.NewScanner(r); lines.Scan(); {
			text += lines.Text() + "\n"
			if strings.Contains(lines.Text(), "seq=3 ") {
				cancel()
			}
		}
		cancel()
		if got := <-code; got != want {
			t.Errorf("--count %s: exit code %d, want %d", count, got, want)
		}
		if !strings.Contains(text, " sent, ") || !strings.Contains(text, "jitter") {
			t.Errorf("--count %s: no summary in\n%s", count, text)
		}
	}
}
