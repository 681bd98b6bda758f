# `make demo` runs the whole workflow on synthetic cohorts. `make test` runs the tests for contributors, which include the demo.
# `make test-all` adds slow tests: schedulers, faults, browsers. `make audit` looks for known vulnerabilities. Each target first installs
# the pinned packages into .venv, if they are missing. Nothing is written to your home directory.

PYTHON ?= python3
# Cores for the demo and the tests. The results are the same with any number.
CORES ?= 2
# Additional package index for torch. PyPI's build works without a GPU, but includes several GB of CUDA. On a machine without a
# GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
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

# All in one session, so that the demo runs once. Four processes also on two cores, because tests of schedulers mostly wait;
# so each calculates with one thread.
test-all: .venv/ready .venv/optional
	OMP_NUM_THREADS=1 pytest -n 4 --no-loadscope-reorder --durations=10 -m "not machine"

# Kills runs at random moments, and tests full and read-only disks at every stage.
test-machine: .venv/ready .venv/optional
	pytest -n 2 --no-loadscope-reorder --durations=10 -m machine

lint: .venv/ready .venv/optional
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/Snakefile workflow/rules workflow/probe.smk
	lint-imports
	mypy
	snakemake --lint

# Builds the documentation website in site/. Warnings are errors.
docs: .venv/ready .venv/optional
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet --site-dir site

# Asks PyPI for known vulnerabilities of the pinned packages, and fails if there are any. Needs the network.
audit: .venv/ready .venv/optional
	pip-audit --strict --disable-pip --no-deps --progress-spinner off -r envs/requirements.txt

clean:
	rm -rf .venv .snakemake site data resources results checkpoints splits evaluations logs benchmarks tensorboard

# Packages that only the tests, `make lint`, `make docs` and `make audit` need; and those that users install by choice: greedy, whose core
# is under the GPL-3, combatlearn, which brings packages for its figures, MLflow, and those of `neurocohort serve`.
.venv/optional: .venv/ready envs/serve.in
	$(BIN)/python -m pip install --quiet bids-validator-deno==3.0.2 combatlearn==2.3.0 deno==2.9.8 hypothesis==6.170.17 import-linter==2.17 mkdocs-material==9.8.2 mlflow-skinny==3.17.2 mypy==2.4.1 picsl-greedy==1.4.0.3 pip-audit==2.10.1 playwright==1.65.2 -r envs/serve.in
	touch $@

.venv/ready: envs/requirements.txt envs/make_venv.py pyproject.toml
	$(PYTHON) envs/make_venv.py .venv
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@
