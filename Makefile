# Everything a fresh machine needs is installed by the two commands of the README: `make demo`, `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench documents clean

demo: $(VENV)/ready-demo ## the whole journey in the browser, with simulated cards and INSi
	$(BIN)/insi-agent demo

test: lint ## every test, real parts included
	$(BIN)/python -m pytest

lint: $(VENV)/ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/ready-test ## figures as interleaved ratios, see benchmarks/README.md
	$(BIN)/python -m benchmarks

documents: $(VENV)/ready-test ## bring PROTOCOL.md and schema.json up to date
	$(BIN)/python -m agent.protocol.document

$(VENV)/ready-demo: pyproject.toml packaging/system-packages
	sh packaging/system-packages demo
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/ready-test: pyproject.toml packaging/system-packages
	sh packaging/system-packages test
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist
