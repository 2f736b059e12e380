# Everything a newcomer needs, on a fresh machine with Python 3.11 to 3.13: `make run`, `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
# The tests mostly wait, so run more in parallel than there are cores.
TESTS_AT_ONCE ?= 4
COMPOSE ?= docker compose
LINT := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
OPENAI_NODE := tests/clients/node/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: help run migrate mock check test lint format lock bench audit clean screenshots observe trace test-observe test-real \
	service-build service-up service-logs service-down \
	test-coverage test-coverage-detailed test-coverage-visualize

help:            ## Show this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 28

# No recipe: a missing interpreter makes the installation targets below run again.
$(BIN)/python:

# The stamp files are written last, so that the next make repairs an interrupted installation.
# Also where PYTHONDONTWRITEBYTECODE is set, as in many containers: without bytecode each start takes 0.6 s more.
COMPILE := $(BIN)/python -m compileall -q service telemetry

$(VENV)/.installed-run: requirements-pip.lock requirements.lock $(BIN)/python
	@$(PYTHON) tools/install.py $(VENV) requirements.lock
	@$(if $(wildcard service),$(COMPILE))
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed-run
	@$(PYTHON) tools/install.py $(VENV) requirements-dev.lock
	@touch $@

run: $(VENV)/.installed-run        ## Start the service with its default settings (ARGS="--workers 2")
	@$(COMPILE)
	$(BIN)/python -m service serve $(ARGS)

migrate: $(VENV)/.installed-run    ## Migrate the database schema (serve does it for SQLite)
	$(BIN)/python -m service migrate $(ARGS)

mock: $(VENV)/.installed-run       ## Serve the mock LLM on a port (ARGS="--port 9100")
	$(BIN)/python -m service mock $(ARGS)

check: $(VENV)/.installed-run      ## Validate the settings and ensembles.toml
	$(BIN)/python -m service check $(ARGS)

# Without access to the npm registry these tests are skipped with a message; with CI=true they fail.
$(OPENAI_NODE): tests/clients/node/package-lock.json | $(VENV)/.installed-dev
	@cd tests/clients/node && if $(abspath $(BIN))/npm ci --ignore-scripts --silent; \
	then touch node_modules/.package-lock.json; else echo "openai-node could not be installed." >&2; fi

# The linters run while the tests wait; their output follows that of the tests.
test: $(VENV)/.installed-dev $(OPENAI_NODE)  ## Run linters, type checks and all tests
	@($(LINT)) >$(VENV)/lint.log 2>&1 & lint=$$!; \
	$(BIN)/python -m tools.run_tests -n $(TESTS_AT_ONCE) --dist worksteal $(ARGS); tests=$$?; \
	wait $$lint; lint=$$?; cat $(VENV)/lint.log; exit $$((tests || lint))

lint: $(VENV)/.installed-dev       ## Run ruff and mypy --strict
	$(LINT)

format: $(VENV)/.installed-dev     ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

observe:                           ## Run collector, Jaeger and Prometheus without Docker (needs Go)
	$(PYTHON) -m tools.observe up $(ARGS)

trace:                             ## Draw the latest trace, or ARGS="<trace id>"
	@$(PYTHON) -m tools.observe trace $(ARGS)

test-observe: $(VENV)/.installed-dev  ## Test the stack of `observe` with real runs (needs Go)
	$(BIN)/python -m tools.observe build --all
	$(BIN)/python -m pytest tests/observe $(ARGS)

test-real: $(VENV)/.installed-dev  ## Test against llama.cpp, LiteLLM and other model servers
	$(BIN)/python -m tools.real_servers install || test "$$CI" != true
	$(BIN)/python -m pytest tests/real -n 2 --dist loadfile $(ARGS)

screenshots: $(VENV)/.installed-dev ## Take pictures of the pages into docs/images (needs Chromium)
	$(BIN)/python -m tools.screenshots $(ARGS)

bench: $(VENV)/.installed-dev      ## Print the table of performance ratios
	$(BIN)/python -m bench $(ARGS)

# Tools of their own, not of the project: a fresh environment, and no entry in the lock files.
audit:                             ## Search the locked dependencies for vulnerabilities, and the files for secrets
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install -q pip-audit==2.10.1 detect-secrets==1.5.0
	.venv-audit/bin/detect-secrets-hook --baseline .secrets.baseline $$(git ls-files) || test $$? -eq 3  # 3: only lines have moved
	for lock in requirements.lock requirements-dev.lock; do .venv-audit/bin/pip-audit --require-hashes --disable-pip -r $$lock || exit 1; done

lock:                              ## Update the lock files (needs uv)
	echo pip | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate - -o requirements-pip.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	cd tests/real && uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --override requirements-overrides.txt requirements.in -o requirements.lock

test-coverage: $(VENV)/.installed-dev $(OPENAI_NODE)            ## Run the tests with a coverage total
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered -q $(ARGS)

test-coverage-detailed: $(VENV)/.installed-dev $(OPENAI_NODE)   ## Run the tests and list uncovered lines
	$(BIN)/python -m pytest --cov --cov-report=term-missing $(ARGS)

test-coverage-visualize: $(VENV)/.installed-dev $(OPENAI_NODE)  ## Run the tests with an HTML report in htmlcov/
	$(BIN)/python -m pytest --cov --cov-report=html $(ARGS)
	@echo "Open htmlcov/index.html"

service-build:   ## Build the container image
	$(COMPOSE) build

service-up:      ## Start the compose stack in the background
	$(COMPOSE) up --detach --wait

service-logs:    ## Follow the service's logs
	$(COMPOSE) logs --follow app

service-down:    ## Stop the compose stack
	$(COMPOSE) down

clean:           ## Remove the files that other targets created
	rm -rf $(VENV) $(VENV).lock $(VENV).unfinished tests/clients/node/node_modules .mypy_cache .pytest_cache .ruff_cache htmlcov .coverage .coverage.*
