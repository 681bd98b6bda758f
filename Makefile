# `make demo` runs the whole workflow on synthetic cohorts; `make test` runs the tests that a contributor needs, the demo among
# them; `make test-all` adds the slow ones: schedulers, faults, browsers; `make audit` looks for known vulnerabilities. Each first
# makes the environment in .venv if it is missing, from the pinned lock; nothing is written to your home.

PYTHON ?= python3
# Cores for the demo and the tests. The figures are the same with any number.
CORES ?= 2
# Where torch comes from beside PyPI, whose build needs no GPU but brings CUDA's gigabytes along. For a machine without
# one: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export XDG_CACHE_HOME := $(CURDIR)/.venv/cache
export MPLCONFIGDIR := $(CURDIR)/.venv/cache/matplotlib
export PIP_CACHE_DIR ?= $(CURDIR)/.venv/cache/pip
export PYTHONNOUSERSITE := 1

.PHONY: demo test test-all test-machine lint docs audit clean

demo: .venv/ready
	snakemake --cores $(CORES) --quiet rules
	neurocohort headline --results results config/config.yaml

test: .venv/ready .venv/optional
	pytest -n $(CORES) --no-loadscope-reorder --durations=10 -m "not slow and not machine"

# In one session, so that the demo runs once; with a process more than cores, since tests of schedulers wait most of the time.
test-all: .venv/ready .venv/optional
	pytest -n 3 --no-loadscope-reorder --durations=10 -m "not machine"

# Runs that are killed at random moments, and disks that are full or read-only, at every stage.
test-machine: .venv/ready .venv/optional
	pytest -n 2 --no-loadscope-reorder --durations=10 -m machine

lint: .venv/ready .venv/optional
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/Snakefile workflow/rules workflow/probe.smk
	lint-imports
	mypy
	snakemake --lint

# The documentation as a site, in site/; a warning is an error.
docs: .venv/ready .venv/optional
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet --site-dir site

# Known vulnerabilities of the pinned packages, asked of PyPI: this needs the network. It fails where there is one.
audit: .venv/ready .venv/optional
	pip-audit --strict --disable-pip --no-deps --progress-spinner off -r envs/requirements.txt

clean:
	rm -rf .venv .snakemake site data resources results checkpoints splits evaluations logs benchmarks tensorboard

# What the tests and `make audit` need and the workflow does not: a browser's remote control, the BIDS validator with its runtime,
# property tests, a check of imports, the documentation site, a type checker, a list of known vulnerabilities, and greedy, whose core is under the GPL-3 and which users install by choice.
.venv/optional: .venv/ready
	$(BIN)/python -m pip install --quiet bids-validator-deno==3.0.2 deno==2.9.8 hypothesis==6.170.17 import-linter==2.17 mkdocs-material==9.8.2 mypy==2.4.1 picsl-greedy==1.4.0.3 pip-audit==2.10.1 playwright==1.65.2
	touch $@

.venv/ready: envs/requirements.txt envs/make_venv.py pyproject.toml
	$(PYTHON) envs/make_venv.py .venv
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@
