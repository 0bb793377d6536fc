# The one vocabulary: the README, the hooks and CI call these targets.
#
#   make retrain                 set up, then run the quickstart night
#   make retrain TORCH=cpu       on Linux without a GPU: torch from PyTorch's CPU index (smaller)
#   make retrain RECIPE=my.yaml
#   make bench-gpu               training on this machine's GPU, nothing downloaded; without one it says so
#
# TORCH chooses where torch comes from: empty (the default package index), or a PyTorch build such as cpu or cu130.
# EXTRAS installs optional parts: gpu, vllm, fast, for example EXTRAS=gpu.

PYTHON ?= python3.11
VENV ?= .venv
TORCH ?=
EXTRAS ?=
RECIPE ?= quickstart
comma := ,
BIN := $(VENV)/bin
TORCH_INDEX := $(if $(TORCH),--index-url https://download.pytorch.org/whl/$(TORCH))
INSTALL_EXTRAS := dev$(if $(EXTRAS),$(comma)$(EXTRAS))
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(INSTALL_EXTRAS))

.PHONY: setup retrain test test-all test-cluster bench bench-gpu lint format clean
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): two to five minutes the first time"
	@$(PIP) install $(TORCH_INDEX) --constraint constraints.txt torch
	@$(PIP) install --constraint constraints.txt --editable ".[$(INSTALL_EXTRAS)]"
	@touch $@

retrain: setup
	@$(BIN)/nightshift fetch $(RECIPE)
	@$(BIN)/nightshift retrain $(RECIPE)

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-all: setup
	$(BIN)/python -m pytest -q -m "server or night"

test-cluster: setup
	$(BIN)/python -m pytest -q -m cluster

bench: setup
	$(BIN)/python -m tests.benchmarks.judge
	$(BIN)/python -m tests.benchmarks.data
	$(BIN)/python -m tests.benchmarks.metrics 500
	$(BIN)/python -m tests.benchmarks.generation quickstart 72
	$(BIN)/python -m tests.benchmarks.attention
	$(BIN)/python -m tests.benchmarks.training
	$(BIN)/python -m tests.benchmarks.search

bench-gpu: setup
	$(BIN)/python -m tests.benchmarks.gpu

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .ci-venv build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
