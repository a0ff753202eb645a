# Two commands for a newcomer:  make results/table_mha2mla.csv   and   make test
SCALE ?= laptop
CORES ?= all
DEVICE ?= cpu
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RECIPES := $(patsubst recipes/%/recipe.yaml,%,$(wildcard recipes/*/recipe.yaml))
ENV_DONE := $(VENV)/.installed
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help env recipes test test-unit test-workflow lint types smoke claims bench bench-fourier bench-sandbox bench-synthesis FORCE
.DEFAULT_GOAL := help

help:
	@echo 'make results/table_mha2mla.csv   a paper as a table with verdicts (SCALE=smoke|laptop|paper)'
	@echo 'make test                        the tests;   make lint types   the style and type checks'
	@echo 'make bench                       results/bench_mha2mla.csv: ratios against named peers'
	@echo 'Afterwards, in the environment:  galley --help'

env: $(ENV_DONE)

# torch comes first, alone: the other packages then accept the build that is there.
$(ENV_DONE): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

results/%: $(ENV_DONE) FORCE
	galley run $@ --cores $(CORES) --scale $(SCALE)

FORCE:

test: test-unit test-workflow

# A file's tests share what they set up, so a file stays in one process.
test-unit: $(ENV_DONE)
	python -m pytest -m 'not workflow' -n auto --dist loadfile

test-workflow: $(ENV_DONE)
	python -m pytest -m workflow

lint: $(ENV_DONE)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	snakemake --lint

types: $(ENV_DONE)
	mypy

smoke: $(ENV_DONE)
	galley run all --cores $(CORES) --scale smoke

# The recipes as a JSON list, for a matrix of runners.
recipes:
	@echo '$(RECIPES)' | sed 's/[^ ][^ ]*/"&"/g; s/ /, /g; s/.*/[&]/'

claims: $(ENV_DONE)
	set -e; for recipe in $(RECIPES); do galley claims check $$recipe --scale $(SCALE); done

bench: $(ENV_DONE)
	galley bench mha2mla --out results/bench_mha2mla.csv

bench-fourier: $(ENV_DONE)
	galley bench fourier_attention --out results/bench_fourier.csv --device $(DEVICE)

bench-sandbox: $(ENV_DONE)
	galley bench sandbox --out results/bench_sandbox.csv

bench-synthesis: $(ENV_DONE)
	galley bench synthesis --out results/bench_synthesis.csv
