# Periplus. `make` alone lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)

# Where the cluster of `make up` lives.
PERIPLUS_DIR ?= $(CURDIR)/.periplus
export PERIPLUS_DIR

# How long each fuzz target runs: a number of inputs (5000x) or a time (1m). Empty:
# 10000 inputs, 500 where an input is the whole life of a cluster.
FUZZTIME ?=

# The same flags for every build, so that the compiler's cache serves all of them.
# The version is handed over below; Go need not ask git for it.
export GOFLAGS += -buildvcs=false

# kubectl and golangci-lint stand in bin where this machine has none of its own.
export PATH := $(CURDIR)/bin:$(PATH)

# What CI runs, in this order.
STEPS := setup check build unit integration race fuzz examples

# Packages whose tests run real programs, containers and networks.
INTEGRATION := ./integration/...

.PHONY: help setup build up down test $(STEPS) clean-host

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## install what this machine lacks: containerd, runc, nftables, kubectl...
	@scripts/setup.sh

build: ## build bin/periplus
	@mkdir -p bin
	go build -ldflags '-X main.version=$(VERSION)' -o bin/periplus ./cmd/periplus

up: ## start a one-node cluster in the background and run a demo on it
	@scripts/up.sh

down: ## stop it; containers go on, unless PURGE=1, which removes everything
	@if [[ ! -x bin/periplus ]]; then $(MAKE) --no-print-directory build; fi
	bin/periplus down --data-dir '$(PERIPLUS_DIR)' $(if $(PURGE),--purge)

test: ## all that CI runs: setup, check, unit, integration and race tests, fuzzing, examples
	@scripts/steps.sh $(STEPS)

check: ## format, vet, lint, layers
	@scripts/check.sh

unit: ## the tests of each package
	go test $$(go list ./... | grep -v '/integration')

integration: build ## scenarios with a real kubectl and, as root, real containers
	PERIPLUS_BIN='$(CURDIR)/bin/periplus' go test -count=1 -timeout 30m $(INTEGRATION)

race: ## the tests of each package, under the race detector
	go test -race $$(go list ./... | grep -v '/integration')

fuzz: ## each fuzz target for a while, or for FUZZTIME
	@scripts/fuzz.sh '$(FUZZTIME)'

examples: ## build the examples, pack one into an image, validate their manifests
	@scripts/examples.sh

clean-host: ## remove what a crashed run left: processes, mounts, networks, cgroups
	@scripts/clean-host.sh
