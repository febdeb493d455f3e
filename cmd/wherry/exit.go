package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/wherry-net/wherry/lab"
	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/broker"
	"github.com/wherry-net/wherry/socket/echo"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/depot"
	"github.com/wherry-net/wherry/transfer/depot/rabbit"
	"github.com/wherry-net/wherry/transfer/pairing"
	"github.com/wherry-net/wherry/transfer/pairing/discover"
)

// The exit codes. They are a contract with scripts: see exitCodes for their
// meaning, which --help prints.
const (
	exitDone        = 0
	exitFailure     = 1
	exitUsage       = 2
	exitRefused     = 3
	exitPairing     = 4
	exitVerify      = 5
	exitNetwork     = 6
	exitNoRecord    = 7
	exitNXDomain    = 8
	exitServer      = 9
	exitBogus       = 10
	exitInterrupted = 130
)

var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailure, "other failure"},
	{exitUsage, "wrong usage"},
	{exitRefused, "refused, by a person or by a rule"},
	{exitPairing, "pairing failed"},
	{exitVerify, "verification failed"},
	{exitNetwork, "network: unreachable, timeout, connection lost"},
	{exitNoRecord, "the name has no such record"},
	{exitNXDomain, "the name does not exist (NXDOMAIN)"},
	{exitServer, "server failure, or another response code"},
	{exitBogus, "DNSSEC says bogus"},
	{exitInterrupted, "interrupted"},
}

func exitHelp() string {
	var b strings.Builder
	b.WriteString("EXIT CODES\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "   %-4d %s\n", e.code, e.meaning)
	}
	return b.String()
}

// A failure is an error as the user meets it.
type failure struct {
	code    int
	kind    string // a word for JSON
	message string // one line, safe to print
	hint    string // one line that names the flag to use, or empty
}

// A rule of the one table that maps errors to exit codes. The first that
// matches wins, so the particular stand before the general.
type rule struct {
	match func(error) bool
	code  int
	kind  string
	hint  string
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func anyOf(targets ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
}

func as[T error](err error) bool {
	var t T
	return errors.As(err, &t)
}

// updateHint is for ends of different ages: no flag settles that.
const updateHint = "update the older of the two; 'wherry --version' tells how old one is"

var failureRules = []rule{
	{as[*socket.AddressError], exitUsage, "usage", "write HOST, HOST:PORT or [IPV6]:PORT"},
	{as[*socket.OptionError], exitUsage, "usage", "'wherry COMMAND --help' tells the flags"},
	{as[*usageError], exitUsage, "usage", "'wherry COMMAND --help' tells the flags"},
	{as[lab.PlanErrors], exitUsage, "plan", "'wherry lab run --help' shows what a plan looks like"},
	{as[*lab.PlanError], exitUsage, "plan", "'wherry lab run --help' shows what a plan looks like"},
	{is(transfer.ErrInterrupted), exitInterrupted, "interrupted", "run the same command again for what remains"},
	{is(context.Canceled), exitInterrupted, "interrupted", "run the same command again for what remains"},
	{is(pairing.ErrWrongCode), exitPairing, "wrong-code", "type the code exactly as the other end shows it"},
	{is(pairing.ErrUnconfirmed), exitPairing, "unconfirmed", "is it the right code, and the right end? Start both again"},
	{is(pairing.ErrBurnt), exitPairing, "burnt", "start the listening end again for a new code; --keep stays and slows guessers down"},
	{anyOf(transfer.ErrTransportMismatch, pairing.ErrPeerTransport), exitPairing, "mismatch", "give --udp on both ends, or on neither"},
	{anyOf(pairing.ErrPeerPlain, pairing.ErrPeerPaired), exitPairing, "mismatch", "give --plain on both ends, or on neither"},
	{as[*transfer.VersionError], exitPairing, "mismatch", updateHint},
	{anyOf(pairing.ErrVersion, arq.ErrVersion), exitPairing, "mismatch", updateHint},
	{anyOf(pairing.ErrSameRole, transfer.ErrSameRole), exitPairing, "mismatch", "one end sends and the other receives"},
	{is(pairing.ErrProtocol), exitPairing, "protocol", "is the other end wherry? --plain on both ends turns pairing off"},
	{is(pairing.ErrCode), exitUsage, "usage", "a code looks like 17-cedar-otter"},
	{anyOf(pairing.ErrTimeout, pairing.ErrTruncated), exitNetwork, "connection-lost", "run the same command again"},
	{anyOf(pairing.ErrBusy), exitNetwork, "busy", "try again in a moment"},
	{as[*pairing.DelayError], exitPairing, "delay", "too many wrong codes came from this address; wait and try again"},
	{is(discover.ErrNumberTaken), exitFailure, "number-taken", "another offer on this network has that number: leave the code out and a free one is found, or choose another"},
	{is(discover.ErrNotFound), exitNetwork, "not-found", "is the sender still waiting, on the same network? --from names it if the network carries no multicast"},
	{as[*arq.ARQError], exitFailure, "mismatch", "give the same --arq on both ends; an end that listens without --arq follows the other, except to --arq none"},
	{is(broker.ErrAuth), exitPairing, "credentials", "the user stands in --via amqp://USER@HOST/VHOST, the password in " + passwordVariable},
	{is(broker.ErrNone), exitNetwork, "no-broker", "does a broker run at the address in --via, and can it be reached from here?"},
	{as[*tls.CertificateVerificationError], exitVerify, "certificate", "the certificate must be for the name in --via; SSL_CERT_FILE names a file of other authorities"},
	{is(broker.ErrFull), exitNetwork, "broker-full", "make room on the broker, and run the same command again"},
	{is(depot.ErrNoOffer), exitNetwork, "no-offer", "is it the code that the sender shows, and the broker that it names? --timeout says how long to wait for a sender"},
	{is(depot.ErrCut), exitNetwork, "expired", "ask for it to be sent again; --keep-for and --keep-bytes at the sender say how much is kept"},
	{is(depot.ErrOther), exitRefused, "refused", "a code is for one offer: leave --code-file and " + codeVariable + " out for a new one"},
	{anyOf(depot.ErrDamaged, depot.ErrFormat), exitVerify, "damaged", "the broker's disk may be damaged, or somebody has changed what is there; have it sent again with a new code"},
	{as[*depot.IncompleteError], exitNetwork, "incomplete", "what has arrived stays: run the same command again when the sender has; --timeout says how long to wait"},
	{is(rabbit.ErrBlocked), exitNetwork, "blocked", "its disk or memory is full: run the same command again when there is room"},
	{is(rabbit.ErrAway), exitNetwork, "away", "run the same command again when the broker is back"},
	{is(transfer.ErrPlainMismatch), exitPairing, "mismatch", "give --plain on both ends, or on neither"},
	{as[*transfer.VerifyError], exitVerify, "verify", "a file changed while it was sent, or the path damages data; send it again"},
	{as[*transfer.MissingError], exitVerify, "missing", "--arq none sends once: any other --arq brings what is missing; --allow-missing is content without"},
	{as[*transfer.IncompleteError], exitFailure, "incomplete", "send again what is named above"},
	{is(transfer.ErrDeclined), exitRefused, "refused", ""},
	{is(errBogusAnswer), exitBogus, "bogus", "--at TIME validates as of another time; 'wherry lookup --trace' shows who serves it"},
	{is(errNoSuchName), exitNXDomain, "nxdomain", ""},
	{is(errNoSuchRecord), exitNoRecord, "no-record", ""},
	{is(errDisagree), exitServer, "disagree", ""},
	{is(transfer.ErrExists), exitRefused, "refused", "--overwrite at the receiver says what to do with files that are there"},
	{as[*transfer.EntryError], exitRefused, "refused", "the receiver takes only names and links that stay inside its --dir"},
	{as[*transfer.RefusedError], exitRefused, "refused", ""},
	{is(socket.ErrUnknownHost), exitNetwork, "unknown-host", "check the spelling of that host, or give its address"},
	{is(socket.ErrRefused), exitNetwork, "connection-refused", "is the other end listening on that port? Start it first, with --listen; --udp goes with both ends or with neither"},
	{is(socket.ErrTimeout), exitNetwork, "timeout", "a firewall may drop the packets; --timeout changes how long to wait"},
	{is(socket.ErrUnreachable), exitNetwork, "unreachable", "there is no route to that address from here"},
	{is(socket.ErrNameServer), exitNetwork, "name-server", "is a name server set up here? An IP address needs none"},
	{is(socket.ErrLost), exitNetwork, "connection-lost", "run the same command again"},
	{is(errServers), exitServer, "servers", "'wherry lookup --trace' shows whom it asked and what they said"},
	{is(transfer.ErrPeerSilent), exitNetwork, "timeout", "--timeout changes how long to wait"},
	{is(transfer.ErrIdle), exitNetwork, "idle", "--timeout changes how long to wait"},
	{is(transfer.ErrLost), exitNetwork, "connection-lost", "run the same command again"},
	{is(echo.ErrNotEcho), exitNetwork, "protocol", "start 'wherry echo' there"},
	{as[*transfer.ProtocolError], exitNetwork, "protocol", "is the other end wherry, of a version near to this one?"},
	{as[*transfer.RemoteError], exitFailure, "remote", "the other end prints more"},
	{is(socket.ErrAddressInUse), exitFailure, "address-in-use", "another program listens there; choose another port with --listen"},
	{is(socket.ErrNotOurs), exitFailure, "address-not-local", "name an address of this machine, or none"},
	{is(fs.ErrNotExist), exitFailure, "not-found", "check the spelling of the path"},
	{is(fs.ErrPermission), exitFailure, "permission", "check the rights on that path"},
}

// classify finds the rule for err.
func classify(err error) failure {
	f := failure{code: exitFailure, kind: "failure", message: oneLine(err)}
	if errors.Is(err, context.Canceled) {
		f.message = interrupted(f.message)
	}
	for _, r := range slices.Concat(boxRules, lookupRules, zeroMQRules, failureRules) {
		if r.match(err) {
			f.code, f.kind, f.hint = r.code, r.kind, r.hint
			break
		}
	}
	var cannot *commandError
	if errors.As(err, &cannot) {
		f.code = cannot.code
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		f.hint = h.Hint()
	}
	return f
}

// interrupted is what an interrupt did, without the words of packages context and
// signal, whose ": context canceled" stands behind whatever was going on.
func interrupted(message string) string {
	before, cut := strings.CutSuffix(message, context.Canceled.Error())
	if !cut && !strings.HasSuffix(message, " signal received") {
		return message
	}
	if before = strings.TrimSuffix(before, ": "); cut && strings.HasPrefix(before, "interrupted") {
		return before
	}
	return "interrupted"
}

// oneLine is err's text in one line that is safe to print. Texts from a peer
// arrive clean; what is left are line breaks of our own and of libraries, and
// names inside the errors of package os.
func oneLine(err error) string {
	s := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r >= 0x80 }) {
		s = strings.ReplaceAll(safetext.Clean(s), `\\`, `\`)
	}
	return s
}

// usageError is a mistake on the command line.
type usageError struct {
	err  error
	tell string
}

func usagef(format string, args ...any) *usageError {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// hint adds what to do instead.
func (e *usageError) hint(s string) *usageError { e.tell = s; return e }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.tell }

// hinted adds a hint to any error.
type hintedError struct {
	error
	tell string
}

func withHint(err error, hint string) error { return &hintedError{err, hint} }
func (e *hintedError) Unwrap() error        { return e.error }
func (e *hintedError) Hint() string         { return e.tell }

// shownError is a failure that a printer has shown already; only its exit code
// is still to be told.
type shownError struct{ err error }

func (e *shownError) Error() string { return e.err.Error() }
func (e *shownError) Unwrap() error { return e.err }

// pathError turns what package os says of a path the user gave into words that
// name it as it was given.
func pathError(doing, path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		err = le.Err
	}
	return fmt.Errorf("%s %s: %w", doing, quoteArg(path), err)
}

func quoteArg(s string) string { return safetext.Quote(s) }
