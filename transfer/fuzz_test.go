package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// Every decoder takes what a stranger sends. It must not panic, must hold to its
// bounds, and must give back what its encoder made: the encodings are canonical,
// so what was decoded encodes to the same bytes.

func FuzzFrameHeader(f *testing.F) {
	f.Add(appendFrame(nil, frameManifest, []byte("payload")))
	f.Add([]byte{byte(frameData), 0, 16, 0, 12})
	f.Add([]byte{byte(framePacked), 0, 8, 0, 12})
	f.Add([]byte{byte(frameHello), 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, n, err := readFrameHeader(bytes.NewReader(b))
		if err != nil {
			return
		}
		if n < 0 || n > maxData || typ != frameData && typ != framePacked && n > maxControl {
			t.Fatalf("a %v frame of %d bytes was accepted", typ, n)
		}
		var h [frameHeader]byte
		putFrameHeader(h[:], typ, n)
		if !bytes.Equal(h[:], b[:frameHeader]) {
			t.Fatalf("%x was read, and would be written as %x", b[:frameHeader], h)
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(hello{Min: 1, Max: 1, Role: roleSender, Features: featureRanges, Session: sessionID{1, 2}}.encode())
	f.Add(hello{Min: 0, Max: 255, Role: roleReceiver, Features: 1<<64 - 1}.encode())
	f.Add([]byte{1, 1, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			var p *ProtocolError
			if !errors.As(err, &p) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if e := h.encode(); !bytes.HasPrefix(b, e) {
			t.Fatalf("%x became %x", b, e)
		}
		if v, err := agree(hello{Min: minVersion, Max: maxVersion}, h); err == nil && (v < minVersion || v > maxVersion) {
			t.Fatalf("agreed on version %d", v)
		}
	})
}

func manifestSeeds() [][]byte {
	var all []byte
	var seeds [][]byte
	for _, e := range []Entry{
		{Path: "d", Kind: Dir, Mode: 0o755, ModTime: time.Unix(1, 2)},
		{Path: "d/a.txt", Kind: File, Mode: 0o644, Size: 5, ModTime: time.Unix(-1, 999_999_999)},
		{Path: "d/l", Kind: Symlink, Target: "a.txt", Mode: 0o777, ModTime: time.Unix(0, 0)},
		{Path: "p", Kind: File, Size: UnknownSize, ModTime: time.Unix(1<<40, 0)},
		{Path: "../x", Kind: File, Size: maxSize, ModTime: time.Unix(0, 0)},
		{Path: "/abs", Kind: File, ModTime: time.Unix(0, 0)},
		{Path: "d/esc", Kind: Symlink, Target: "../../etc", ModTime: time.Unix(0, 0)},
		{Path: "x.wherry-part", Kind: File, ModTime: time.Unix(0, 0)},
	} {
		if e.Kind != File {
			e.Size = 0
		}
		seeds = append(seeds, e.append(nil))
		all = e.append(all)
	}
	return append(seeds, all)
}

func FuzzManifest(f *testing.F) {
	for _, s := range manifestSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var entries []Entry
		var again []byte
		err := decodeManifest(b, func(e Entry) error {
			again = e.append(again)
			if !bytes.HasPrefix(b, again) {
				t.Fatalf("%+v does not encode to what it was read from", e)
			}
			entries = append(entries, e)
			return nil
		})
		if err == nil && len(again) != len(b) {
			t.Fatalf("%d of %d bytes were read", len(again), len(b))
		}
		for _, goos := range []string{"linux", "windows"} {
			for _, fold := range []caseRule{caseSensitive, caseInsensitive} {
				checkRules(t, goos, fold, entries)
			}
		}
	})
}

// plainPath is what every accepted path must be: a name below the top, written in
// the one shortest way. (fs.ValidPath wants UTF-8, which names need not be.)
func plainPath(p string) bool {
	return filepath.IsLocal(p) && path.Clean(p) == p && p != "." && !strings.Contains(p, "\x00")
}

// checkRules holds the entries that a manifest accepts to what the rules are for,
// by other means than the rules' own.
func checkRules(t *testing.T, goos string, fold caseRule, entries []Entry) {
	m := newManifest(goos, fold)
	kinds := map[string]Kind{}
	for _, e := range entries {
		if m.add(e) != nil {
			continue
		}
		if !plainPath(e.Path) {
			t.Fatalf("accepted the path %q", e.Path)
		}
		if _, twice := kinds[e.Path]; twice {
			t.Fatalf("accepted %q twice", e.Path)
		}
		for p := path.Dir(e.Path); p != "."; p = path.Dir(p) {
			if !fold && kinds[p] != Dir {
				t.Fatalf("accepted %q, and %q is no directory", e.Path, p)
			}
		}
		if e.Mode&^fs.ModePerm != 0 {
			t.Fatalf("accepted the mode %v", e.Mode)
		}
		if e.Kind == Symlink {
			top, _, _ := strings.Cut(e.Path, "/")
			end := path.Join(path.Dir(e.Path), e.Target)
			if path.IsAbs(e.Target) || end != top && !strings.HasPrefix(end, top+"/") {
				t.Fatalf("accepted a link %q to %q", e.Path, e.Target)
			}
		}
		kinds[e.Path] = e.Kind
	}
}

func FuzzManifestEnd(f *testing.F) {
	f.Add(manifestEnd{3, 1 << 40, 2}.encode())
	f.Add(manifestEnd{1<<64 - 1, 1<<64 - 1, 1<<64 - 1}.encode())
	f.Add([]byte{0x80, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeManifestEnd(b); err == nil && !bytes.Equal(m.encode(), b) {
			t.Fatalf("%x became %+v", b, m)
		}
	})
}

func FuzzDecisions(f *testing.F) {
	d := decision{Verb: verbSend, First: 0, Count: 3}.append(nil)
	d = decision{Verb: verbSkip, First: 3, Count: maxEntries}.append(d)
	f.Add(d)
	f.Add(decision{Verb: verbHave, First: 1, Group: 7, CVs: make([]treehash.CV, 2)}.append(nil))
	f.Add(append([]byte{byte(verbHave), 0, 0}, binary.AppendUvarint(nil, 1<<62)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := decodeDecisions(b, func(c decision) error {
			if c.First < 0 || c.First > maxEntries || c.Count < 0 || c.Count > maxEntries || len(c.CVs) > maxHave || c.Group < 0 {
				t.Fatalf("%+v is out of bounds", c)
			}
			again = c.append(again)
			return nil
		})
		if !bytes.HasPrefix(b, again) || err == nil && len(again) != len(b) {
			t.Fatalf("%x became %x (%v)", b, again, err)
		}
	})
}

func FuzzDataHeader(f *testing.F) {
	b := make([]byte, frameHeader+dataHeader)
	putDataHeader(b, 7, treehash.GroupSize, 100)
	f.Add(b[frameHeader:], 112)
	f.Add(bytes.Repeat([]byte{0xff}, dataHeader), maxData)
	f.Fuzz(func(t *testing.T, h []byte, length int) {
		if len(h) < dataHeader || length < dataHeader || length > maxData {
			return // the reader of frames does not let these through
		}
		p, err := decodeDataHeader(h[:dataHeader], length)
		if err != nil {
			return
		}
		if p.offset < 0 || p.length <= 0 || p.offset/treehash.GroupSize != (p.offset+int64(p.length)-1)/treehash.GroupSize {
			t.Fatalf("%+v is not within one group", p)
		}
		again := make([]byte, frameHeader+dataHeader)
		putDataHeader(again, p.entry, p.offset, p.length)
		if !bytes.Equal(again[frameHeader:], h[:dataHeader]) {
			t.Fatalf("%x became %x", h, again)
		}
	})
}

func FuzzFileEnd(f *testing.F) {
	f.Add(fileEnd{Entry: 1, Size: 5, Sent: 5, Digest: treehash.Sum([]byte("hello"))}.append(nil)[frameHeader:])
	f.Add(fileEnd{Entry: maxEntries, Status: statusFailed, Sent: maxSize, Text: "no\x1b[31m"}.append(nil)[frameHeader:])
	f.Add(fileEnd{Status: statusHash}.append(nil)[frameHeader : frameHeader+20]) // a digest of the wrong length
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeFileEnd(b)
		if err != nil {
			return
		}
		if e.Size < 0 || e.Size > maxSize || e.Sent < 0 || e.Sent > maxSize || len(e.Text) > maxErrorText {
			t.Fatalf("%+v is out of bounds", e)
		}
		if again := e.append(nil)[frameHeader:]; !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzReceipts(f *testing.F) {
	r := receipt{Entry: 1, Status: statusDone, Digest: treehash.Sum(nil)}.append(nil)
	f.Add(receipt{Entry: 2, Status: statusFailed, Text: "disk full"}.append(r))
	f.Add(r[:20])
	f.Add(receipt{Status: statusRefused, Text: "\x9b\u202e"}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := decodeReceipts(b, func(r receipt) error {
			if r.Entry < 0 || r.Entry > maxEntries || len(r.Text) > maxErrorText {
				t.Fatalf("%+v is out of bounds", r)
			}
			again = r.append(again)
			return nil
		})
		if !bytes.HasPrefix(b, again) || err == nil && len(again) != len(b) {
			t.Fatalf("%x became %x (%v)", b, again, err)
		}
	})
}

func FuzzError(f *testing.F) {
	for _, err := range []error{ErrInterrupted, ErrDeclined, &RefusedError{Reason: "no room"}, &EntryError{"../x", "bad"},
		&VerifyError{"a\x1b[2Jb"}, &IncompleteError{1, "x: \u202e"}, protocolErrorf("what"), io.EOF} {
		f.Add(encodeError(err))
	}
	f.Add([]byte{})
	f.Add(append([]byte{wireFailure}, "\x1b]0;owned\a\x9b31m\u202e\n"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := decodeError(b)
		if err == nil {
			t.Fatal("an error frame without an error")
		}
		mustBeSafe(t, err.Error())
		// What is told on keeps its kind, as both ends' exit codes depend on it.
		again := decodeError(encodeError(err))
		var refused, refusedAgain *RefusedError
		if errors.As(err, &refused) != errors.As(again, &refusedAgain) || errors.Is(err, ErrInterrupted) != errors.Is(again, ErrInterrupted) ||
			errors.Is(err, ErrDeclined) != errors.Is(again, ErrDeclined) {
			t.Fatalf("%v became %v", err, again)
		}
	})
}

func FuzzJournal(f *testing.F) {
	part := pattern(3*treehash.GroupSize + 100)
	good := binary.BigEndian.AppendUint64([]byte(journalMagic), uint64(len(part)))
	for g := range int64(4) {
		end := min(int64(len(part)), (g+1)*treehash.GroupSize)
		good = journalRecord{g, treehash.Group(part[g*treehash.GroupSize:end], g)}.append(good)
	}
	f.Add(good, int64(len(part)))
	f.Add(good, int64(len(part)+1))
	f.Add(good[:len(good)-7], int64(len(part)))
	f.Add(journalRecord{-1, treehash.CV{}}.append(good[:journalHeader]), int64(len(part)))
	f.Add(journalRecord{1<<63 - 1, treehash.CV{}}.append(good[:journalHeader]), int64(maxSize))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if size < 0 || size > maxSize {
			return
		}
		have, err := readJournal(t.Context(), bytes.NewReader(b), bytes.NewReader(part), size)
		if err != nil {
			return
		}
		for g, cv := range have {
			from, to := g*treehash.GroupSize, min((g+1)*treehash.GroupSize, size)
			if g < 0 || to > int64(len(part)) || treehash.Group(part[from:to], g) != cv {
				t.Fatalf("believed a record about group %d that the file does not bear out", g)
			}
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"a/b", "/a", "a/../b", "a//b", ".", "..", "a/./b", "a\x00", "nul.txt", "a.", "x.Wherry-Part", "C:x", `a\b`, "\u202e"} {
		f.Add(s, "../"+s)
	}
	f.Fuzz(func(t *testing.T, p, target string) {
		for _, goos := range []string{"linux", "darwin", "windows"} {
			if badPath(p, goos) != "" {
				continue
			}
			if !plainPath(p) {
				t.Fatalf("%q is accepted on %s", p, goos)
			}
			if goos == "windows" && strings.ContainsAny(p, `\:<>|"?*`) {
				t.Fatalf("%q is accepted on %s", p, goos)
			}
			if badTarget(p, target, goos) == "" {
				top, _, _ := strings.Cut(p, "/")
				end := path.Join(path.Dir(p), target)
				if path.IsAbs(target) || end != top && !strings.HasPrefix(end, top+"/") {
					t.Fatalf("a link %q to %q is accepted on %s", p, target, goos)
				}
			}
		}
	})
}

// FuzzReceive gives a whole receiver the bytes of a peer. It must end soon,
// without a panic, and touch nothing but its directory.
func FuzzReceive(f *testing.F) {
	for _, s := range manifestSeeds() {
		w := newWire().frame(frameManifest, s).frame(frameManifestEnd, manifestEnd{Entries: 1, Bytes: 5}.encode())
		w.data(0, 0, []byte("hello")).end(fileEnd{Size: 5, Sent: 5, Digest: treehash.Sum([]byte("hello"))})
		f.Add(w.frame(frameFinish, nil).bytes())
	}
	f.Add([]byte(preface.Magic + "E\x01"))
	f.Add([]byte{0x16, 3, 1, 0, 5})
	one := newWire().list(Entry{Path: "a", Kind: File, Mode: 0o644, Size: 5})
	one.data(0, 0, []byte("hello")).end(fileEnd{Size: 5, Sent: 5, Digest: treehash.Sum([]byte("hello"))})
	f.Add(one.frame(frameFinish, nil).bytes())
	f.Add(newWire().list(Entry{Path: "p", Kind: File, Mode: 0o644, Size: UnknownSize}).end(fileEnd{Size: maxSize}).bytes())

	f.Fuzz(func(t *testing.T, b []byte) {
		outer, err := os.MkdirTemp("", "wherry-fuzz-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(outer)
		write(t, outer+"/canary", []byte("as it was"), 0o644, old)
		write(t, outer+"/in/there", []byte("hello"), 0o644, old)
		before := describe(t, outer)
		root, err := os.OpenRoot(outer + "/in")
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		go func() { _, _ = theirs.Write(b); theirs.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), calmTimeout)
		defer cancel()
		_, err = Receive(ctx, ours, ReceiveOptions{Dir: root, NoSync: true, MaxSize: 1 << 20})
		if ctx.Err() != nil {
			t.Fatal("it did not end")
		}
		if err != nil {
			mustBeSafe(t, err.Error())
		}
		for p, text := range describe(t, outer) {
			if was, ok := before[p]; p != "in" && !strings.HasPrefix(p, "in/") && (!ok || was != text) {
				t.Fatalf("%q changed outside: %s", p, text)
			}
		}
		if after := describe(t, outer); !reflect.DeepEqual(after["canary"], before["canary"]) {
			t.Fatal("the file beside the directory is gone")
		}
	})
}
