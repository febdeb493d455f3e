// Package testdata holds what tests and the demo read.
package testdata

import "embed"

// Demo is the small tree that `wherry demo` copies.
//
//go:embed all:demo
var Demo embed.FS

// Zones is a small hierarchy of zones, from the root down.
//
//go:embed zones
var Zones embed.FS
