# Thin entries: what they do is in xtask and in the tests.

.PHONY: demo test bench crds

demo: ## One command: a hub, a tenant cluster, upstream's own tests against it
	@scripts/prerequisites
	@scripts/compile-ahead & ahead=$$!; \
	  cargo build --release --package skep --package xtask || { kill $$ahead; exit 1; }; \
	  wait $$ahead
	@target/release/xtask demo

test: ## Everything that must hold before a change lands
	@scripts/prerequisites
	@scripts/test

bench: ## What a cluster and the gateway cost, against a bare start, a direct connection and haproxy in the same run
	@scripts/prerequisites
	@cargo build --release --package skep --package xtask
	@target/release/xtask bench create
	@target/release/xtask bench gateway

crds: ## Write deploy/crds from the types
	@cargo xtask crds
