// Package lab carries out experiments: it reads a plan, makes every transfer that
// the plan asks for, in a simulator or on real sockets, and keeps what came of
// them. Package report makes tables and plots of that.
//
// # Plans
//
// A plan is YAML:
//
//	name: CUBIC and UDP under loss   # for people
//	seed: 7                          # of the first repeat; the next has 8
//	repeat: 5                        # times, 1 to 1000; intervals need two
//	engine: sim                      # or link, or loopback
//	file: {size: 8MiB, pattern: random}
//	links:
//	  - {rate: 50Mbit, delay: [5ms, 25ms], loss: [0, 0.1%, 1%, 5%]}
//	  - {rate: 2Mbit, delay: 300ms, queue: 64KiB}
//	transports: [udp, tcp:cubic, tcp:bbr]
//	timeout: 10m                     # of one run; an hour by default
//
// Values are spelled as package units reads them. file and links and transports
// are needed; the rest has defaults. Whatever a plan says is checked before the
// first run: a key that does not exist, a value that cannot be, a link that stands
// there twice. Errors are [PlanErrors] and name the line and the key.
//
// Lists multiply out. Every field of a link may be a list, and the entry then
// stands for all their combinations, the last key varying fastest: the first entry
// above is eight links. Every transport goes over every link, repeat times.
//
// The fields of a link are rate, delay, jitter, loss, gemodel, reorder, duplicate,
// corrupt and queue, and mean what they mean in package netem; gemodel loses in
// bursts and is written as tc-netem(8) has it ("1% 25%"). Each holds both ways, and
// delay is one way, so that the round trip takes twice as long. A link without a
// rate has no bottleneck.
//
// Transports are
//
//	tcp:cubic tcp:bbr         kernel TCP with that congestion control
//	udp                       wherry's own transport
//	udp:cubic                 the same with CUBIC
//	udp:go-back-n udp:selective-repeat udp:stop-and-wait
//	                          the textbook protocols; window: N (packets) and
//	                          rto: DUR beside the other keys set theirs
//	udp:none                  each datagram once; what is lost stays lost
//
// payload bounds the datagrams of all that go over UDP, in bytes. pattern is what
// the file is made of: random (from the seed), zeros, count (numbers counting up);
// the simulator sends bytes of its own.
//
// # Engines
//
// sim runs wherry's protocol engines under simulated time over the links of package
// netem. It needs no rights, takes seconds for minutes of network, and gives the
// same bytes every time: of two runs of a plan only the columns named *_wall*
// differ. It has no kernel, so tcp:cubic and tcp:bbr are played by wherry's engine
// with congestion controls of its own; reports say so.
//
// link sets up two hosts and a bad link in namespaces of their own (package box,
// Linux) and runs wherry itself on both: the kernel's TCP and everything else is
// what it is.
//
// loopback runs both ends in this process over loopback, the link being imitated
// before the sockets. It needs no rights, and shares processors and clocks with
// everything else on the machine.
//
// # Results
//
// [Execute] keeps a row a run in results.jsonl as it comes, and at the end all of
// them in the plan's order, in results.csv as well. Names and units of the columns
// are those of [Row]. A row knows by its key which run it is of: the same
// experiment in the same directory makes only the runs that have none. So a plan
// that was interrupted continues, and one that grows by links, transports or
// repeats keeps what it has. Runs that failed are made again. Where a directory holds rows of runs that the plan
// does not have, Execute refuses ([ChangedError]) and touches nothing.
//
// The first repeat of every link and transport is recorded for plots, thinned out
// ([Recording]), in the folder traces.
//
// # Statistics
//
// Over the repeats [Summarise] gives the mean and its 95% confidence interval by
// Student's t with n−1 degrees of freedom. All transports of a repeat have the same
// seed and so meet the same draws.
package lab
