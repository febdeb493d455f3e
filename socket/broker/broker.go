// Package broker connects to message brokers that speak AMQP 0-9-1, RabbitMQ
// first of all, through the sockets that everything else uses.
//
//	u, err := broker.Parse("amqps://user@mq1.example,mq2.example:5671/vhost")
//	conn, err := broker.Dial(ctx, u, broker.Options{})
//
// A URL may name several hosts of a cluster; they are tried in a random order, so
// that many clients spread over them. A password is taken from the URL, or from
// [Options.Password] where the URL has none, since a command line is seen by
// everybody on the machine. No error shows it.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/safetext"
)

// ErrAuth is matched by errors of a broker that knows the user or the password
// not, or lets the user not into the virtual host.
var ErrAuth = errors.New("the broker refuses the user")

// ErrNone is matched by errors of an address where no broker can be reached.
var ErrNone = errors.New("no broker answers")

// none adds ErrNone to an error, whose text says enough.
type none struct{ error }

func (e none) Unwrap() []error { return []error{e.error, ErrNone} }

// ErrFull is matched by errors of a broker that takes no messages, because its disk,
// its memory or a queue is full.
var ErrFull = errors.New("the broker is full")

// ErrURL is matched by errors of an address that is none.
var ErrURL = errors.New("not the address of a broker")

// A URL is where a broker is.
type URL struct {
	Hosts    []socket.HostPort
	TLS      bool
	User     string // "guest" if the URL names none
	Password string
	VHost    string // "/" if the URL names none
}

// Parse reads amqp[s]://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/VHOST]. The
// ports default to 5672, and 5671 with TLS.
func Parse(s string) (*URL, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	u := &URL{User: "guest", VHost: "/"}
	port := uint16(5672)
	switch {
	case !ok || scheme != "amqp" && scheme != "amqps":
		return nil, fmt.Errorf("%w: it must begin with amqp:// or amqps://", ErrURL)
	case scheme == "amqps":
		u.TLS, port = true, 5671
	}
	authority, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		var err1, err2 error
		u.User, err1 = url.PathUnescape(user)
		u.Password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil || u.User == "" {
			return nil, fmt.Errorf("%w: its user or password is malformed", ErrURL)
		}
		authority = authority[i+1:]
	}
	if path != "" {
		v, err := url.PathUnescape(path)
		if err != nil || strings.ContainsAny(v, "?#") || len(v) > 255 {
			return nil, fmt.Errorf("%w: its virtual host is malformed", ErrURL)
		}
		u.VHost = v
	}
	for h := range strings.SplitSeq(authority, ",") {
		hp, err := socket.ParseHostPort(h, port)
		if err != nil || h == "" {
			return nil, fmt.Errorf("%w: it names no host, or one that is malformed", ErrURL)
		}
		u.Hosts = append(u.Hosts, hp)
	}
	return u, nil
}

// String is the URL without its password.
func (u *URL) String() string {
	scheme := "amqp://"
	if u.TLS {
		scheme = "amqps://"
	}
	hosts := make([]string, len(u.Hosts))
	for i, h := range u.Hosts {
		hosts[i] = h.String()
	}
	s := scheme + strings.Join(hosts, ",")
	if u.VHost != "/" {
		s += "/" + url.PathEscape(u.VHost)
	}
	return s
}

// Options says how to connect. The zero value is the default.
type Options struct {
	// Password is used where the URL has none; "guest" if that is empty too.
	Password string
	Dialer   *socket.Dialer // nil is a zero Dialer
	TLS      *tls.Config    // nil verifies by the system's roots
	Name     string         // what the broker's management shows
}

// handshake bounds what it takes from a TCP connection to an open AMQP one.
const handshake = 10 * time.Second

// Dial connects to the first of u's hosts that answers. An error matches [ErrAuth] or
// [ErrNone], is a [*tls.CertificateVerificationError], or is ctx's.
func Dial(ctx context.Context, u *URL, o Options) (*amqp.Connection, error) {
	hosts := slices.Clone(u.Hosts)
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] }) //permit:rand.Shuffle clients are to differ
	var errs []error
	for _, h := range hosts {
		c, err := dial(ctx, u, h, o)
		if err == nil {
			return c, nil
		}
		if errors.Is(err, ErrAuth) || ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func dial(ctx context.Context, u *URL, h socket.HostPort, o Options) (*amqp.Connection, error) {
	d := o.Dialer
	if d == nil {
		d = &socket.Dialer{}
	}
	nc, err := d.DialContext(ctx, "tcp", h.String())
	if err != nil {
		if ctx.Err() == nil {
			err = none{err}
		}
		return nil, err
	}
	// Everything until the connection is open is under this deadline; amqp091
	// lifts it. The end of ctx is as good.
	_ = nc.SetDeadline(time.Now().Add(handshake))
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var conn net.Conn = nc
	if u.TLS {
		cfg := o.TLS.Clone()
		if cfg == nil {
			cfg = &tls.Config{}
		}
		if cfg.ServerName == "" {
			cfg.ServerName = h.Host
		}
		cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
		t := tls.Client(nc, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			err = fmt.Errorf("connect to the broker %s by TLS: %w", h, err)
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok && ctx.Err() == nil {
				err = none{err}
			}
			return nil, err
		}
		conn = t
	}
	password := u.Password
	if password == "" {
		password = o.Password
	}
	if password == "" {
		password = "guest"
	}
	props := amqp.NewConnectionProperties()
	if o.Name != "" {
		props.SetClientConnectionName(o.Name)
	}
	c, err := amqp.Open(conn, amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: u.User, Password: password}},
		Vhost:      u.VHost,
		Heartbeat:  10 * time.Second,
		Properties: props,
		Locale:     "en_US",
	})
	if err == nil {
		return c, nil
	}
	nc.Close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var ae *amqp.Error
	if errors.As(err, &ae) && (ae.Code == amqp.AccessRefused || ae.Code == amqp.NotAllowed) {
		return nil, fmt.Errorf("connect to the broker %s as %q: %w (%s)", h, u.User, ErrAuth, safetext.Clean(ae.Reason))
	}
	if ae != nil { // whose text is full of codes
		return nil, none{fmt.Errorf("connect to the broker %s: it does not speak AMQP 0-9-1: %s", h, safetext.Clean(ae.Reason))}
	}
	return nil, none{fmt.Errorf("connect to the broker %s: %w", h, err)}
}

// closing bounds what it takes to take leave.
const closing = time.Second

// Close closes a connection of [Dial]. Unlike its own Close this does not wait for a
// broker that does not read, as one does whose disk is full.
func Close(c *amqp.Connection) error { return c.CloseDeadline(time.Now().Add(closing)) }
