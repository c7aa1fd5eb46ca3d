# The first target that runs builds .venv from constraints.txt and constraints-dev.txt. Nothing else needs to be installed.

PYTHON ?= python3.11
BIN := .venv/bin
PINNED := .venv/.pinned
READY := .venv/.ready
# the wheels that a constraints file names, with their hashes; nothing is built, so no other package is downloaded for it
PIP_PINNED := -m pip install --quiet --require-hashes --no-deps --only-binary :all:
# of what test-latest runs with; one that is not on the machine is skipped
PYTHON_LATEST ?= python3.11 python3.13
PORT ?= 8700
# twice as many as there are cores, as many tests wait
TEST_PROCESSES ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 2 )))
PYTEST := -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# what the demo writes
DEMO := data/analytics_ingest.duckdb data/analytics_ingest.duckdb.wal data/.analytics_ingest.duckdb.locks data/demo.log data/.demo

# the Dagster instance: dagster.yaml here, its files in data/dagster
export DAGSTER_HOME := $(CURDIR)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# tests start hundreds of processes, which would each compile the code again
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo dev secrets test test-all test-latest test-lowest test-dbt test-image test-in fuzz fuzz-defects check bench \
	soak format docs screenshots build pins outdated upgrade clean

help:
	@echo "make demo         sync five APIs from the embedded sandbox into DuckDB, twice (two minutes)"
	@echo "make dev          the Dagster UI, with the sandbox behind it"
	@echo "make secrets      the secrets of compose.yaml: random passwords in the folder secrets"
	@echo "make test         the test suite (seven minutes; TESTS='-k contract' for some)"
	@echo "make test-all     the same with PostgreSQL, the lake, Celery, the browser, the long matrices and a short soak (25 minutes)"
	@echo "make test-latest  the test suite with the newest Dagster, dlt and DuckDB, with Python 3.11 and 3.13 (half an hour)"
	@echo "make test-lowest  the test suite with the lower bounds of pyproject.toml (ten minutes)"
	@echo "make test-dbt     the command dbt-sources with dbt itself, on DuckDB and PostgreSQL (three minutes, and half a minute to install it)"
	@echo "make test-image   builds the image and runs the services of compose.yaml, as root if Docker does not answer (seven minutes)"
	@echo "make fuzz         generated rows against a local server; EXAMPLES=300 draws by default (half an hour)"
	@echo "make fuzz-defects whether that finds defects that are put in (ten minutes)"
	@echo "make check        lint, format, types, layers"
	@echo "make bench        figures: speed, CPU, memory (twenty minutes; SCENARIOS='full_sync memory' for some)"
	@echo "make soak HOURS=1 syncs beside a changing upstream, faults and killed processes; SEED=1, DESTINATION=postgres or duckdb"
	@echo "make format       put the code into shape"
	@echo "make docs         write docs/settings.md and docs/reference/ from the descriptions in the code"
	@echo "make screenshots  the pictures of the README and docs, from the real UI in Chromium (two minutes)"
	@echo "make build        wheel and sdist in dist/, each installed and started in an environment of its own (two minutes)"
	@echo "make outdated     pins that have a newer release, and what holds them back"
	@echo "make pins         write constraints*.txt after a change of the dependencies in pyproject.toml"
	@echo "make upgrade      move the pins to the newest versions that resolve, then make check and make test"
	@echo "make install      build .venv, as every other target does when it is missing (a minute or two)"
	@echo "make clean        remove the demo's data and Dagster's files"

install: $(READY)

$(PINNED): constraints.txt constraints-dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; name another with make PYTHON=..." >&2; exit 1; }
	@echo "building .venv (a minute or two)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python $(PIP_PINNED) -r constraints.txt -r constraints-dev.txt
	@touch $@

# the project itself, with the pinned setuptools
$(READY): pyproject.toml $(PINNED)
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check || { echo "the pins lack what pyproject.toml requires: make pins" >&2; exit 1; }
	@touch $@

demo: $(READY)
	@$(BIN)/analytics-ingest demo

# 24 hours on, as the demo leaves the warehouse
dev: $(READY)
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/analytics-ingest sandbox --port $(PORT) --hours 24 --run '$(BIN)/dg dev'

secrets:
	@sh deploy/secrets.sh

# TESTS='-k contract' for some of them
test: $(READY)
	@$(BIN)/python $(PYTEST) -m 'not extended' $(TESTS)

test-all: $(READY)
	@$(BIN)/python $(PYTEST) $(TESTS)

EXAMPLES ?= 300

fuzz: $(READY)
	@FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest analytics_ingest_tests/fuzz/test_generated_rows.py

# whether they find what they are for: defects are put in, one after the other
fuzz-defects: $(READY)
	@FUZZ_DEFECTS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) analytics_ingest_tests/fuzz/test_defects.py

# what pip installs without constraints.txt; DuckDB 2 without the lake, which has no extensions for it
test-latest:
	@failed=; ran=; \
	for python in $(PYTHON_LATEST); do \
		$$python --version >/dev/null 2>&1 || { echo "$$python is not on this machine: skipped"; continue; }; \
		$(MAKE) --no-print-directory test-in PYTHON=$$python VENV=.venvs/$$(basename $$python) \
			INSTALL='--editable .[lake,test]' || failed="$$failed $$python"; \
		ran=$$python; \
	done; \
	test -n "$$ran" || { echo "none of $(PYTHON_LATEST) is on this machine" >&2; exit 1; }; \
	TEST_INSTALLED=1 .venvs/$$(basename $$ran)/bin/python -m pytest analytics_ingest_tests/test_installed.py || \
		failed="$$failed installed"; \
	$(MAKE) --no-print-directory test-in PYTHON=$$ran VENV=.venvs/duckdb2 INSTALL="--editable .[test] duckdb>=2" || \
		echo "DuckDB 2: failed or not installed; make test-latest does not fail for it"; \
	test -z "$$failed" || { echo "failed with$$failed" >&2; exit 1; }

test-lowest:
	@mkdir -p .venvs
	@grep -oE '"[a-z-]+(\[[a-z]+\])?>=[0-9.]+"' pyproject.toml | sed -E 's/"|\[[a-z]+\]//g; s/>=/==/' > .venvs/lowest.txt
	@$(MAKE) --no-print-directory test-in VENV=.venvs/lowest INSTALL='--constraint .venvs/lowest.txt --editable .[lake,test]'

# dbt has pins of its own, so it is not in .venv
DBT := .venvs/dbt

$(DBT)/.ready: constraints-dbt.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; name another with make PYTHON=..." >&2; exit 1; }
	@echo "building $(DBT) (half a minute)"
	@$(PYTHON) -m venv --clear $(DBT)
	@$(DBT)/bin/python $(PIP_PINNED) -r constraints-dbt.txt
	@$(DBT)/bin/python -m pip check
	@touch $@

test-dbt: $(READY) $(DBT)/.ready
	@TEST_DBT=$(CURDIR)/$(DBT) $(BIN)/python -m pytest analytics_ingest_tests/cli/test_dbt.py

# not part of test-all: it needs Docker, or root and debootstrap
test-image: $(READY)
	@$(BIN)/python -m analytics_ingest_tests.tools.image

# the test suite in an environment of its own, made anew each time; TESTS='-k contract' for some
test-in:
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet $(INSTALL)
	@echo "$$($(VENV)/bin/python --version):" \
		$$($(VENV)/bin/python -m pip list --format freeze | grep -E '^(dagster|dagster-dlt|dlt|duckdb)==')
	@$(VENV)/bin/python $(PYTEST) -m 'not extended' $(TESTS)

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY)
	@$(BIN)/python -m compileall -q analytics_ingest
	@$(BIN)/python -m analytics_ingest_tests.tools.bench $(SCENARIOS)

# for HOURS, and some minutes more to come to rest; Dagster's storage is in PostgreSQL in any case
HOURS ?= 1
SEED ?= 1
DESTINATION ?= postgres

soak: $(READY)
	@HOURS=$(HOURS) SEED=$(SEED) DESTINATION=$(DESTINATION) $(BIN)/python -m analytics_ingest_tests.tools.soak

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(READY)
	@$(BIN)/python -m analytics_ingest.config.reference > docs/settings.md
	@$(BIN)/python -m analytics_ingest.apis.table_reference docs/reference

screenshots: $(READY)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
		{ echo "chromium and chromedriver are needed: apt-get install chromium chromium-driver" >&2; exit 1; }
	@$(BIN)/python -m analytics_ingest_tests.tools.screenshots

# packs the last commit, not the folder; the wheel of a commit has the same bytes each time
build: $(READY)
	@rm -rf dist build/source
	@mkdir -p build/source
	@git diff --quiet HEAD || echo "make build packs the last commit: changes since then are not in it"
	@umask 022; git -c tar.umask=0022 archive HEAD | tar -x -C build/source
	@umask 022; SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		$(BIN)/python -m build --no-isolation --outdir dist build/source >build/log 2>&1 || { cat build/log >&2; exit 1; }
	@$(BIN)/twine check --strict dist/*
	@TEST_BUILT=$(CURDIR)/dist $(BIN)/python -m pytest analytics_ingest_tests/test_installed.py
	@$(BIN)/python -m pip hash dist/*

PINS := -m analytics_ingest_tests.tools.pins

outdated: $(PINNED)
	@$(BIN)/python $(PINS) outdated

pins: $(PINNED)
	@$(BIN)/python $(PINS) write

upgrade: $(PINNED)
	@$(BIN)/python $(PINS) write --upgrade
	@git diff --stat -- 'constraints*.txt'
	@$(MAKE) --no-print-directory check && $(MAKE) --no-print-directory test || \
		{ echo "the newest versions fail; to go back: git checkout -- 'constraints*.txt' && make install" >&2; exit 1; }

# of the folder data only what the demo and Dagster have written: a warehouse without the demo's marker stays
clean:
	@if [ -e data/.demo ]; then rm -rf $(DEMO); fi
	@rm -rf data/dagster
	@rmdir data 2>/dev/null || true
