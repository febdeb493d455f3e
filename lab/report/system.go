package report

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// System says what this machine is, as far as it matters to a measurement, and
// nothing that tells whose it is.
func System() []Fact {
	facts := []Fact{
		{"system", runtime.GOOS + "/" + runtime.GOARCH},
		{"processors", strconv.Itoa(runtime.NumCPU())},
		{"Go", runtime.Version()},
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		facts = append(facts, Fact{"kernel", strings.TrimSpace(string(b))})
	}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if name, value, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				facts = append(facts, Fact{"processor", strings.TrimSpace(value)})
				break
			}
		}
	}
	return facts
}
