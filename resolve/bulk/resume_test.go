package bulk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestResumeCutsOffTheLastResult(t *testing.T) {
	one := "1,a.example,A,NOERROR,a.example.,5,IN,A,192.0.2.1,s,0.1\n"
	two := "2,b.example,A,NOERROR,b.example.,5,IN,A,192.0.2.1,s,0.1\n2,b.example,A,NOERROR,b.example.,5,IN,A,192.0.2.2,s,0.1\n"
	three := "3,\"a,\"\"b\",A,NXDOMAIN,a.example.,,,,,s,0.1\n"
	for _, tt := range []struct{ name, had, keep string }{
		{"empty", "", ""},
		{"half a header", csvHeader[:10], ""},
		{"header", csvHeader, csvHeader},
		{"one", csvHeader + one, csvHeader},
		{"one and a piece", csvHeader + one + two[:5], csvHeader},
		{"one and a row", csvHeader + one + two[:56], csvHeader + one},
		{"two", csvHeader + one + two, csvHeader + one},
		{"three", csvHeader + one + two + three, csvHeader + one + two},
		{"out of order", csvHeader + three + two + one, csvHeader + three + two},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFile(t)
			f.WriteString(tt.had)
			if _, err := Resume(f, CSV); err != nil {
				t.Fatal(err)
			}
			f.WriteString("!")
			f.Seek(0, io.SeekStart)
			if got, _ := io.ReadAll(f); string(got) != tt.keep+"!" {
				t.Errorf("left %q, want %q", got, tt.keep)
			}
		})
	}
}

func TestResumeRefuses(t *testing.T) {
	row := "1,a.example,A,NOERROR,a.example.,5,IN,A,192.0.2.1,s,0.1\n"
	end := "9,z.example,A,NXDOMAIN,z.example.,,,,,s,0.1\n"
	for _, tt := range []struct{ name, had string }{
		{"other header", "name,data\n" + row},
		{"no header", row + end},
		{"not rows", csvHeader + "hello\nworld\n"},
		{"line 0", csvHeader + strings.Replace(row, "1,", "0,", 1) + end},
		{"huge line", csvHeader + strings.Replace(row, "1,", "99999999999999999,", 1) + end},
		{"line that would need gigabytes", csvHeader + strings.Replace(row, "1,", "8000000000,", 1) + end},
		{"twice", csvHeader + row + end + row + end},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFile(t)
			f.WriteString(tt.had)
			if _, err := Resume(f, CSV); !errors.Is(err, ErrResume) {
				t.Errorf("error %v", err)
			}
			f.Seek(0, io.SeekStart)
			if got, _ := io.ReadAll(f); string(got) != tt.had {
				t.Error("the file was changed")
			}
		})
	}
}

func TestResumeChecksTheList(t *testing.T) {
	had := csvHeader + "1,a.example,A,NOERROR,a.example.,5,IN,A,192.0.2.1,s,0.1\n9,z.example,A,NXDOMAIN,z.example.,,,,,s,0.1\n"
	for _, tt := range []struct {
		name, list string
		qtype      uint16
		bad        bool
	}{
		{"same", "a.example\nb.example\n", typeA, false},
		{"other name", "c.example\nb.example\n", typeA, true},
		{"other type", "a.example\nb.example\n", typeMX, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFile(t)
			f.WriteString(had)
			done, err := Resume(f, CSV)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Run(t.Context(), strings.NewReader(tt.list), f, Options{
				Type: tt.qtype, Resume: done, Retries: -1, Timeout: 1, // nobody is there, so b.example times out at once
				Servers: []Server{{Name: "none", Exchanger: nobody{}}},
			})
			if errors.Is(err, ErrResume) != tt.bad {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzResume(f *testing.F) {
	f.Add([]byte(csvHeader+"1,a,A,NOERROR,a.,5,IN,A,192.0.2.1,s,0.1\n2,\"a,b\",A,X,,,,,,,\n"), 0)
	f.Add([]byte(`{"line":1,"query":"a","status":"NOERROR"}`+"\n"+`{"line":2,"query":"b","status":"NOERROR"}`+"\n"), 1)
	f.Add([]byte("a\tA\tNOERROR\t192.0.2.1\nb\tA\tTIMEOUT\n"), 2)
	f.Fuzz(func(t *testing.T, had []byte, format int) {
		if format < 0 || format > int(Text) {
			return
		}
		file := &memFile{b: append([]byte(nil), had...)}
		done, err := Resume(file, Format(format))
		if err != nil {
			return
		}
		// What is kept is a prefix, and reading it again keeps no more.
		if !strings.HasPrefix(string(had), string(file.b)) {
			t.Fatalf("%q became %q", had, file.b)
		}
		n := done.Lines()
		again, err := Resume(file, Format(format))
		if err != nil || again.Lines() > n {
			t.Fatalf("%d results, then %v, %v", n, again, err)
		}
	})
}

type memFile struct {
	b   []byte
	off int64
}

func (m *memFile) Read(p []byte) (int, error) {
	if m.off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[m.off:])
	m.off += int64(n)
	return n, nil
}

func (m *memFile) Write(p []byte) (int, error) {
	m.b = append(m.b[:m.off], p...)
	m.off += int64(len(p))
	return len(p), nil
}

func (m *memFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += m.off
	case io.SeekEnd:
		off += int64(len(m.b))
	}
	m.off = off
	return off, nil
}

func (m *memFile) Truncate(n int64) error { m.b = m.b[:n]; return nil }
