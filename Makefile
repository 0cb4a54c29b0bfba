# make quickstart   environment, install, a small end-to-end run: rewrites in a cache, CLIP trained on them, table and plot
# make test         environment, install, format, lint, types, tests
# make clean        remove the environment and the quick start's output

PYTHON ?= python3
VENV ?= .venv
OUT ?= quickstart-out
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: quickstart test lint clean

quickstart: $(VENV)/.quickstart
	$(BIN)/python benchmarks/quickstart/run.py --out $(OUT) $(QUICKSTART_OPTIONS)

# One thread a process: tests start processes of their own, and more threads than cores slow each other down.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.dev lint
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON); install Python 3.10 or newer, or name one: make PYTHON=python3.11"; exit 1; }
	@command -v c++ >/dev/null || { echo "no C++ compiler, which llama.cpp is built with; on Debian: apt-get install build-essential"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.quickstart: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[llm,plot]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(OUT)
