# make serve   start the server with sample logs: all it needs is Python 3.11+ and make
# make check   lint, types, and the tests that start no process: a good minute, for daily work
# make test    everything that must hold: lint, types, tests, docs; six minutes
# make test-long   the long forms of tests (kills, floods, installs, made-up input); twenty minutes
# make siege   floods, kills and full disks at full length while two clients send (a quarter of an hour)
# make bench   measure this machine (an hour; run it on an idle one; see docs/benchmarks.md)
# make release   wheel, sdist, self-contained archives, sums, SBOM into dist/ (RELEASE_ARGS="…")
# make clean   remove the environment; logs and index stay

VENV ?= .venv
BIN := $(VENV)/bin
FIND_PYTHON := for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done
PYTHON ?= $(shell $(FIND_PYTHON))

# Processes that run tests: one more than cores, since tests wait for clocks and processes; one that
# has nothing left takes over from another.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); [ $$n -gt 3 ] && echo 4 || echo $$((n + 1)))
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
# `make check` keeps its files in memory where there is a gigabyte for them.
IN_MEMORY := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 1000000 { print "PYTEST_DEBUG_TEMPROOT=/dev/shm" }')
unexport PYTHONDONTWRITEBYTECODE # or each process that a test starts compiles everything again

.DEFAULT_GOAL := help
.PHONY: help serve check test test-long siege lint types format bench reference openapi release lock clean

help:
	@sed -n 's/^# //p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it with make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "the module venv is needed (Debian: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: $(BIN)/python pyproject.toml
	@echo "installing MikroScope into $(VENV); this happens once and takes about 20 seconds" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.development: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

serve: $(VENV)/.runtime
	@test -e logs || { echo "no ./logs yet: writing sample logs" >&2; $(BIN)/mikroscope mock-data >&2; }
	@exec $(BIN)/mikroscope serve

check: lint types
	$(IN_MEMORY) $(PYTEST) --form check -o tmp_path_retention_policy=failed

test: lint types
	@scripts/ensure_chromium.sh
	$(PYTEST)

test-long: $(VENV)/.development
	$(BIN)/python scripts/run_long_tests.py $(PYTEST) --form long --timeout 1800

siege: $(VENV)/.development
	$(BIN)/python -m pytest --form long --timeout 3600 tests/system/test_siege.py

lint: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.development
	$(BIN)/mypy

format: $(VENV)/.development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(VENV)/.runtime
	$(BIN)/python scripts/update_reference.py

openapi: $(VENV)/.development
	$(BIN)/python scripts/write_openapi.py

$(VENV)/.benchmarks: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

bench: $(VENV)/.benchmarks
	$(BIN)/python -m benches run all

release: $(VENV)/.development
	$(BIN)/python scripts/release.py $(RELEASE_ARGS)

lock: $(VENV)/.development
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-annotate --custom-compile-command "make lock" pyproject.toml \
		--output-file scripts/release-requirements.txt

clean:
	rm -rf $(VENV)
