# `make demo` and `make test` each do all the set-up on a bare checkout: Python 3.11, pip and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FAMILY := .cache/tiny

.PHONY: demo test check family clean

demo: family
	rm -rf runs/demo
	$(BIN)/mergekit-mo-search recipes/demo.yaml --out runs/demo
	$(BIN)/python benchmarks/soups.py runs/demo

test: family
	$(BIN)/pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tiny models that demo and tests share: trained once, kept in $(FAMILY).
family: $(READY)
	$(BIN)/python -m mergekit_mo.testing $(FAMILY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .cache runs
