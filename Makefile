# `make demo` and `make test` each do all the set-up on a bare checkout: Python 3.11, pip and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FAMILY := .cache/tiny

VLLM := .venv-vllm
VLLM_READY := $(VLLM)/.ready
# vLLM's CPU build asks for older versions of these than the rest was tested with.
VLLM_OWN := transformers tokenizers numpy pillow protobuf typer setuptools

.PHONY: demo test soak check family clean vllm vllm-test

demo: family
	rm -rf runs/demo
	$(BIN)/mergekit-mo-search recipes/demo.yaml --out runs/demo
	$(BIN)/python benchmarks/soups.py runs/demo

# Two processes, a file's tests in one of them, a thread each: more threads than cores crawl.
test: family
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# What takes minutes: kills at every step, 2,000 trials, 100,000 strange recipes and archives.
soak: family
	$(BIN)/pytest -m soak -rA --capture=tee-sys

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

# An environment with vLLM's CPU build, apart from the other: some minutes and 3 GB.
vllm: $(VLLM_READY)

vllm-test: $(VLLM_READY)
	$(VLLM)/bin/python -m mergekit_mo.testing $(FAMILY)
	$(VLLM)/bin/python -m pytest tests/vllm

$(VLLM_READY): pyproject.toml constraints.txt packaging/vllm-cpu/pyproject.toml
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	grep -v $(VLLM_OWN:%=-e '^%==') constraints.txt > $(VLLM)/constraints.txt
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check -c $(VLLM)/constraints.txt \
		./packaging/vllm-cpu -e '.[vllm]' pytest pytest-timeout
	# Of these the index may have builds for CUDA alone, which do not load beside a torch for CPUs;
	# text needs none of them.
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

clean:
	rm -rf $(VENV) $(VLLM) .cache runs
