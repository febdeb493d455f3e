package main

import (
	"os"
	"runtime"
	"sync"
)

// processors is how many processors there are for this process.
var processors = sync.OnceValue(func() int { return runtime.GOMAXPROCS(0) })

// spare is how many goroutines may run at once beyond the number of processors
// while content is moved over TCP. Those that move it are mostly in system calls
// of 100 µs and more. With as many as processors, the runtime takes its place from
// each that is in one for longer than 20 µs, and wakes a thread for it that finds
// nothing to do; with places to spare it leaves them alone.
const spare = 2

// sparePlaces makes them, unless GOMAXPROCS says how many there are to be.
var sparePlaces = sync.OnceFunc(func() {
	if n := processors(); os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n + spare)
	}
})
