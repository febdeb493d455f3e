package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wherry-net/wherry/resolve/bulk"
)

// aServer answers every question with 192.0.2.1, on loopback.
func aServer(t *testing.T) bulk.Server {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			end := 12
			for end < n && buf[end] != 0 {
				end += 1 + int(buf[end])
			}
			if end += 5; end > n {
				continue
			}
			b := append([]byte(nil), buf[:end]...)
			b[2] |= 0x80
			binary.BigEndian.PutUint16(b[6:], 1)
			binary.BigEndian.PutUint16(b[10:], 0)
			b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
			_, _ = c.WriteToUDPAddrPort(b, from)
		}
	}()
	return bulk.Server{Addr: netip.MustParseAddrPort(c.LocalAddr().String())}
}

func TestBulkLookup(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "names")
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "h%d.example\n", i)
	}
	if err := os.WriteFile(list, []byte("# names\n"+text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := bulk.Options{Servers: []bulk.Server{aServer(t)}}
	look := func(ctx context.Context, b bulkLookup, in string) (string, string, error) {
		var out, errs bytes.Buffer
		err := runBulkLookup(ctx, stdio{In: strings.NewReader(in), Out: &out, Err: &errs}, b)
		return out.String(), errs.String(), err
	}

	out, errs, err := look(t.Context(), bulkLookup{file: list, Options: opt}, "")
	if err != nil || strings.Count(out, "\n") != 1001 || strings.Count(out, ",192.0.2.1,") != 1000 {
		t.Errorf("%v, %d lines", err, strings.Count(out, "\n"))
	}
	if !strings.HasPrefix(errs, "1,000 names in ") || !strings.Contains(errs, "1,000 answered") || !strings.Contains(errs, "1 blank lines and comments") {
		t.Errorf("said %q", errs)
	}

	// From standard input, quietly, as JSON.
	b := bulkLookup{file: "-", quiet: true, Options: opt}
	b.Format = bulk.JSON
	out, errs, err = look(t.Context(), b, "a.example\nb.example")
	if err != nil || errs != "" || strings.Count(out, `"rdataA":"192.0.2.1"`) != 2 {
		t.Errorf("%v, %q, %q", err, errs, out)
	}

	// To a file that is cut off, and on from there.
	file := filepath.Join(dir, "out")
	b = bulkLookup{file: list, output: file, Options: opt}
	if out, _, err = look(t.Context(), b, ""); err != nil || out != "" {
		t.Fatalf("%v, %q", err, out)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, int64(len(whole)/2)); err != nil {
		t.Fatal(err)
	}
	if _, _, err = look(t.Context(), b, ""); err == nil || classify(err).hint == "" {
		t.Errorf("a file that is there: %v", err)
	}
	b.resume = true
	_, errs, err = look(t.Context(), b, "")
	if err != nil || !strings.HasPrefix(errs, "going on after ") {
		t.Errorf("%v, said %q", err, errs)
	}
	again, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(again), "\n") != 1001 || strings.Count(string(again), "line,query") != 1 {
		t.Errorf("%d lines", strings.Count(string(again), "\n"))
	}
	for i := range 1000 {
		if n := strings.Count(string(again), fmt.Sprintf(",h%d.example,A,NOERROR,", i)); n != 1 {
			t.Fatalf("h%d.example has %d results", i, n)
		}
	}

	// Faults.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err = look(ctx, bulkLookup{file: list, Options: opt}, ""); classify(err).code != exitInterrupted {
		t.Errorf("interrupted: %v", err)
	}
	for name, b := range map[string]bulkLookup{
		"no such file":          {file: filepath.Join(dir, "none")},
		"a directory":           {file: dir},
		"resume without output": {file: list, resume: true},
		"no server":             {file: list},
	} {
		if _, _, err := look(t.Context(), b, ""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b.Type, b.Options.Resume = 15, nil
	if _, _, err = look(t.Context(), b, ""); !errors.Is(err, bulk.ErrResume) || classify(err).code != exitUsage {
		t.Errorf("resumed with another type: %v", err)
	}
	if f := classify(b.explain(fmt.Errorf("%w (refused)", bulk.ErrSilent))); f.code != exitNetwork || !strings.Contains(f.hint, "NOTASKED") {
		t.Errorf("silent servers: %+v", f)
	}
}

// TestLookupFile takes the whole way, from the command line.
func TestLookupFile(t *testing.T) {
	list := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(list, []byte("a.example\nb..example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := "@" + aServer(t).Addr.String()
	for _, tt := range []struct {
		name string
		args []string
		code int
		out  string // part of standard output, or else of standard error
	}{
		{"csv", []string{at}, 0, "1,a.example,A,NOERROR,a.example.,60,IN,A,192.0.2.1,"},
		{"in order", []string{at, "--ordered"}, 0, "\n2,b..example,A,MALFORMED,,,,,empty label,,\n"},
		{"json", []string{at, "--json"}, 0, `"answerRRs":[{"NAME":"a.example.","TYPE":1,"TYPEname":"A","CLASS":1,"CLASSname":"IN","TTL":60,"rdataA":"192.0.2.1","RDLENGTH":4,"RDATAHEX":"c0000201"}]`},
		{"short", []string{at, "--short"}, 0, "a.example\tA\tNOERROR\t192.0.2.1\n"},
		{"through the client", []string{at, "--nsid", "--short"}, 0, "a.example\tA\tNOERROR\t192.0.2.1\n"},
		{"a type", []string{at, "--type", "mx", "--short"}, 0, "a.example\tMX\tNODATA\n"},
		{"the type as a word", []string{at, "MX", "--short"}, 0, "a.example\tMX\tNODATA\n"},
		{"limits", []string{at, "--qps", "1000", "--concurrency", "2", "--retries", "0", "--timeout", "1m"}, 0, "192.0.2.1"},
		{"two types", []string{at, "--type", "A", "--type", "MX"}, exitUsage, "one --type"},
		{"a name", []string{at, "c.example"}, exitUsage, "names come from the file"},
		{"a transfer", []string{at, "--type", "AXFR"}, exitUsage, "cannot transfer"},
		{"another format", []string{at, "--format", "dig"}, exitUsage, "csv, json or short"},
		{"a class", []string{at, "--class", "CH"}, exitUsage, "class IN only"},
		{"no rate", []string{at, "--qps", "0"}, exitUsage, "--qps must be"},
		{"too many", []string{at, "--concurrency", "100000"}, exitUsage, "--concurrency must be"},
		{"resume what", []string{at, "--resume"}, exitUsage, "--output"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := append([]string{"wherry", "lookup", "--file", list}, tt.args...)
			code := run(t.Context(), args, stdio{In: strings.NewReader(""), Out: &out, Err: &errs})
			if code != tt.code {
				t.Errorf("exit %d, want %d: %s", code, tt.code, errs.String())
			}
			where := out.String()
			if tt.code != 0 {
				where = errs.String()
			}
			if !strings.Contains(where, tt.out) {
				t.Errorf("no %q in\n%s", tt.out, where)
			}
		})
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
