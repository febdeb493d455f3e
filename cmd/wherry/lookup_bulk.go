package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/wherry-net/wherry/resolve/bulk"
	"github.com/wherry-net/wherry/socket"
)

// bulkLookup is `lookup --file`: a list of names, asked for by the thousand.
type bulkLookup struct {
	file   string // "-" is standard input
	output string // empty is standard output
	resume bool   // go on with output
	quiet  bool
	bulk.Options
}

// runBulkLookup asks for the whole list. Results go to standard output or the
// output file; progress and the sum of it all go to standard error.
func runBulkLookup(ctx context.Context, io stdio, b bulkLookup) error {
	f, err := b.open(io)
	if err != nil {
		return err
	}
	defer f.close()
	view := newBulkView(io, b.quiet, f.size, b.Options.Resume)
	b.Trace = &bulk.Trace{Progress: view.progress, Silent: view.silent}
	stats, err := bulk.Run(ctx, f.list, f.out, b.Options)
	view.done(stats)
	if cerr := f.close(); err == nil {
		err = cerr
	}
	return b.explain(err)
}

// bulkFiles is where a list comes from and where its results go.
type bulkFiles struct {
	list  io.ReadCloser
	size  int64 // of the list; -1 if that is not known
	out   io.Writer
	close func() error // tells what writing has left to tell
}

// open opens both. With --resume it reads what the output has.
func (b *bulkLookup) open(stdio stdio) (*bulkFiles, error) {
	if b.resume && b.output == "" {
		return nil, usagef("--resume needs --output FILE, whose results are not asked for again")
	}
	list, size, err := openList(stdio, b.file)
	if err != nil {
		return nil, err
	}
	f := &bulkFiles{list: list, size: size, out: stdio.Out, close: list.Close}
	if b.output == "" {
		return f, nil
	}
	out, err := b.openOutput()
	if err != nil {
		list.Close()
		return nil, err
	}
	f.out = out
	f.close = sync.OnceValue(func() error {
		list.Close()
		if err := out.Close(); err != nil {
			return pathError("write", b.output, err)
		}
		return nil
	})
	return f, nil
}

// explain adds what to do next.
func (b *bulkLookup) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		err = fmt.Errorf("interrupted before the end of the list: %w", context.Canceled)
		if b.output == "" {
			return withHint(err, "what is printed is whole; with --output FILE a later --resume goes on from there")
		}
		return withHint(err, "the same command with --resume goes on from there")
	case wrongCertificate(err):
		return err // which has a hint of its own
	case errors.Is(err, bulk.ErrSilent):
		return withHint(silentError{err}, "names that were not asked are marked NOTASKED; is the server's address right, and does a firewall let UDP port 53 through?")
	case errors.Is(err, bulk.ErrResume):
		return usagef("%w", err).hint("--resume needs the same list, --type and --format as before")
	}
	return err
}

// silentError makes servers that do not answer a matter of the network, as any
// other peer that does not.
type silentError struct{ error }

func (e silentError) Unwrap() error        { return e.error }
func (e silentError) Is(target error) bool { return target == socket.ErrTimeout }

// openList opens the list and tells its size, or -1.
func openList(stdio stdio, path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		if f, ok := stdio.In.(*os.File); ok {
			return io.NopCloser(f), regularSize(f), nil
		}
		return io.NopCloser(stdio.In), -1, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, pathError("read the list", path, err)
	}
	if fi, err := f.Stat(); err == nil && fi.IsDir() {
		f.Close()
		return nil, 0, usagef("--file needs a file of names, a line each; %s is a directory", quoteArg(path))
	}
	return f, regularSize(f), nil
}

func regularSize(f *os.File) int64 {
	if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
		return fi.Size()
	}
	return -1
}

// openOutput opens the output file, and with --resume reads what it has.
// Without, it must not be there: it may be hours of work.
func (b *bulkLookup) openOutput() (*os.File, error) {
	if !b.resume {
		f, err := os.OpenFile(b.output, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			if f, err = b.openExisting(); f != nil || err != nil {
				return f, err
			}
			return nil, withHint(fmt.Errorf("%s exists", quoteArg(b.output)), "--resume goes on with it; otherwise remove it or choose another --output")
		}
		if err != nil {
			return nil, pathError("write", b.output, err)
		}
		return f, nil
	}
	f, err := os.OpenFile(b.output, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, pathError("write", b.output, err)
	}
	if b.Options.Resume, err = bulk.Resume(f, b.Format); err != nil {
		f.Close()
		return nil, b.explain(fmt.Errorf("%s: %w", quoteArg(b.output), err))
	}
	return f, nil
}

// openExisting opens an output that is there but holds nothing to lose: an
// empty file, a device, a pipe. It returns nil if it does.
func (b *bulkLookup) openExisting() (*os.File, error) {
	fi, err := os.Stat(b.output)
	if err != nil {
		return nil, pathError("write", b.output, err)
	}
	if fi.Mode().IsRegular() && fi.Size() > 0 {
		return nil, nil
	}
	f, err := os.OpenFile(b.output, os.O_WRONLY, 0)
	if err != nil {
		return nil, pathError("write", b.output, err)
	}
	return f, nil
}

// bulkView shows how far a list is: a bar on a terminal, else a line now and
// then. The list's size, not its lines, is the measure, as it is known without
// reading all of it.
type bulkView struct {
	err   io.Writer
	quiet bool
	size  int64
	had   int64 // results of an earlier run
	bar   *progressbar.ProgressBar
	shown time.Duration
}

const bulkPlainEvery = 5 * time.Second

func newBulkView(io stdio, quiet bool, size int64, done *bulk.Done) *bulkView {
	v := &bulkView{err: io.Err, quiet: quiet, size: size}
	if done != nil {
		v.had = done.Lines()
	}
	if v.had > 0 && !quiet {
		fmt.Fprintf(v.err, "going on after %s results\n", thousands(v.had))
	}
	if !quiet && isTerminal(io.Err) {
		v.bar = progressbar.NewOptions64(size,
			progressbar.OptionSetWriter(io.Err),
			progressbar.OptionSetDescription("asking"),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(barEvery),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionEnableColorCodes(false),
		)
	}
	return v
}

func (v *bulkView) progress(s bulk.Stats) {
	rate := float64(s.Results) / max(s.Elapsed.Seconds(), 1e-3)
	text := fmt.Sprintf("%s names, %s/s, %s unanswered", thousands(s.Results), thousands(int64(rate)), thousands(s.Failed))
	// What was read ahead has not been asked yet, and must not end the bar.
	at := s.InputBytes
	if s.InFlight > 0 && v.size > 0 {
		at = min(at, v.size-1)
	}
	switch {
	case v.quiet:
	case v.bar != nil:
		v.bar.Describe(text)
		_ = v.bar.Set64(at)
	case s.Elapsed-v.shown >= bulkPlainEvery:
		v.shown = s.Elapsed
		if v.size > 0 {
			text += fmt.Sprintf(", %d%% of the list read", 100*s.InputBytes/v.size)
		}
		fmt.Fprintln(v.err, text)
	}
}

func (v *bulkView) silent(server string, silent bool) {
	if v.quiet {
		return
	}
	v.clear()
	if silent {
		fmt.Fprintf(v.err, "warning: %s has gone silent\n", server)
	} else {
		fmt.Fprintf(v.err, "%s answers again\n", server)
	}
}

func (v *bulkView) clear() {
	if v.bar != nil {
		_ = v.bar.Clear()
	}
}

// done prints the sum.
func (v *bulkView) done(s bulk.Stats) {
	if v.quiet || s.Elapsed == 0 {
		return
	}
	v.clear()
	rate := float64(s.Results) / max(s.Elapsed.Seconds(), 1e-3)
	fmt.Fprintf(v.err, "%s names in %.2f s, %s/s: %s answered, %s no data, %s NXDOMAIN, %s failed, %s no names\n",
		thousands(s.Results), s.Elapsed.Seconds(), thousands(int64(rate)),
		thousands(s.Answered), thousands(s.NoData), thousands(s.NXDomain), thousands(s.Failed), thousands(s.Malformed))
	fmt.Fprintf(v.err, "%s queries sent, %s again; %s answers cut short; packets not believed: %s late, %s stray\n",
		thousands(s.Sent), thousands(s.Retries), thousands(s.Truncated), thousands(s.Late), thousands(s.Strays))
	if s.Skipped > 0 || s.Resumed > 0 {
		fmt.Fprintf(v.err, "%s blank lines and comments, %s lines done before\n", thousands(s.Skipped), thousands(s.Resumed))
	}
	if s.Orphans > 0 {
		fmt.Fprintf(v.err, "warning: %s results of the earlier run belong to no line of this list\n", thousands(s.Orphans))
	}
}

// thousands is n with commas between its thousands.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
