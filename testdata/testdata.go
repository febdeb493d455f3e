// Package testdata holds what tests and the demo read.
package testdata

import "embed"

// Demo is the small tree that `wherry demo` copies.
//
//go:embed all:demo
var Demo embed.FS
