# make quickstart   the whole story in minutes: pretrain, finetune on held-out tasks of each world, report
# make test         lint, types and tests
# make lint | format | types | wheel | clean
#
# Everything is installed into .venv on the first call. Another interpreter: make quickstart PYTHON=python3.12

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := train,fields,bio,lmdb,longrange,dispersion,d4,ode,search,phonons,sklearn,test,generate
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
ROOMS := data models inference pretrain finetune physics_priors configs
TREE := build/tree/atomfield
PYTEST_ARGS ?= -n 2 --dist loadfile
OUT ?= runs/quickstart

export DS_BUILD_OPS := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: quickstart test lint format types wheel install clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n 's/^# //p' Makefile | head -5

install: $(STAMP)

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "AtomField needs Python 3.11 or newer and found none; install one, or name it: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "AtomField needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" --version 2>&1). Name another: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install the package python3-venv" >&2; exit 1; }

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing AtomField and its tested dependencies into $(VENV) (once; some minutes and 2 GB)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $@

quickstart: $(STAMP)
	$(BIN)/atomfield quickstart --out $(OUT)

test: lint types
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy sees the package through symlinks, since the folders at the root have other names than the modules they are
types: $(STAMP)
	@rm -rf build/tree && mkdir -p $(TREE)
	@find api -mindepth 1 -maxdepth 1 ! -name __pycache__ ! -name '*.toml' -exec ln -s '../../../{}' $(TREE)/ ';'
	@for room in $(ROOMS); do ln -s "../../../$$room" $(TREE)/$$room; done
	$(BIN)/mypy

wheel: $(STAMP)
	rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
