//go:build !unix

package web

const nonblock = 0
