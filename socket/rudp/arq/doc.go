// Package arq is wherry's reliable transport over datagrams, without the
// datagrams: a state machine that is handed what arrived and the time, and
// hands out what to send and when to be called again. See [Conn].
package arq
