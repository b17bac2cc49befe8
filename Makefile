# Two commands matter: `make book` and `make test`. Each creates the environment it needs (.venv) the first time.
#
#   make book PYTHON=python3.12    another Python than `python3`, for creating .venv
#   make book ENV=active           no .venv: the environment that is active now (conda: see environment.yml)

PYTHON ?= python3
ENV ?= .venv
TESTS ?=

# The GNU C library gives freed blocks of memory back and asks for them again, page by page, unless told to keep them:
# small networks run up to half as fast again on a CPU. Other systems ignore these.
export MALLOC_MMAP_THRESHOLD_ := 1073741824
export MALLOC_TRIM_THRESHOLD_ := 2147483647

ifeq ($(ENV),active)
  RUN := python
  READY :=
else
  RUN := $(ENV)/bin/python
  READY := $(ENV)/.installed
endif

# Every chapter is a test as well: it runs, and its checked cells print what is stored. Time limits are for one cell
# and for one test; the first browser test builds the book.
# Torch's threads wait for each other by spinning, unless told not to: beside any other job, that costs minutes.
PYTEST := OMP_WAIT_POLICY=PASSIVE $(RUN) -m pytest -rs --timeout=1200
NOTEBOOKS := --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --nbval-sanitize-with=tests/nbval.cfg
# One process for each processor, one thread for each process: networks this small gain little from more threads.
SIDE_BY_SIDE := --numprocesses=auto --no-loadscope-reorder

.PHONY: help env book test browser lint bench mutants notebooks clean
.DEFAULT_GOAL := help

help:
	@echo "make book       build the book, strictly; execute what has changed; say where it is"
	@echo "make test       run all tests, every chapter, and the browser tests if there is a Chromium"
	@echo "make browser    only the browser tests, on the built pages"
	@echo "make lint       ruff and mypy"
	@echo "make bench      measure, side by side with other libraries (installs them first)"
	@echo "make mutants    which small mistakes in the arithmetic no test would notice (installs the tool first)"
	@echo "make notebooks  run the chapters again and store the outputs of their checked cells"
	@echo "make env        only create or update the environment (.venv)"
	@echo "make clean      remove what builds and tests leave; 'rm -r .venv' removes the environment"

env: $(READY)

# pip names every package that is already there, unless told to be quiet.
UPDATE := $(if $(wildcard $(ENV)/.installed),--quiet)

# Stamped on pyproject.toml: when the pins change, the environment follows.
$(ENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is `$(PYTHON) --version 2>&1 | head -n 1`."; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(ENV)/bin/pip || $(PYTHON) -m venv $(ENV) || { \
	  echo "Python could not create an environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into $(ENV): the first time about 6 GB, which takes minutes."
	$(ENV)/bin/python -m pip install $(UPDATE) --disable-pip-version-check --editable '.[dev]'
	@touch $@

book: $(READY)
	@$(RUN) book/_tools/build.py

test: $(READY)
	OMP_NUM_THREADS=1 $(PYTEST) tests chapters $(SIDE_BY_SIDE) $(NOTEBOOKS) $(TESTS)

browser: $(READY)
	$(PYTEST) tests/browser $(TESTS)

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m mypy

bench: $(READY)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@mkdir -p _build
	$(RUN) -m pytest tests/benchmarks -o python_files='bench_*.py' -W ignore --benchmark-only \
	  --benchmark-columns=min,median,rounds --benchmark-json=_build/benchmarks.json $(TESTS)
	$(RUN) book/_tools/benchmarks.py _build/benchmarks.json $(if $(strip $(TESTS)),,--all)

# It goes on where it was stopped, and tries again what has changed: 'rm -r mutants' begins anew. `$(RUN) -m mutmut show`
# NAME shows one.
mutants: $(READY)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev,mutants]'
	OMP_NUM_THREADS=1 $(RUN) -m mutmut run $(TESTS)
	$(RUN) -m mutmut results

notebooks: $(READY)
	$(RUN) book/_tools/notebooks.py

clean:
	rm -rf _build build dist mutants *.egg-info .pytest_cache .ruff_cache .mypy_cache .benchmarks
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
