.PHONY: build test race lint lint-selftest fuzz bench bench-udp bench-fleet bench-via memory fairness wan microbench cross scenarios ci

build:
	go build -o bin/ ./cmd/wherry

test:
	go test ./...

race:
	go test -race ./...

lint:
	.ci/lint

lint-selftest:
	go test -C .ci/tools -count=1 ./...

# make fuzz FUZZTIME=60 runs each target for a minute.
FUZZTIME ?= 5
fuzz:
	.ci/fuzz $(FUZZTIME) 86400

# make bench RUNS=9: wherry against nc, rsync, scp and cp.
RUNS ?= 5
bench:
	bench/compare $(RUNS)

# make bench-udp RUNS=3: reliable UDP against TCP between two namespaces, as root;
# QUICPEER names a copier over quic-go to compare with.
bench-udp:
	bench/veth $(RUNS)

# make bench-fleet: 300,000 names over RabbitMQ, one worker, two, and two of which one
# is killed; QPS=0 does not limit them.
bench-fleet:
	bench/fleet

# make bench-via: 1 GiB left with RabbitMQ and fetched, by one receiver and by two that
# share it; SIZE in MiB.
bench-via:
	bench/via

# make memory: the peak memory of both ends for a big file, many files and a sparse
# one, plain and encrypted, over TCP and UDP; WHAT=big for one of them.
memory:
	bench/memory $(WHAT)

# The tables of socket/rudp/arq's documentation: goodput over loss and round trip,
# shares beside CUBIC and among ourselves. SEEDS=10 for narrower ones.
SEEDS ?= 3
fairness:
	WHERRY_GRID=$(SEEDS) go test ./socket/rudp/arq -count=1 -timeout 2h -run '^TestGrid$$' -v

# send --udp over bad links in namespaces: goodput, delay, shares. RUNS=3 for medians.
wan:
	bench/wan

microbench:
	go test -run '^$$' -bench . ./...

# Replays recorded resolver scenarios: WHERRY_SCENARIOS names the folder (default
# ../shared/dns-scenarios). Everything that does not pass is a failure here; the
# ordinary tests assert a floor.
scenarios:
	go test ./resolve -count=1 -run '^TestScenario$$' -v

cross:
	.ci/cross

ci:
	.ci/run
