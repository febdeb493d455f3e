package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/wherry-net/wherry/socket/safetext"
)

// A printer shows what happens, as text for a person or as JSON Lines for a
// script; which of them is chosen once, here. Text goes to standard error, so
// that standard output stays free for data.
type printer struct {
	io   stdio
	o    printOptions
	live bool // standard error is a terminal: bars and colours

	mu   sync.Mutex
	bars []*bar // of the transfers under way, the oldest first
}

type printOptions struct {
	JSON  bool
	Quiet bool
}

func newPrinter(io stdio, o printOptions) *printer {
	return &printer{io: io, o: o, live: isTerminal(io.Err) && !o.JSON && !o.Quiet}
}

// Say prints a line for a person: one of ours, with other people's parts cleaned
// by the caller.
func (p *printer) Say(format string, args ...any) {
	if p.o.JSON || p.o.Quiet {
		return
	}
	p.line(fmt.Sprintf(format, args...))
}

// Warn prints what was left out.
func (p *printer) Warn(path, text string) { p.warn("", "", path, text) }

func (p *printer) warn(peer, tag, path, text string) {
	if p.o.JSON {
		p.Event(warningEvent{Event: "warning", Peer: peer, Path: jsonName(path), Message: safetext.Clean(text)})
		return
	}
	if p.o.Quiet {
		return
	}
	p.line(tag + "warning: " + safetext.Quote(path) + ": " + safetext.Clean(text))
}

// line prints above the bar, if there is one.
func (p *printer) line(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clearBars()
	fmt.Fprintln(p.io.Err, s)
}

// Event prints one JSON object on a line.
func (p *printer) Event(v any) {
	if !p.o.JSON {
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(`{"event":"error","kind":"failure","message":"an event could not be encoded"}`)
	}
	b = append(asciiJSON(b), '\n')
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.io.Out.Write(b)
}

// Error prints a failure; --quiet does not silence it.
func (p *printer) Error(f failure) { p.failed("", "", f) }

func (p *printer) failed(peer, tag string, f failure) {
	if p.o.JSON {
		p.Event(errorEvent{Event: "error", Peer: peer, Kind: f.kind, Message: f.message, Hint: f.hint})
		return
	}
	p.line(tag + "wherry: " + f.message)
	if f.hint != "" {
		p.line(tag + "hint: " + f.hint)
	}
}

// fail shows err through the printer and returns it as shown.
func (p *printer) fail(err error) error {
	if err == nil {
		return nil
	}
	p.Error(classify(err))
	return &shownError{err}
}

type errorEvent struct {
	Event   string `json:"event"`
	Peer    string `json:"peer,omitempty"` // one of several that are served
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

type warningEvent struct {
	Event   string `json:"event"`
	Peer    string `json:"peer,omitempty"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

// asciiJSON writes what is not ASCII in b, which is JSON, as \u escapes: JSON
// leaves DEL, C1 and bidirectional controls as they are, and a terminal would
// obey them.
func asciiJSON(b []byte) []byte {
	if !bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x7f }) {
		return b
	}
	out := make([]byte, 0, len(b)+32)
	for _, r := range string(b) {
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		}
	}
	return out
}

// jsonName is a file name as JSON can carry it. JSON escapes control characters
// by itself; bytes that are not UTF-8 are shown as \xNN, since JSON has no form
// for them.
func jsonName(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
