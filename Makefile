# nfrun's Makefile: thin names over cargo and the scripts beside the code. `make help` lists them.
# A fresh Debian bookworm needs only make, Rust (rustup or `cargo` in PATH) and root; each target installs the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-builtin-rules

PREFIX ?= /usr/local
DESTDIR ?=
# The name to install under: NAME=runc puts nfrun in runc's place.
NAME ?= nfrun
CARGO ?= cargo
# CI passes --locked: what is tested is what Cargo.lock says.
CARGO_FLAGS ?=
# Faults and kills before step k are compiled in for tests only.
TEST_FEATURES ?= fault
# Passed to the test programs, e.g. TEST_ARGS=delete_ to run the tests with that in their name.
TEST_ARGS ?=

# .cargo/config.toml names the target, so cargo puts the binary below its triple.
TRIPLE := $(shell sed -n 's/^target = "\(.*\)"$$/\1/p' .cargo/config.toml)
TARGET := $(abspath $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target))
BIN := $(TARGET)/$(TRIPLE)/release/nfrun
SHIM := containerd-shim-nfrun-v2
# The binary that demo, test and bench run; NFRUN=/usr/sbin/runc tries the scripts on another runtime.
NFRUN ?= $(BIN)

bindir := $(DESTDIR)$(PREFIX)/bin
docdir := $(DESTDIR)$(PREFIX)/share/doc/nfrun
bashdir := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
zshdir := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
fishdir := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

# Run as root, and say so in words rather than by the first mount that fails.
need_root = @[ "$$(id -u)" = 0 ] || { echo "make $@ runs containers, so it needs root: become root and run it again" >&2; exit 1; }

.PHONY: help build demo test test-vm vm test-hosts fuzz bench bench-network bench-shim check fixtures install uninstall clean clean-fixtures \
        deps-build deps-fixtures deps-demo deps-test deps-vm deps-fuzz deps-bench deps-bench-network deps-bench-shim

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  deps-WHAT        install the Debian packages that build, fixtures, demo, test, vm, fuzz or bench needs"
	@echo "variables: PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) NAME=$(NAME) (install it as runc) NFRUN (binary that demo, test and bench run) TEST_ARGS BENCH"

build: deps-build ## the static release binaries: target/release/nfrun, and containerd's shim beside it
	NFRUN_COMMIT=$$(git rev-parse --short=12 HEAD 2> /dev/null || echo unknown) $(CARGO) build --release $(CARGO_FLAGS)
	@mkdir -p $(TARGET)/release
	@for name in nfrun $(SHIM); do ln -sfn ../$(TRIPLE)/release/$$name $(TARGET)/release/$$name; ls -lL $(TARGET)/release/$$name; done

demo: deps-demo build fixtures ## one container, shown from the inside and the outside, and three that are connected
	$(need_root)
	NFRUN=$(NFRUN) tests/demo.sh
	@# Networks are nfrun's alone: another runtime, as of make NFRUN=/usr/sbin/runc demo, has none.
	! $(NFRUN) --help 2>&1 | grep -qE '^ +network\b' || NFRUN=$(NFRUN) tests/demo-network.sh

# --show-output prints what a test printed after its binary has ended, test by test, so SKIP lines of tests that run
# at the same time do not mix.
# A test program that hangs is ended and shown: each has TEST_LIMIT seconds, of which the longest takes a tenth.
TEST_LIMIT ?= 900
limited = CARGO_TARGET_$(shell tr a-z- A-Z_ <<< $(TRIPLE))_RUNNER="$(CURDIR)/tests/limited $(TEST_LIMIT)"
# Only when asked for, since tests that inject faults need the debug build that cargo makes for them.
other = $(if $(filter file,$(origin NFRUN)),,NFRUN_TEST_BINARY=$(NFRUN))
test: deps-test build fixtures ## every test, on the real kernel, with a summary at the end
	$(need_root)
	NFRUN_RELEASE=$(BIN) $(other) $(limited) tests/summary --log $(TARGET)/test.log -- \
	  $(CARGO) test $(CARGO_FLAGS) --features "$(TEST_FEATURES)" --no-fail-fast -- --show-output $(TEST_ARGS)

# HOST names a recipe of tests/vm/hosts; VM_ARGS test programs, or one test of a program: VM_ARGS="exec hooks=poststart".
HOST ?= bookworm
VM_ARGS ?=
test-vm: deps-vm ## the tests VM_ARGS in a virtual machine of HOST, with a summary and a JUnit file
	$(need_root)
	@mkdir -p $(TARGET)/vm
	CARGO_FLAGS="$(CARGO_FLAGS)" TEST_FEATURES="$(TEST_FEATURES)" \
	  tests/summary --log $(TARGET)/vm/$(HOST).log --junit $(TARGET)/vm/$(HOST).xml -- tests/vm/run $(HOST) $(VM_ARGS)

matrix = CARGO="$(CARGO)" CARGO_FLAGS="$(CARGO_FLAGS)" TEST_FEATURES="$(TEST_FEATURES)" tests/vm/matrix
vm: deps-vm ## a chosen set of test programs in two virtual machines, as CI does it
	$(need_root)
	$(matrix) run --chosen

# MATRIX_ARGS="--host sid" or "--keep": tests/vm/matrix.
MATRIX_ARGS ?=
test-hosts: deps-vm ## every test program on every host, into docs/hosts.md; goes on where it was stopped
	$(need_root)
	status=0; $(matrix) run $(MATRIX_ARGS) || status=$$?; $(matrix) docs; exit $$status

# Seconds for each target.
TIME ?= 60
fuzz: deps-fuzz ## every fuzz target for TIME seconds: config.json, init's plan, records, words, seccomp
	nice tests/fuzz/run $(TIME)

bench: deps-bench build ## lifecycle benches against Debian's runc and crun
	$(need_root)
	NFRUN=$(NFRUN) OUT=$(TARGET)/bench benches/lifecycle

bench-network: deps-bench-network build fixtures ## what connecting costs and carries, against CNI, netavark and bare netlink
	$(need_root)
	NFRUN=$(NFRUN) benches/network --json $(TARGET)/bench-network.json

bench-shim: deps-bench-shim build fixtures ## what containers cost under containerd, against its own shim with runc and crun
	$(need_root)
	$(CARGO) build --release $(CARGO_FLAGS) --example shim-floor
	BINARIES=$(TARGET)/$(TRIPLE)/release benches/shim --json $(TARGET)/bench-shim.json

# The init program is a package of its own (freestanding, so no test targets to lint); --release because its panic
# strategy is the release build's.
INIT := $(wildcard src/init/Cargo.toml)
check: deps-build ## formatting, lints, shell syntax
	@if $(CARGO) fmt --version > /dev/null 2>&1; then \
	  $(CARGO) fmt --check; \
	  $(if $(INIT),$(CARGO) fmt --check --manifest-path $(INIT);) \
	else echo "skipped: formatting, for rustfmt is not installed (rustup component add rustfmt)"; fi
	@if $(CARGO) clippy --version > /dev/null 2>&1; then \
	  $(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings; \
	  $(CARGO) clippy $(CARGO_FLAGS) --all-targets --features "$(TEST_FEATURES)" -- -D warnings; \
	  $(if $(INIT),$(CARGO) clippy $(CARGO_FLAGS) --release --manifest-path $(INIT) --target-dir $(TARGET)/init-check -- -D warnings;) \
	else echo "skipped: lints, for clippy is not installed (rustup component add clippy)"; fi
	@if command -v g++ > /dev/null; then \
	  RUSTFLAGS="--cfg fuzzing" $(CARGO) check --quiet --locked --manifest-path tests/fuzz/Cargo.toml --target-dir $(TARGET)/fuzz-check; \
	else echo "skipped: the fuzz targets, for g++ is not installed (.ci/deps fuzz)"; fi
	@for f in .ci/run .ci/deps rootfs-fixtures/build rootfs-fixtures/*.recipe tests/demo.sh tests/demo-network.sh tests/demo-say.sh tests/vm/image tests/vm/run tests/vm/guest docs/ci/in-vm benches/lifecycle; do bash -n "$$f"; done
	@if command -v shellcheck > /dev/null; then \
	  shellcheck .ci/run .ci/deps rootfs-fixtures/build rootfs-fixtures/*.recipe tests/demo.sh tests/demo-network.sh tests/demo-say.sh tests/vm/image tests/vm/run tests/vm/guest docs/ci/in-vm benches/lifecycle; \
	else echo "skipped: shellcheck is not installed"; fi

fixtures: deps-fixtures ## root filesystems from Debian packages, in rootfs-fixtures/built
	$(need_root)
	rootfs-fixtures/build

# `sudo make install` after `make build` as a user: root may have no cargo, and needs none then.
install: $(if $(shell command -v $(CARGO)),build) ## binaries, completions, docs below $(DESTDIR)$(PREFIX)
	@[ -x $(BIN) ] || { echo "there is no $(BIN) and no cargo to make it: run 'make build' first" >&2; exit 1; }
	install -d $(bindir) $(bashdir) $(zshdir) $(fishdir) $(docdir)
	install -m 755 $(BIN) $(bindir)/nfrun
	install -m 755 $(dir $(BIN))$(SHIM) $(bindir)/$(SHIM)
	@# Another name is a link, so that both are always the same version. What somebody else put there is left alone.
	@link=$(bindir)/$(NAME); \
	if [ $(NAME) != nfrun ] && [ -e $$link ] && [ "$$(readlink $$link)" != nfrun ]; then \
	  echo "$$link exists and is not nfrun's: remove it, or install below another PREFIX" >&2; exit 1; fi
	[ $(NAME) = nfrun ] || ln -sfn nfrun $(bindir)/$(NAME)
	@# The binary goes by the name that it is called by, in its completions as well.
	set -e; for name in $(sort nfrun $(NAME)); do \
	  $(bindir)/$$name completion bash > $(bashdir)/$$name; \
	  $(bindir)/$$name completion zsh > $(zshdir)/_$$name; \
	  $(bindir)/$$name completion fish > $(fishdir)/$$name.fish; \
	done
	install -m 644 README.md CHANGELOG.md LICENSE $(wildcard docs/*.md) $(docdir)/

uninstall: ## what install put there
	[ $(NAME) = nfrun ] || [ "$$(readlink $(bindir)/$(NAME))" != nfrun ] || \
	  rm -f $(bindir)/$(NAME) $(bashdir)/$(NAME) $(zshdir)/_$(NAME) $(fishdir)/$(NAME).fish
	rm -f $(bindir)/nfrun $(bindir)/$(SHIM) $(bashdir)/nfrun $(zshdir)/_nfrun $(fishdir)/nfrun.fish
	rm -rf $(docdir)

clean: ## what cargo made
	$(CARGO) clean
	rm -rf src/init/target

clean-fixtures: ## the root filesystems; the next test run makes them anew
	rm -rf --one-file-system rootfs-fixtures/built

deps-build deps-fixtures deps-demo deps-test deps-vm deps-fuzz deps-bench deps-bench-network deps-bench-shim: deps-%:
	@.ci/deps $*
