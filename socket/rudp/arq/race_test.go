//go:build race

package arq_test

const raceEnabled = true
