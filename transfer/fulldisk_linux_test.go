package transfer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inNamespaces runs the test again as root of namespaces of its own for users and
// mounts, and reports whether this is that run. Where there are no such
// namespaces, the test is skipped.
func inNamespaces(t *testing.T) bool {
	t.Helper()
	const inside = "WHERRY_INSIDE"
	if os.Getenv(inside) == t.Name() {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("SKIPPED: no user and mount namespaces here: %v", err)
	}
	if s := string(out); err == nil && strings.Contains(s, "--- SKIP") {
		t.Skip(s)
	}
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// TestSoakFullDisk receives onto a small file system that fills up in the midst of
// it, by what is received or by what somebody else writes, until there is room
// again. No final name has anything but the whole file, what was saved is not sent
// again, and both ends say what is wrong.
func TestSoakFullDisk(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	seed := soakSeed(t)
	t.Logf("WHERRY_SEED=%d", seed)
	resumed, fulls := int64(0), 0
	for i := range 12 {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		src := filepath.Join(t.TempDir(), "tree")
		for k := range 20 {
			write(t, fmt.Sprintf("%s/d%d/f%d", src, k%4, k), pattern(rng.IntN(20000)), 0o644, old)
		}
		write(t, src+"/large", pattern(9<<20+rng.IntN(3<<20)), 0o644, old)
		write(t, src+"/medium", pattern(rng.IntN(3<<20)), 0o644, old)
		want := describe(t, filepath.Dir(src))

		disk := t.TempDir()
		if err := syscall.Mount("wherry", disk, "tmpfs", 0, "size=24m"); err != nil {
			t.Skipf("SKIPPED: no tmpfs can be mounted here: %v", err)
		}
		dst := filepath.Join(disk, "in")
		if err := os.Mkdir(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		after := rng.Int64N(9 << 20)
		o := fillUp(t, src, dst, filepath.Join(disk, "filler"), after)
		full := syscall.ENOSPC.Error()
		switch {
		case o.sendErr == nil && o.getErr == nil: // what was still to come had its room already
			sameTree(t, want, describe(t, dst))
		case o.sendErr == nil || o.getErr == nil:
			t.Fatalf("%d: the ends disagree: send: %v; receive: %v", i, o.sendErr, o.getErr)
		case strings.Contains(o.getErr.Error(), "has room for") && strings.Contains(o.sendErr.Error(), "has room for"):
			fulls++ // content may come before the list's end, which has room looked for again
		case !strings.Contains(o.sendErr.Error(), full) || !strings.Contains(o.getErr.Error(), full):
			t.Errorf("%d: neither end should hide that the disk is full: send: %v; receive: %v", i, o.sendErr, o.getErr)
		default:
			fulls++
		}
		for p, text := range describe(t, dst) {
			part := strings.HasSuffix(p, partSuffix) || strings.HasSuffix(p, journalSuffix)
			if w, ok := want[p]; !part && (!ok || !strings.HasPrefix(text, "d") && text != w) {
				t.Errorf("%d: %s is %s, want %s", i, p, text, w)
			}
		}
		if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
			t.Fatal(err)
		}
		o = copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{})
		o.mustWork(t)
		sameTree(t, want, describe(t, dst))
		resumed += o.got.Resumed
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("again with WHERRY_SEED=%d", seed)
		}
	}
	if resumed == 0 || fulls == 0 {
		t.Errorf("nothing that had been saved was used again (%d full disks)", fulls)
	}
	t.Logf("%d full disks; %d bytes were not sent again", fulls, resumed)
}

// fillUp receives src into dst; when so many bytes have come, filler takes what room
// is left.
func fillUp(t *testing.T, src, dst, filler string, after int64) outcome {
	t.Helper()
	source, err := NewSource([]string{src}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	root, err := os.OpenRoot(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var came int64
	var f *os.File
	fill := func(_ *Entry, n int) {
		if came += int64(n); came < after || f != nil {
			return
		}
		if f, err = os.Create(filler); err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		b := make([]byte, 64<<10)
		for err = nil; err == nil; {
			_, err = f.Write(b)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
	a, b := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*calmTimeout)
	defer cancel()
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.got, o.getErr = Receive(ctx, b, ReceiveOptions{Dir: root, Timeout: calmTimeout, Trace: &Trace{Moved: fill}})
	}()
	o.sent, o.sendErr = Send(ctx, a, source, SendOptions{Timeout: calmTimeout})
	<-done
	return o
}
