//go:build !race

package arq_test

// raceEnabled reports whether the race detector slows everything down tenfold.
const raceEnabled = false
