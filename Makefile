# `make demo` and `make test` work from a fresh clone and need Python 3.11-3.13, a C++ compiler and the package index.
#   PYTHON  the interpreter that the environment is made with
#   TORCH   what pip installs as torch, first; to save gigabytes on a machine without a GPU:
#           make test TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
#   JOBS    test processes
#   MODEL   weights that `make bench` measures: a path, or a name in $FLUXSHARD_DATA/weights
# `make gpu`, `make test-gpu` and `make bench-gpu` use no environment of ours: PYTHON has to have torch with CUDA, numpy,
# jinja2, cuda-bindings, NVRTC and, for the tests, pytest and pytest-xdist.
#   OUT     where `make gpu` writes logs and results

PYTHON ?= python3
TORCH ?= torch==2.13.0
JOBS ?= 2
MODEL ?= yolo11n.pt
VENV ?= .venv
OUT ?= runs/gpu

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
BASE := $(VENV)/.base
DEV := $(VENV)/.dev
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal
# Emulated kernels are a thousand shared libraries. Where they and those of all other tests were loaded in one process,
# the dynamic linker has ended it (exit status 127) as a later test encoded its first film, and a kernel that an edge's
# server ran died of a bus error. They get processes of their own.
EMULATED := tests/cuda tests/laws/test_laws_cuda.py tests/offload/test_foreign_server.py

.PHONY: help env demo test test-all gpu test-gpu check bench bench-gpu clean

help:
	@echo "make demo        draw a street, run a detector over it incrementally, write runs/demo"
	@echo "make test        checks and tests, but for the slow ones"
	@echo "make test-all    checks and all tests that need no GPU"
	@echo "make gpu         all that seven minutes on a GPU can tell: tests and figures, with the Python that PYTHON names"
	@echo "make test-gpu    tests that need a GPU, with the Python that PYTHON names"
	@echo "make check       format, lint, types, layers, sizes of modules and folders"
	@echo "make bench       measure against dense engines on this machine"
	@echo "make bench-gpu   measure against dense engines on this machine's GPU, with the Python that PYTHON names"
	@echo "make clean       remove the environment, caches and outputs"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first: whatever depends on it must find it there, or pip fetches the CUDA build
$(BASE): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) $(TORCH)
	$(PIP) -c constraints.txt -e .
	touch $@

$(DEV): $(BASE)
	$(PIP) -c constraints.txt -e '.[yolo,cuda,evaluate,track,dev]'
	touch $@

env: $(DEV)

demo: $(BASE)
	$(BIN)/python -m examples.street.demo --out runs/demo

test: check
	$(PYTEST) -m "not slow" $(EMULATED:%=--ignore=%)
	$(PYTEST) -m "not slow" $(EMULATED)

test-all: check
	$(PYTEST) $(EMULATED:%=--ignore=%)
	$(PYTEST) $(EMULATED)

gpu:
	$(PYTHON) -m benchmarks.gpu_session --out $(OUT)

test-gpu:
	$(PYTHON) -m pytest -q tests/gpu

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.house

bench: $(DEV)
	$(BIN)/python -m benchmarks.frame --model $(MODEL)
	$(BIN)/python -m benchmarks.user_cost
	$(BIN)/python -m benchmarks.user_cost --seeded yolo11m-seg.yaml --size 1024 --frames 10 --rounds 2

bench-gpu:
	$(PYTHON) -m benchmarks.gpu

clean:
	rm -rf $(VENV) build dist runs out *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
