# All commands for people. `make help` lists the targets. They install what they need where
# that is allowed (root, or sudo without a password); otherwise one sentence says what to do.
.DEFAULT_GOAL := help
.PHONY: help run test check bench against flame hold soak swarm proof chaos alerts k6 fuzz peers peers-down cluster cluster-status cluster-down deploy-check dashboards clean
export CARGO_TERM_PROGRESS_WHEN ?= auto

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## everything in one process; PORT=8080, data in ./data
	@deploy/need cargo cc postgres
	cargo build --release --bin chatchit
	@exec cargo run --quiet --release --bin chatchit

test: ## every test, on real RabbitMQ, Redis Cluster and PostgreSQL that it starts and stops
	@deploy/need cargo cc peers nginx prometheus node python
	@tests/run

check: ## formatting, lints, licences
	@deploy/need cargo cc
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p chatchit-gateway --features otlp --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo "cargo-deny is not here: licences not checked"; fi

bench: ## all goals as ratios against peer programs and the bare kernel, in one run (about 25 minutes); ROWS="g1 g8": some
	@deploy/need cargo cc peers node bench-peers
	cargo build --release --workspace --bins
	deploy/with-peers cargo run --quiet --release -p bench -- $(ROWS)

against: ## this build's g1 to g4 and g8 against those of REV=commit, both built, taken in turn: the ratios (about 25 minutes)
	@[ -n "$$REV" ] || { echo "make: please say what to compare with: make against REV=HEAD~1"; exit 64; }
	@deploy/need cargo cc peers
	cargo build --release --workspace --bins
	deploy/with-peers cargo run --quiet --release -p bench -- against "$$REV" $(ROWS)

flame: ## flame graphs of gateway and worker under the whole chain's load: target/flame
	@deploy/need cargo cc peers flame
	cargo build --release --workspace --bins
	deploy/with-peers cargo run --quiet --release -p bench -- flame

hold: ## SOCKETS=200000 idle sockets for HOLD_SECONDS=60 while some exchange messages: none lost, and the cost of one
	@deploy/need cargo cc peers
	cargo build --release --workspace --bins
	ulimit -n "$$(ulimit -Hn)" && deploy/with-peers cargo run --quiet --release -p bench -- hold $${SOCKETS:-200000} $${HOLD_SECONDS:-60} loadtest/HOLD.md

soak: ## half of saturation for SOAK_SECONDS=1200: no memory and no queue grows, and no program logs an error
	@deploy/need cargo cc peers
	cargo build --release --workspace --bins
	deploy/with-peers cargo run --quiet --release -p bench -- soak $${SOAK_SECONDS:-1200} loadtest/SOAK.md

swarm: ## 50 senders, 200 conversations, 50,000 messages on 2 gateways and 2 workers, judged
	@deploy/need cargo cc peers
	cargo build --release --workspace --bins
	PROOF=full deploy/with-peers cargo test --release --test breaking -- --nocapture --test-threads 1 failures::a_worker_is_killed

proof: ## all failures of tests/breaking and tests/by_hand that have a full size (about 15 minutes)
	@deploy/need cargo cc peers
	cargo build --release --workspace --bins
	PROOF=full deploy/with-peers cargo test --release --test breaking -- --nocapture --test-threads 1 failures:: resume:: lanes:: frozen::
	PROOF=full CHATCHIT_TESTS=all cargo test --release --test by_hand -- --nocapture --test-threads 1 killed:: full_disk::

chaos: ## every fault, under load, on a whole cluster; one table, written into deploy/RUNBOOK.md
	@deploy/need cargo cc cluster
	cargo build --release --workspace --bins --features chatchit-protocol/next-field
	mkdir -p target/release/next && cp target/release/gateway target/release/worker target/release/chatchit target/release/next
	cargo build --release --workspace --bins
	cargo run --quiet --release -p chaos

alerts: ## a real fault for every alert (or ALERTS=NoWorker,BusAway): seconds until it fires, into deploy/RUNBOOK.md
	@deploy/need cargo cc cluster
	cargo build --release --workspace --bins
	cargo run --quiet --release -p chaos -- alerts $${ALERTS:+--only "$$ALERTS"}

k6: ## scenarios against URL, or a cluster of its own; PROFILE=full (or smoke), SCENARIO=chat,rest; into loadtest/README.md
	@deploy/need k6
	@[ -n "$$URL" ] || deploy/need cluster
	@[ -n "$$URL$$CHATCHIT_BIN" ] || { deploy/need cargo cc && cargo build --release -p chatchit -p chatchit-gateway -p chatchit-worker --bins; }
	@loadtest/scenarios/run

fuzz: ## every fuzz target for FUZZ_SECONDS=60 (needs nightly and cargo-fuzz)
	@deploy/need cargo cc
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { echo "make: please run: rustup toolchain install nightly && cargo install cargo-fuzz"; exit 1; }
	gateway/fuzz/run all $${FUZZ_SECONDS:-60}

peers: ## real peers in ./.peers for development; prints what to export
	@deploy/need peers
	@deploy/peers up && deploy/peers env

peers-down: ## stop them and delete ./.peers
	@deploy/peers down

cluster: ## nginx on PORT=8080, GATEWAYS=2, WORKERS=2, BROKERS=1 (or 3), a canary, and all peers, in ./.cluster
	@deploy/need cluster
	@[ -n "$$CHATCHIT_BIN" ] || { deploy/need cargo cc && cargo build --release -p chatchit -p chatchit-gateway -p chatchit-worker --bins; }
	@deploy/cluster up && deploy/cluster status

cluster-status: ## every part of it: its port and its state
	@deploy/cluster status

cluster-down: ## stop it and delete ./.cluster (KEEP=1: keep the data)
	@deploy/cluster down

deploy-check: ## the files of deploy/ against the rules of Docker, compose, Helm and Kubernetes
	@deploy/check

dashboards: ## write grafana/dashboards from grafana/source, and draw them from a cluster under load: target/dashboards
	@deploy/need cargo cc cluster
	@grafana/build
	cargo build --release -p chatchit -p chatchit-gateway -p chatchit-worker -p swarm --bins
	@grafana/picture

clean: ## stop the peers and the cluster, delete ./target (./data stays)
	@deploy/peers down
	@deploy/cluster down
	cargo clean
