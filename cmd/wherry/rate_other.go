//go:build !unix

package main

import (
	"context"

	"github.com/wherry-net/wherry/socket/pace"
)

const rateSignals = ""

func adjustRate(context.Context, *pace.Limiter, *printer) {}
