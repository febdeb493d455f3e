package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of the files that a plan leaves in its directory.
const (
	ResultsJSONL = "results.jsonl"
	ResultsCSV   = "results.csv"
	TracesDir    = "traces" // a recording of the first repeat of each cell
)

// A ChangedError says that a directory holds results of another plan.
type ChangedError struct {
	Dir  string
	Rows int // that do not belong
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s holds results of another plan: %d rows of %s belong to no run of this one", e.Dir, e.Rows, ResultsJSONL)
}

// maxRow bounds a line of results.jsonl.
const maxRow = 1 << 20

// A store keeps the rows of a plan in a directory.
type store struct {
	dir  string
	file *os.File // open for appending
	runs []Run
	rows map[string]Row // by key
}

// openStore opens or makes dir and reads the rows in it that belong to runs, but
// for failed ones, which are to be made again. A row that does not belong is a [ChangedError], unless fresh, which begins anew. A last
// line that was cut short is dropped: whoever wrote it was killed.
func openStore(dir string, runs []Run, fresh bool) (*store, error) {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	s := &store{dir: dir, runs: runs, rows: map[string]Row{}}
	name := filepath.Join(dir, ResultsJSONL)
	if fresh {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err := os.RemoveAll(filepath.Join(dir, TracesDir)); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	end, err := s.read(f)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	s.file = f
	return s, nil
}

// read reads the rows of f and returns where the last whole one ends.
func (s *store) read(f *os.File) (end int64, err error) {
	wanted := map[string]bool{}
	for _, r := range s.runs {
		wanted[r.Key()] = true
	}
	strange := 0
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, 64<<10), maxRow)
	in.Split(wholeLines)
	for n := 1; in.Scan(); n++ {
		end += int64(len(in.Bytes()))
		line := bytes.TrimSpace(in.Bytes())
		if len(line) == 0 {
			continue
		}
		var row Row
		err := json.Unmarshal(line, &row)
		if err == nil {
			err = row.check()
		}
		if err != nil {
			return 0, fmt.Errorf("%s:%d: %w", f.Name(), n, err)
		}
		if !wanted[row.Key] {
			strange++
			continue
		}
		// A later line of a run takes the place of an earlier one, and a run
		// that failed is made again.
		delete(s.rows, row.Key)
		if row.Status != Failed {
			s.rows[row.Key] = row
		}
	}
	if err := in.Err(); err != nil {
		return 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if strange > 0 {
		return 0, &ChangedError{Dir: s.dir, Rows: strange}
	}
	return end, nil
}

// wholeLines splits at line feeds, which it keeps, and drops a rest without one.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

// add keeps a row, on the disk as well.
func (s *store) add(row Row) error {
	b, err := json.Marshal(&row)
	if err != nil {
		return err
	}
	if _, err := s.file.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	s.rows[row.Key] = row
	return nil
}

// inOrder lists the rows there are in the plan's order.
func (s *store) inOrder() []Row {
	var rows []Row
	for _, r := range s.runs {
		if row, ok := s.rows[r.Key()]; ok {
			row.Name = r.Plan.Name // which may change without a run being another
			rows = append(rows, row)
		}
	}
	return rows
}

// close writes the rows anew in the plan's order, whatever order they were run
// in, and as CSV.
func (s *store) close() error {
	err := s.file.Close()
	rows := s.inOrder()
	return errors.Join(err,
		WriteFile(filepath.Join(s.dir, ResultsJSONL), func(w io.Writer) error { return WriteJSONL(w, rows) }),
		WriteFile(filepath.Join(s.dir, ResultsCSV), func(w io.Writer) error { return WriteCSV(w, rows) }))
}

// WriteFile replaces a file in one step, so that whoever is killed leaves the old
// one or the new one.
func WriteFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", name, err)
		}
	}()
	b := bufio.NewWriterSize(f, 1<<18)
	if err := write(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
