//go:build !unix

package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(allTests{m}.Run()) }
