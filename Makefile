PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RESULTS ?= results
EXPERIMENTS ?= core

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint reports bench clean

help:
	@echo "make demo     set up, run the core benchmark, print its leaderboard"
	@echo "make test     set up, run the tests"
	@echo "make lint     formatting, lint, types, import layers"
	@echo "make reports  write every published page in reports/ (EXPERIMENTS=\"core adain\")"
	@echo "make bench    speed benchmarks (pytest-benchmark)"

# One stamp for everything that an installation depends on: a second `make` does not call pip.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("blendbench needs Python 3.11 or newer, this is %s" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[models,dev]"
	touch $@

setup: $(VENV)/.installed

demo: setup
	$(BIN)/blendbench run core --results $(RESULTS)
	$(BIN)/blendbench leaderboard core --results $(RESULTS) --out $(RESULTS)/reports

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

reports: setup
	for experiment in $(EXPERIMENTS); do $(BIN)/blendbench run $$experiment --results $(RESULTS) || exit; done
	$(BIN)/blendbench embeddings --results $(RESULTS) --out reports
	$(BIN)/blendbench publish $(EXPERIMENTS) --results $(RESULTS) --out reports
	$(BIN)/python -m blendbench.models.miniature.evaluate --out reports/miniature.json
	$(BIN)/python -m blendbench.reports.miniature --measures reports/miniature.json --results $(RESULTS) --out reports/miniature.md

bench: setup
	$(BIN)/python -m pytest bench/speed --benchmark-only

clean:
	rm -rf $(RESULTS)
