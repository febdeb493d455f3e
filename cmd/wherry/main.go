// Wherry moves files between machines, asks for names, and shows what the
// network did to both.
//
// Each subcommand has a file of its own in this package and the same shape:
// flags -> options -> one call into a library package -> a printer. What only a
// command line knows lives here and nowhere else: exit codes and hints (exit.go),
// text or JSON (printer.go), progress bars (bar.go), flags (flags.go).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
