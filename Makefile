PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RESULTS ?= results
# What `make reports` publishes; QUICK=--quick for a first look at it.
EXPERIMENTS ?= core vl_only_vs_qwen3 vl_layer_by_token outlier_masking normalization cross_normalization style_delta \
	adain intra_vl timestep_alpha multi_reference alpha_sweep alignment mixtures injection fitted planted_sink \
	row_count
QUICK ?=
# Without a GPU all but core take the first 96 items of the suite, or it would be a day.
FEWER ?= $(if $(shell command -v nvidia-smi),,--items 96)
FAST_TESTS ?= $(addprefix tests/,core docs metrics registry stats steps strategies)
# In the order of tests/conftest.py; xdist itself would put files of one long test last.
PYTEST_WORKERS ?= -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev chromium duckdb-wasm demo test test-fast lint reports statistics reliability bench bench-gpu clean

help:
	@echo "make demo     set up, run a small benchmark in about three minutes, print its leaderboard"
	@echo "make test     set up, run all tests, those in a browser too"
	@echo "make test-fast  the quick tests of all that needs no network to be loaded, in under a minute"
	@echo "make lint     formatting, lint, types, import layers"
	@echo "make reports  run all experiments, in about an hour, and write every page (EXPERIMENTS=\"core adain\" QUICK=--quick)"
	@echo "make statistics  measure intervals, ranks and outcomes on known truth; writes reports/statistics.md"
	@echo "make reliability  kill commands, spoil disks, damage input, make many cells; writes reports/reliability.md"
	@echo "make bench    speed benchmarks of the miniature, compared with the last ones; writes reports/speed.md"
	@echo "make bench-gpu  the full-size readings, on a machine with a GPU, in under 9 minutes"

COMMA := ,
# uv installs in half a minute what takes pip four; pip does it where uv cannot be had or fails.
define INSTALL
	{ $(BIN)/python -m pip install -q -c constraints.txt uv && \
		$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e ".[$(1)]"; } || \
		$(BIN)/python -m pip install -q -c constraints.txt -e ".[$(1)]"
endef

# uv installs libraries uncompiled. Where the environment forbids to keep what Python compiles, each of the hundreds of
# processes of the tests would compile torch anew, which takes longer than importing it.
unexport PYTHONDONTWRITEBYTECODE

# One stamp for what a run needs and one for what work on the project needs: a second `make` does not call pip.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("blendbench needs Python 3.11 or newer, this is %s" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call INSTALL,models)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(call INSTALL,models$(COMMA)dev)
	touch $@

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

# The gallery is tested in a real browser. Without one its tests are skipped and say so.
chromium:
	@command -v chromedriver >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		(apt-get update -q && apt-get install -y -q --no-install-recommends chromium chromium-driver) >/dev/null; } || \
		echo "no Chromium, and none could be installed: the browser tests will be skipped" >&2

# What the SQL console of a site runs, where `blendbench site --console` looks. Without it its tests are skipped.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/blendbench
DUCKDB_WASM := 1.32.0
duckdb-wasm:
	@test -f $(CACHE)/duckdb-duckdb-wasm-$(DUCKDB_WASM).tgz || { mkdir -p $(CACHE) && command -v npm >/dev/null && \
		npm pack --silent --pack-destination $(CACHE) @duckdb/duckdb-wasm@$(DUCKDB_WASM) >/dev/null; } || \
		echo "no DuckDB-Wasm, and npm cannot get it: the tests of the SQL console will be skipped" >&2

demo: setup
	$(BIN)/blendbench run demo --results $(RESULTS)
	$(BIN)/blendbench leaderboard demo --results $(RESULTS) --out $(RESULTS)/reports

# Tests wait for thousands of small databases to be on the disk. In memory, if there is room, they take a sixth less.
IN_MEMORY := $(shell test "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print int($$4)}')" -gt 8000000 && echo /dev/shm)
test test-fast: export TMPDIR := $(or $(TMPDIR),$(IN_MEMORY),/tmp)

# A file's tests stay in one worker, with the fixtures they share.
test: setup-dev chromium duckdb-wasm
	$(BIN)/python -m pytest $(PYTEST_WORKERS)

test-fast: setup-dev
	$(BIN)/python -m pytest $(PYTEST_WORKERS) -m "not trained and not browser and not slow" $(FAST_TESTS)

lint: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# All that is published but reports/speed.md, which `make bench` writes. Finished cells are kept: a second call is quick.
reports: setup-dev
	for experiment in $(EXPERIMENTS); do \
		test $$experiment = core && fewer= || fewer="$(FEWER)"; \
		$(BIN)/blendbench run $$experiment $$fewer $(QUICK) --results $(RESULTS) || exit; done
	$(BIN)/blendbench embeddings --results $(RESULTS) --out reports
	$(BIN)/blendbench publish $(EXPERIMENTS) --results $(RESULTS) --out reports
	$(BIN)/blendbench run seed_floor $(QUICK) --results $(RESULTS)
	$(BIN)/blendbench calibrate --out reports --cards metrics --results $(RESULTS) --experiment seed_floor
	$(BIN)/python -m miniature.evaluate --out reports/miniature.json
	$(BIN)/python -m miniature.page --measures reports/miniature.json --results $(RESULTS) --out reports/miniature.md
	$(BIN)/python bench/pages/sql_guide.py docs/sql.md
	$(BIN)/blendbench publish --check --out reports

# Resamples the published scores as well, so after `make reports`.
statistics: setup-dev
	$(BIN)/python bench/pages/statistics_page.py $(QUICK)

# Kills commands, spoils disks, damages input, makes many cells and changes the source, for some hours. What was not
# finished goes on where it was.
reliability: setup-dev
	mkdir -p .reliability
	$(BIN)/python tests/crashes/crash.py --kills 200 --json .reliability/crash.json
	$(BIN)/python tests/fuzz/fuzz.py --inputs 200000 --json .reliability/fuzz.json
	$(BIN)/python tests/scale/soak.py --json .reliability/soak.json
	$(BIN)/python bench/pages/containment.py --json .reliability/containment.json
	$(BIN)/python tests/mutation/mutate.py --sample 60 --json .reliability/mutation.json
	$(BIN)/python bench/pages/reliability_page.py --data .reliability

# Keeps every run in .benchmarks/, compares with the one before, and writes the CPU's part of the page.
bench: setup-dev
	mkdir -p .benchmarks
	$(BIN)/python -m pytest bench/speed --benchmark-only --benchmark-autosave --benchmark-compare --benchmark-json=.benchmarks/last.json
	$(BIN)/python bench/speed/speed_page.py --benchmarks .benchmarks/last.json

# No set-up here: a machine with a GPU may have its own torch and no network.
bench-gpu: export PYTHONPATH := src:$(PYTHONPATH)
bench-gpu:
	$(GPU_PYTHON) bench/speed/gpu.py --out reports/speed.json
	$(GPU_PYTHON) bench/speed/speed_page.py

clean:
	rm -rf $(RESULTS)
