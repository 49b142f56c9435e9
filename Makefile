# Commands for people: `make demo` shows Quiver at work, `make test` and `make lint` check it, `make bench` measures it beside
# its peers. Each makes .venv when it is first used, and again when its requirements change.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PEERS := .venv-peers
PIP_FLAGS := --no-input --disable-pip-version-check --quiet --quiet --progress-bar off
# These take hours, and have targets of their own.
BENCHMARKS ?= $(filter-out benchmarks/learning.py benchmarks/finetune.py,$(sort $(wildcard benchmarks/[a-z]*.py)))
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo check test fuzz lint bench learning finetune

help:
	@echo "make install   .venv with everything in it; then .venv/bin/quiver --help"
	@echo "make demo      collect, ingest, train, evaluate and report, in a few minutes and without downloads"
	@echo "make check     make lint, and the tests that take seconds: under three minutes on two cores, while you work"
	@echo "make test      the test suite; make test ARGS='-k topology' for a part of it"
	@echo "make fuzz      inputs changed at random, a few minutes; ARGS='--seed 1 --mutations 10000', ARGS=--help tells more"
	@echo "make lint      style, types, and which package may import which"
	@echo "make bench     the benchmarks, beside the peers they name (installs those into $(PEERS))"
	@echo "make learning  every method trained and scored beside d3rlpy's; takes hours, resumes; ARGS=--dry-run lists the jobs"
	@echo "make finetune  policies trained on weakened logs are fine-tuned; about two hours, resumes; ARGS=--dry-run lists the jobs"

install: $(VENV)/installed

demo: install
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash examples/demo.sh

# Two processes, each given one test after the other: dealt out in blocks, the slow ones would fall to one of them.
test: install
	$(VENV)/bin/python -m pytest -n 2 --dist loadgroup $(ARGS)

fuzz: install
	$(VENV)/bin/python -m tests.fuzz $(ARGS)

check: lint
	$(VENV)/bin/python -m pytest -n 2 --dist loadgroup -m 'not slow' $(ARGS)

lint: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(PEERS)/installed
	@failed=; for program in $(BENCHMARKS); do \
		echo; echo "== $$program"; $(PEERS)/bin/python $$program $(ARGS) || failed="$$failed $$program"; \
	done; test -z "$$failed" || { echo; echo "claims that did not hold here:$$failed"; exit 1; }

learning: install $(PEERS)/installed
	$(VENV)/bin/python benchmarks/learning.py --peers $(PEERS) $(or $(ARGS),--minimal)

finetune: install
	$(VENV)/bin/python benchmarks/finetune.py $(ARGS)

$(VENV)/installed: pyproject.toml constraints.txt
	$(call environment,$(VENV))
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[robotics,ogbench,test,lint]'
	@touch $@

# d3rlpy pins an older gymnasium, so the peers have an environment of their own, with Quiver in it.
$(PEERS)/installed: pyproject.toml constraints.txt
	$(call environment,$(PEERS))
	@grep -v -i -E '^(gymnasium|gymnasium-robotics)==' constraints.txt >$(PEERS)/constraints.txt
	$(PEERS)/bin/python -m pip install $(PIP_FLAGS) -c $(PEERS)/constraints.txt -e . torchrl==0.14.1 d3rlpy==2.8.1
	@touch $@

# Makes a virtual environment where there is none that works.
define environment
	@test -n "$(PYTHON)" || { echo "No python3 found: install Python 3.11 or later." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11: name another, as in make PYTHON=python3.11 $@" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make environments: apt-get install python3-venv" >&2; exit 1; }
	@$(1)/bin/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(1)
	@echo "Installing into $(1) (a few minutes the first time) ..."
endef
