# Everything a fresh machine needs is installed by the two commands of the README: `make demo`, `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench soak-cards crash fuzz patience defences requirements documents clean

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

soak-cards: $(VENV)/ready-test ## 2,000 random events on readers, cards and services while two clients work
	$(BIN)/python -m tests.soak.cards --events 2000

crash: $(VENV)/ready-test ## 500 times kill -9 while the journal is written: nothing acknowledged is lost
	$(BIN)/python -m tests.crash --rounds 500

fuzz: $(VENV)/ready-test ## a million hostile messages, 2,000 handshakes, then what reads bytes from outside
	$(BIN)/python -m tests.fuzz.door
	$(BIN)/python -m tests.fuzz.guided all

patience: $(VENV)/ready-test ## a person takes 60 s to answer the browser's question
	INSI_AGENT_PERSON_THINKS_S=60 $(BIN)/python -m pytest tests/browsers/test_permission.py -k thinks_for_long

defences: $(VENV)/ready-test ## run every test of the defence list and write docs/defences.md
	$(BIN)/python -m tests.defences

requirements: $(VENV)/ready-test ## run every test of the INS rules and write docs/requirements.md
	$(BIN)/python -m tests.requirements

documents: $(VENV)/ready-test ## bring PROTOCOL.md, schema.json and SUPPORTED.md up to date
	$(BIN)/python -m agent.protocol.document
	$(BIN)/python -m agent.readers.supported

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
