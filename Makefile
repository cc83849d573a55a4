# One command each; the first of them makes a virtual environment in .venv. All paths are relative, so
# that a checkout may lie anywhere (make cannot name files in folders with spaces).
#
#   make demo         simulate a small survey, plan and run it, and show what came out
#   make test         all tests (ARGS='-k units' for some, `make quick` without the slow ones)
#   make check        format, lint, types, import contracts
#   make condor       put HTCondor where its tests find it (root, once, a minute or two)
#   make bench        our figures; make bench-peers sets them beside those of LSST's middleware

SHELL := /bin/sh
VENV ?= .venv
EXTRAS ?= dev,examples
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
ARGS ?=
OUT ?= demo
TOOLS ?= .venv-tools

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

# The first Python that is new enough and can make virtual environments; PYTHON=... chooses another.
define FIND_PYTHON
for python in "$$PYTHON" python3 python3.13 python3.12 python3.11 python3.14 python; do \
    [ -n "$$python" ] && "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
        2>/dev/null && { echo "$$python"; exit 0; }; \
done; \
echo "make: no Python 3.11 or newer with its venv module was found." >&2; \
echo "make: install one (on Debian: python3 and python3-venv), or say where: make PYTHON=/path/to/python3" >&2; \
exit 1
endef

.PHONY: help venv tools demo test quick check format docs condor bench bench-peers clean

help:
	@sed -n 's/^#   //p' Makefile

venv: $(STAMP)

$(STAMP): pyproject.toml
	@python=$$($(FIND_PYTHON)) && \
	echo "make: installing into $(VENV) with $$("$$python" --version)" && \
	"$$python" -m venv "$(VENV)" && \
	"$(PY)" -m pip install --quiet --editable '.[$(EXTRAS)]' && \
	touch "$(STAMP)"

# Snakemake, cwltool and WfCommons, for the tests of exports; they need other versions of libraries than we do.
tools: $(TOOLS)/.installed

$(TOOLS)/.installed: tests/tools.txt
	@python=$$($(FIND_PYTHON)) && "$$python" -m venv "$(TOOLS)" && \
	"$(TOOLS)/bin/python" -m pip install --quiet --requirement tests/tools.txt && touch "$@"

demo: $(STAMP)
	@"$(PY)" -m executors.cmdline demo --out "$(OUT)" $(ARGS)

test: $(STAMP)
	@"$(PY)" -m pytest --numprocesses logical --dist loadgroup $(ARGS)

quick: $(STAMP)
	@"$(PY)" -m pytest --numprocesses logical --dist loadgroup -m 'not slow and not engine' $(ARGS)

check: $(STAMP)
	"$(PY)" -m ruff format --check .
	"$(PY)" -m ruff check .
	"$(PY)" -m mypy
	"$(PY)" -m pytest -q --no-header tests/test_architecture.py

format: $(STAMP)
	"$(PY)" -m ruff check --fix .
	"$(PY)" -m ruff format .

docs: $(STAMP)
	"$(PY)" -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 "$(PY)" -m mkdocs build --strict

condor: $(STAMP)
	@"$(PY)" -m executors.testing.condor
	-@"$(PY)" -m pip install --quiet 'htcondor>=23.9,<24'

bench: $(STAMP)
	@"$(PY)" -m benchmarks $(ARGS)

bench-peers: $(STAMP)
	@"$(PY)" -m benchmarks.peers $(ARGS)

clean:
	rm -rf "$(VENV)" "$(OUT)" build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
