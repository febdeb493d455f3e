//go:build unix

package main

import (
	"os"
	"os/exec"
)

// mayHaveNamespaces tells whether the scripts can make namespaces. In CI they
// must.
func mayHaveNamespaces() bool {
	return os.Getenv("CI") == "true" || exec.Command("unshare", "-Urn", "true").Run() == nil
}
