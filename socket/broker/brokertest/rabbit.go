//go:build unix

package brokertest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/sockettest"
)

// server is where Debian keeps the program; the one on the PATH insists on being
// root and then becomes another user.
const server = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// A Rabbit is a broker that lives as long as its test.
type Rabbit struct {
	// URL has user and password.
	URL  string
	t    testing.TB
	dir  string
	port int
	env  []string

	cmd    *exec.Cmd
	exited chan struct{}
	log    *buffer
}

// Start starts a broker and waits until it answers. Without RabbitMQ the test is
// skipped, but for CI, which installs it. extra is lines for rabbitmq.conf.
func Start(t testing.TB, extra ...string) *Rabbit {
	t.Helper()
	if _, err := os.Stat(server); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("rabbitmq-server is missing")
		}
		t.Skip("SKIPPED: rabbitmq-server is missing")
	}
	r := &Rabbit{t: t, dir: t.TempDir()}
	// For AMQP, Erlang's distribution and its name server, also for as long as the
	// broker is killed.
	ports := sockettest.FreePorts(t)
	r.port = int(ports[0])
	r.URL = fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", r.port)
	conf := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nlog.console = true\nlog.console.level = warning\nlog.file = false\n", r.port)
	for _, l := range extra {
		conf += l + "\n"
	}
	for name, text := range map[string]string{"rabbitmq.conf": conf, "plugins": "[].\n"} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.env = append(os.Environ(),
		"HOME="+r.dir,
		"RABBITMQ_NODENAME=wherry"+strconv.Itoa(r.port)+"@localhost",
		"RABBITMQ_MNESIA_BASE="+filepath.Join(r.dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(r.dir, "log"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(r.dir, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(r.dir, "plugins"),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(int(ports[1])),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT="+strconv.Itoa(int(ports[2])),
		// Busy waiting would take the processor from those under test. The two ends of
		// rabbitmqctl may take longer than seven seconds to find each other.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} -kernel net_setuptime 120 +sbwt none",
		"RABBITMQ_CTL_ERL_ARGS=-kernel net_setuptime 120",
	)
	r.Start()
	t.Cleanup(func() {
		r.Kill()
		// The port mapper that Erlang has started beside it.
		c := exec.Command("epmd", "-port", strconv.Itoa(int(ports[2])), "-kill")
		c.Env = r.env
		_ = c.Run()
	})
	return r
}

// Start starts the broker again after Kill.
func (r *Rabbit) Start() {
	r.t.Helper()
	var err error
	// A broker that finds its own name still known to the port mapper, or a program on
	// one of its ports, gives up: such is over in a moment.
	for range 3 {
		if err = r.run(); err == nil {
			return
		}
		r.t.Log(err)
	}
	r.t.Fatal("rabbitmq-server does not start")
}

func (r *Rabbit) run() error {
	r.log = &buffer{}
	r.cmd = exec.Command(server)
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = r.env, r.log, r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a shell, and Erlang below it
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	exited := make(chan struct{})
	r.exited = exited
	cmd := r.cmd
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	// Erlang starts slowly on a busy machine.
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); {
		select {
		case <-exited:
			return fmt.Errorf("rabbitmq-server has ended:\n%s", r.log)
		case <-tick.C:
		}
		if r.answers() {
			return nil
		}
	}
	r.Kill()
	return fmt.Errorf("rabbitmq-server does not answer:\n%s", r.log)
}

// answers reports whether the broker speaks AMQP: what it says to a header of
// another version is its own header.
func (r *Rabbit) answers() bool {
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)))
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var got [4]byte
	_, _ = c.Write([]byte("AMQP\x00\x00\x00\x00"))
	n, _ := c.Read(got[:])
	return n == 4 && bytes.Equal(got[:], []byte("AMQP"))
}

// Dir is where the broker keeps all of its files.
func (r *Rabbit) Dir() string { return r.dir }

// Control runs rabbitmqctl. The test fails if that fails.
func (r *Rabbit) Control(args ...string) {
	c := exec.Command("/usr/lib/rabbitmq/bin/rabbitmqctl", args...)
	c.Env = r.env
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Errorf("rabbitmqctl %q: %v: %s", args, err, out)
	}
}

// Settle waits, after the first stream of a broker was made, until the broker would
// find it after Kill. RabbitMQ 3.10 writes down a second later that it has streams at
// all (in the file names.dets of the coordinator of streams, which Ra's directory
// flushes by a timer), and until then they hang if it loses its power; those made
// later, and all that is in them, are safe at once.
func (r *Rabbit) Settle() {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); {
		names, _ := filepath.Glob(filepath.Join(r.dir, "mnesia", "*", "coordination", "*", "names.dets"))
		for _, n := range names {
			if b, err := os.ReadFile(n); err == nil && bytes.Contains(b, []byte("rabbit_stream_coordinator")) {
				return
			}
		}
		<-tick.C
	}
	r.t.Fatal("the broker does not write down that it has streams")
}

// Kill ends the broker as a power cut would.
func (r *Rabbit) Kill() {
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	<-r.exited
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
