//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata/script run the program as a user would: as a process
// of its own, from a command line. Besides wherry itself they have
//
//	expect [-log NAME] CODE COMMAND...
//
// which succeeds if COMMAND ends with the exit code CODE, works in the
// background too, passes SIGINT on, and keeps what COMMAND prints in NAME.out
// and NAME.err while it runs; and the commands of scriptCommands.
func TestMain(m *testing.M) {
	testscript.Main(allTests{m}, map[string]func(){"wherry": main, "expect": expect})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "namespaces":
				return mayHaveNamespaces(), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("TMPDIR", e.WorkDir) // the demo cleans up after itself: seen here
			e.Setenv("NO_COLOR", "1")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // a second that is not ours
			return nil
		},
	})
}

// scriptPatience bounds every wait of a script. It is far more than anything
// takes on a machine with much else to do, and passes only when something hangs.
const scriptPatience = 2 * time.Minute

// expect is a program: see TestMain.
func expect() {
	log := flag.String("log", "", "keep output in NAME.out and NAME.err")
	flag.Parse()
	want, err := strconv.Atoi(flag.Arg(0))
	if err != nil || flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: expect [-log NAME] CODE COMMAND...")
		os.Exit(2)
	}
	cmd := exec.Command(flag.Arg(1), flag.Args()[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if *log != "" {
		for ext, w := range map[string]*io.Writer{".out": &cmd.Stdout, ".err": &cmd.Stderr} {
			f, err := os.Create(*log + ext)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(2)
			}
			*w = io.MultiWriter(*w, f)
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	stuck := time.AfterFunc(scriptPatience, func() {
		fmt.Fprintln(os.Stderr, "expect: it hangs; where it stands:")
		_ = cmd.Process.Signal(syscall.SIGQUIT)
	})
	err = cmd.Wait()
	stuck.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		fmt.Fprintf(os.Stderr, "expect: exit code %d, want %d\n", got, want)
		os.Exit(1)
	}
}

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"waitfor":  waitfor,
	"address":  address,
	"nobody":   nobody,
	"safe":     safe,
	"jsonl":    jsonl,
	"oddtree":  func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(makeOddTree(ts.MkAbs(args[0]))) },
	"sametree": sametree,
	"traced":   traced,
	"captured": captured,
	"nothing":  nothing,
	"fifo":     fifo,
	"big":      bigFile,
	"clock":    clock,
	"idle":     idle,
	"lines":    lines,
}

// lines FILE N succeeds if FILE has N lines.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines FILE N")
	}
	if n := strings.Count(ts.ReadFile(args[0]), "\n"); strconv.Itoa(n) != args[1] {
		ts.Fatalf("%s has %d lines, want %s", args[0], n, args[1])
	}
}

// waitfor FILE REGEXP waits until FILE, which a program in the background
// writes, has a match.
func waitfor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor FILE REGEXP")
	}
	poll(ts, args[0], regexp.MustCompile(args[1]))
}

// address FILE waits until the program that writes FILE says where it listens,
// and sets $ADDR to it, $HOST and $PORT to its parts.
func address(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: address FILE")
	}
	m := poll(ts, args[0], regexp.MustCompile(`(?:listening on |"address":")(127\.0\.0\.1):(\d+)`))
	ts.Setenv("ADDR", m[1]+":"+m[2])
	ts.Setenv("HOST", m[1])
	ts.Setenv("PORT", m[2])
}

// nobody sets $ADDR and $PORT to an address where nobody listens, nor will until
// the script ends: it is taken, by who does not listen.
func nobody(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: nobody")
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	ts.Check(err)
	ts.Defer(func() { syscall.Close(fd) })
	ts.Check(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := syscall.Getsockname(fd)
	ts.Check(err)
	port := at.(*syscall.SockaddrInet4).Port
	ts.Setenv("ADDR", fmt.Sprintf("127.0.0.1:%d", port))
	ts.Setenv("PORT", strconv.Itoa(port))
}

func poll(ts *testscript.TestScript, file string, re *regexp.Regexp) []string {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(scriptPatience); time.Now().Before(deadline); <-tick.C {
		b, err := os.ReadFile(ts.MkAbs(file))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Check(err)
		}
		if m := re.FindStringSubmatch(string(b)); m != nil {
			return m
		}
	}
	ts.Fatalf("%s never matched %v; it has:\n%s", file, re, ts.ReadFile(file))
	return nil
}

// safe FILE... holds a file to what may be printed: no control characters but
// line ends, nothing that reorders text, nothing that is not UTF-8.
func safe(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		s := ts.ReadFile(name)
		if s == "" && !neg {
			ts.Fatalf("%s is empty: there is nothing to check", name)
		}
		bad := strings.IndexFunc(s, func(r rune) bool {
			return r != '\n' && unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) || r == utf8.RuneError
		})
		if (bad < 0) == neg {
			ts.Fatalf("%s: the first unsafe character is at %d in\n%q", name, bad, s)
		}
	}
}

// doneFields are the fields of the done event that scripts of users rely on.
// Every number is a number.
var doneFields = map[string]reflect.Kind{
	"role": reflect.String, "peer": reflect.String, "transport": reflect.String, "arq": reflect.String,
	"encrypted": reflect.Bool, "files": reflect.Float64, "bytes": reflect.Float64, "seconds": reflect.Float64,
	"goodput_bps": reflect.Float64, "resumed_bytes": reflect.Float64, "packets_sent": reflect.Float64,
	"packets_lost": reflect.Float64, "retransmits": reflect.Float64, "rtt_ms": reflect.Map, "limiter": reflect.String,
}

// jsonl FILE EVENT [FIELD=VALUE...] checks that each line of FILE is one JSON
// object with an event, that a done event is the last one and complete, and that
// an event EVENT has those values.
func jsonl(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: jsonl FILE EVENT [FIELD=VALUE...]")
	}
	text := ts.ReadFile(args[0])
	if !strings.HasSuffix(text, "\n") {
		ts.Fatalf("%s does not end with a line end: %q", args[0], text)
	}
	var events []map[string]any
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			ts.Fatalf("%s: not a JSON object: %q: %v", args[0], line, err)
		}
		if name, ok := e["event"].(string); !ok || name == "" {
			ts.Fatalf("%s: no event in %s", args[0], line)
		}
		events = append(events, e)
	}
	for i, e := range events {
		if e["event"] != "done" {
			continue
		}
		if i != len(events)-1 {
			ts.Fatalf("%s: events follow the done event", args[0])
		}
		for field, kind := range doneFields {
			if got := reflect.ValueOf(e[field]); !got.IsValid() || got.Kind() != kind {
				ts.Fatalf("%s: done has %s = %v, want a %v", args[0], field, e[field], kind)
			}
		}
		rtt := e["rtt_ms"].(map[string]any)
		for _, field := range []string{"min", "median", "p99"} {
			if _, ok := rtt[field].(float64); !ok {
				ts.Fatalf("%s: done has rtt_ms.%s = %v", args[0], field, rtt[field])
			}
		}
	}
	for _, e := range events {
		if e["event"] != args[1] {
			continue
		}
		all := true
		for _, arg := range args[2:] {
			field, want, _ := strings.Cut(arg, "=")
			all = all && fmt.Sprint(e[field]) == want
		}
		if all {
			return
		}
	}
	ts.Fatalf("%s has no %s event with %q:\n%s", args[0], args[1], args[2:], text)
}

// longAgo is a time that no copy has by accident.
var longAgo = time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)

// makeOddTree lays out one of everything that a tree can hold and a copy often
// loses, and that an archive of text cannot.
func makeOddTree(dir string) error {
	for name, f := range map[string]struct {
		content string
		mode    fs.FileMode
	}{
		"empty":              {"", 0o644},
		"with space.txt":     {"space", 0o644},
		"new\nline":          {"newline", 0o640},
		"emoji \U0001f6a3":   {"row", 0o644},
		"-rf":                {"dash", 0o644},
		"latin1-\xe9":        {"not UTF-8", 0o644},
		"esc\x1b[31m\x9b":    {"a terminal would obey", 0o644},
		"\u202egpj.exe":      {"reordered", 0o644},
		"readonly":           {"0444", 0o444},
		"script":             {"#!/bin/sh\n", 0o755},
		"sub/deeper/file":    {"deep", 0o600},
		"sub/over a group":   {strings.Repeat("0123456789abcde\n", 1<<16+1), 0o644},
		`back\slash "quote"`: {"x", 0o644},
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(f.content), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(name, f.mode); err != nil {
			return err
		}
		if err := os.Chtimes(name, longAgo, longAgo); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{"link": "sub/deeper", "sub/up": "../script", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			return err
		}
	}
	void := filepath.Join(dir, "void")
	if err := os.Mkdir(void, 0o750); err != nil {
		return err
	}
	return os.Chtimes(void, longAgo, longAgo)
}

// sametree A B compares names, kinds, modes, times, contents and link targets.
func sametree(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: sametree A B")
	}
	a, b := readTree(ts, ts.MkAbs(args[0])), readTree(ts, ts.MkAbs(args[1]))
	for name, text := range a {
		if b[name] != text {
			if !neg {
				ts.Fatalf("%q is\n%.300s\nin %s, and\n%.300s\nin %s", name, text, args[0], b[name], args[1])
			}
			return
		}
	}
	if (len(a) == len(b)) == neg {
		ts.Fatalf("%s has %d entries, %s has %d", args[0], len(a), args[1], len(b))
	}
}

func readTree(ts *testscript.TestScript, dir string) map[string]string {
	out := map[string]string{}
	ts.Check(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprint(info.Mode())
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %v %q", info.ModTime().UTC(), b)
		case info.IsDir():
			text += fmt.Sprintf(" %v", info.ModTime().UTC())
		default:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		rel, err := filepath.Rel(dir, p)
		out[rel] = text
		return err
	}))
	return out
}

// nothing GLOB... fails if anything matches.
func nothing(ts *testscript.TestScript, neg bool, args []string) {
	for _, g := range args {
		found, err := filepath.Glob(ts.MkAbs(g))
		ts.Check(err)
		if (len(found) == 0) == neg {
			ts.Fatalf("%s matches %q", g, found)
		}
	}
}

// fifo NAME makes a FIFO whose other end stays open until the script ends:
// reading it blocks.
func fifo(ts *testscript.TestScript, neg bool, args []string) {
	name := ts.MkAbs(args[0])
	ts.Check(syscall.Mkfifo(name, 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	ts.Check(err)
	_, err = f.Write(bytes.Repeat([]byte("tick\n"), 2000))
	ts.Check(err)
	ts.Defer(func() { f.Close() })
}

// bigFile is "big NAME SIZE": it makes a file of that many MiB, or KiB if they are
// named, in which no group is like another.
func bigFile(ts *testscript.TestScript, neg bool, args []string) {
	size, isKiB := strings.CutSuffix(args[1], "KiB")
	n, err := strconv.Atoi(size)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	block := make([]byte, 1<<20)
	if isKiB {
		block = block[:1<<10]
	}
	x := uint32(1)
	for range n {
		for i := range block {
			x = x*1664525 + 1013904223
			block[i] = byte(x >> 24)
		}
		_, err := f.Write(block)
		ts.Check(err)
	}
}

// clock start, and clock within DUR: tells if more time has passed since, and fails
// if that is more than anything may take; or at once if WHERRY_TIMES is set, which
// is for a machine that has nothing else to do.
func clock(ts *testscript.TestScript, neg bool, args []string) {
	const started = "CLOCK"
	switch args[0] {
	case "start":
		ts.Setenv(started, time.Now().Format(time.RFC3339Nano))
	case "within":
		limit, err := time.ParseDuration(args[1])
		ts.Check(err)
		since, err := time.Parse(time.RFC3339Nano, ts.Getenv(started))
		ts.Check(err)
		if d := time.Since(since); d > scriptPatience || d > limit && os.Getenv("WHERRY_TIMES") != "" {
			ts.Fatalf("it took %v, more than %v", d, limit)
		} else if d > limit {
			ts.Logf("it took %v, more than %v", d, limit)
		}
	default:
		ts.Fatalf("usage: clock start|within DUR")
	}
}

// idle N ADDR opens N connections that say nothing, and holds them until the
// script ends.
func idle(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for range n {
		conn, err := net.Dial("tcp", args[1])
		ts.Check(err)
		ts.Defer(func() { conn.Close() })
	}
}
