package main

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/psk"
	"github.com/wherry-net/wherry/socket/zmtp"
	"github.com/wherry-net/wherry/transfer/depot"
	"github.com/wherry-net/wherry/transfer/depot/zeromq"
	"github.com/wherry-net/wherry/transfer/pairing"
)

// What the commands with --via zmq+tcp:// have in common.

// zeroMQAddress is the HOST:PORT of --via, for an end that connects or listens.
func zeroMQAddress(via string, connects bool) (string, error) {
	addr, any, err := zmtp.ParseURL(via)
	switch {
	case err != nil:
		return "", usagef("--via: %w", err).hint("write zmq+tcp://*:PORT at the end that listens, zmq+tcp://HOST:PORT at those that connect")
	case any && connects:
		return "", usagef("--via %s is every address of this machine, and this end connects", quoteArg(via)).hint("name the host of the other end: zmq+tcp://HOST:PORT")
	}
	return addr, nil
}

// nobodyThere adds whom to start, to the error of a connection.
func nobodyThere(err error, command string) error {
	if errors.Is(err, socket.ErrRefused) || errors.Is(err, socket.ErrTimeout) {
		return withHint(err, "is '"+command+" --via zmq+tcp://*:PORT' running there, and does a firewall let that port through?")
	}
	return err
}

// longCode is the code that was given, or typed, or where it may be made, a new one.
func longCode(c *cli.Context, io stdio, make bool) (code pairing.Code, made bool, err error) {
	code, err = givenCode(c, io)
	if err == nil && code.Reveal() == "" {
		if make {
			code, err = depot.NewCode()
			return code, true, err
		}
		code, err = askCode(c.Context, io, false)
	}
	if err != nil {
		return code, false, err
	}
	if n := strings.Count(code.WithNumber(0).Reveal(), "-") + 1; n < depot.MinWords {
		return code, false, usagef("the code has %d words, and must have %d or more", n, depot.MinWords).hint("who can connect can try short codes at leisure; without a code the end that listens makes one")
	}
	return code, false, nil
}

// zeroMQRules are of the table of exit codes.
var zeroMQRules = []rule{
	{is(psk.ErrSecret), exitPairing, "wrong-code", "type the code exactly as the other end shows it"},
	{anyOf(psk.ErrProtocol, psk.ErrSeal, zmtp.ErrProtocol, zmtp.ErrIncompatible, zmtp.ErrTooLong), exitNetwork, "protocol", "is the other end wherry, with the same --via, and its other half?"},
	{is(zeromq.ErrEnded), exitNetwork, "connection-lost", "the sender has stopped; start it again, and then the same command, to get what remains"},
	{is(zeromq.ErrAnew), exitNetwork, "connection-lost", "run the same command again to get what remains"},
	{as[*zmtp.RefusedError], exitNetwork, "refused", "is the other end wherry's other half of the same?"},
}
