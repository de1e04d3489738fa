# The two commands are `make demo` and `make test`; `make help` lists the rest.
#
# Everything is installed into .venv, with uv where it is on the PATH, else with pip. Each way of installing leaves a
# stamp there that is as old as the pyproject.toml it was made from: with a fresh one nothing is asked of a network.

PYTHON ?= python3
ARGS ?=
CASES ?= ../shared/cases/emqx.jsonl

VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# $(call install,arguments of `pip install`): silent unless it fails
install = { if command -v uv >/dev/null 2>&1; then uv pip install --python $(BIN)/python $(1); \
	else $(BIN)/python -m pip install --disable-pip-version-check $(1); fi; } >$(VENV)/install.log 2>&1 \
	|| { cat $(VENV)/install.log >&2; exit 1; }

.PHONY: help venv demo servers test golden check format bench clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
	printf '  make %-8s %s\n' "$$name" "$$text"; done

venv: $(VENV)/.dev ## build .venv with headrace and all development tools in it
	@:

demo: $(VENV)/.demo ## the service, sixty charging stations, a live table (DEMO_SECONDS=0: until Ctrl-C)
	@$(BIN)/python examples/ev-charging/demo.py $(ARGS)

servers: ## install what the integration tests talk to: Kafka, InfluxDB, PostgreSQL, MariaDB, mosquitto ...
	@tools/servers/install

test: $(VENV)/.test ## run the tests, in several processes (ARGS="-k word" is passed to pytest)
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile $(ARGS)

golden: $(VENV)/.test ## run golden cases of EMQX's rule SQL (CASES=FILE, one JSON object a line)
	@$(BIN)/python benchmarks/golden_cases.py --minimum 99 $(CASES) $(ARGS)

check: $(VENV)/.dev ## ruff, mypy and the laws of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/.dev ## let ruff format everything and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench ## measure; results are written to benchmarks/results
	$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove .venv and everything else that was made here
	rm -rf $(VENV) build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) \
	|| { echo "headrace needs Python 3.11 or newer, but there is no $(PYTHON); name one: make PYTHON=/path/to/python" >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "headrace needs Python 3.11 or newer, but $(PYTHON) is $$version; name another: make PYTHON=python3.11" >&2; exit 1; }
	@echo "making $(VENV)"
	@rm -rf $(VENV)
	@if command -v uv >/dev/null 2>&1; then uv venv --quiet --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'; fi \
	|| { rm -rf $(VENV); exit 1; }

# The stamps. pip knows dependency groups from 25.1 on, which is why it is upgraded above.
$(VENV)/.demo $(VENV)/.test $(VENV)/.bench: $(VENV)/.%: pyproject.toml | $(BIN)/python
	@echo "installing what \`make $*\` needs"
	@$(call install,--editable . --group $*)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing headrace and its development tools"
	@$(call install,--editable . --group dev)
	@touch $@ $(VENV)/.demo $(VENV)/.test
