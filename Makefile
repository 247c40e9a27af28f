# Every target sets up what it needs: Python 3.11 or newer and make are enough.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo dev check lint types contracts format test test-unit fuzz simulate chaos lock clean docs

help:  ## What there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup  ## Watch a cluster lose its leader and keep its work, in half a minute
	@$(BIN)/raftsman demo

dev: setup  ## A cluster to play with in this terminal: three nodes and a development Kubernetes
	@$(BIN)/raftsman dev

setup: .venv/.ready  ## A virtual environment with raftsman in it: .venv/bin/raftsman

# pysyncobj is published as source only; pip would build it with a setuptools that no hash covers, so the
# build requirements come first, hashed, and build isolation is off.
.venv/.ready: requirements-build.lock requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("raftsman needs Python 3.11 or newer; try make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-build.lock
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-build-isolation -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

check: lint types contracts  ## Lint, format, types, import contracts

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

format: setup  ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Most tests wait for nodes or for Kubernetes, so more of them run at a time than there are cores. The simulation takes
# every core by itself.
WORKERS ?= 4

test: setup  ## All tests; those on Kubernetes when RAFTSMAN_TEST_KUBECONFIG names a kubeconfig
	$(BIN)/pytest -q -n $(WORKERS) --dist loadfile --ignore tests/simulation
	$(BIN)/pytest tests/simulation
	$(BIN)/python -m tests.harness.development_kubernetes -q -n $(WORKERS) --dist loadfile

test-unit: setup  ## The tests that need no process and no Kubernetes (seconds)
	$(BIN)/pytest tests/unit tests/scenarios

fuzz: setup  ## 20,000 generated requests instead of the 2,000 of every run
	RAFTSMAN_TEST_REQUESTS=20000 $(BIN)/pytest tests/cluster/test_generated_requests.py

SEEDS ?= 1000
FROM ?= 0
NODES ?= 3
RECORD ?=

simulate: setup  ## The log in one process, with SEEDS=1000 seeds of everything that can happen to NODES=3 nodes
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) --nodes $(NODES) --processes $$(nproc) \
		$(if $(RECORD),--record $(RECORD))

PART ?= 1
SEED ?= 1

chaos: setup  ## Three real nodes under load, killed, stopped, cut off, replaced (a quarter of an hour; PART=0.1 of it)
	$(BIN)/python -m tests.chaos --part $(PART) --seed $(SEED)

docs: setup  ## Write the generated pages of docs/ again
	$(BIN)/python -m tests.harness.generate_docs

lock: setup  ## Write both lock files again from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group build -o requirements-build.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -o requirements.lock

clean:  ## Remove what the targets above made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
