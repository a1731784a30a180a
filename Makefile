# `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One more than two cores: a test that waits for a browser or a child process leaves its core to another.
TEST_WORKERS ?= 3
# One more where Slurm is tested, which is mostly waited for.
SLOW_TEST_WORKERS ?= 4
ARGS ?=
# A folder of its own each time: a run directory is never written over.
DEMO_DIR := outputs/demo_$(shell date +%Y-%m-%d_%H-%M-%S)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-release lint types docs bench gpu-check studies results gallery clean

help:  ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Make .venv with partinr and what its tests need (nothing to do when it is up to date)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "partinr needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1);" \
	    "name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing partinr into $(VENV): two to three minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@# Compiled afterwards by all cores, not by pip: half a minute less. (A few of torch's files are for a newer Python.)
	@$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@
	@echo "Installed; to have partinr on your path: source $(BIN)/activate"

demo: setup  ## Fit a built-in image alone and by parts, and write a report
	$(BIN)/partinr -m experiment=demo partition=none,grid,semantic seed=0,1,2 hydra.sweep.dir=$(DEMO_DIR)
	$(BIN)/partinr report $(DEMO_DIR) -o $(DEMO_DIR)/report.html

test: setup  ## Run the tests but for the slow ones; ARGS="-k grid -x" runs some
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal -m "not slow" $(ARGS)

test-slow: setup  ## Run the slow ones: many processes, wheels, a real Slurm
	$(BIN)/python -m pytest -n $(SLOW_TEST_WORKERS) --dist worksteal -m "slow and not alone and not release" $(ARGS)
	$(BIN)/python -m pytest -m alone $(ARGS)

test-release: setup  ## Check the tag, and install the wheel with each extra from an index: docs/releasing.md
	$(BIN)/python -m pytest -m release $(ARGS)

lint: setup  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## Check types
	$(BIN)/mypy

docs: setup  ## Build the documentation and run its notebooks; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -c docs -d build/docs/doctrees . build/docs/html
	@echo "open build/docs/html/index.html"

bench: setup  ## Run the benchmarks in experiments/benchmarks
	@for script in experiments/benchmarks/[a-z]*.py; do \
	  echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

# No setup: a plain Python with torch and NumPy will do. OUT and IMAGES may be relative.
gpu-check:  ## Test and time on a GPU in 8 minutes, without setup: SIZE=tiny IMAGES=… WHEELS=… OUT=… PYTHON=…
	@$(PYTHON) experiments/gpu_check/run.py --size $(or $(SIZE),full) --out "$(or $(OUT),gpu-check.md)" \
	  $(if $(IMAGES),--images "$(IMAGES)") $(if $(WHEELS),--wheels "$(WHEELS)")

studies: setup  ## Remake the small size of every study and its tables in experiments/; ARGS="grid_speedup" makes some
	$(BIN)/python experiments/studies.py $(ARGS)

results: setup  ## Remake the tables in experiments/ from the data beside them, without a run; ARGS=--check only compares
	$(BIN)/python experiments/results.py $(ARGS)

gallery: setup  ## Draw the pictures of experiments/gallery; ARGS="regions" draws one
	$(BIN)/python experiments/gallery/gallery.py $(ARGS)

clean:  ## Remove caches and built packages (keeps .venv and outputs)
	rm -rf build dist docs/reference/generated .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
