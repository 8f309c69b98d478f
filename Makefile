# make demo: sets everything up and runs the main job. make test: sets everything up and runs all tests.
# uv is used when it is there, else venv and pip; what is installed is what requirements*.txt pins, by hash.

PYTHON ?= python3
VENV := .venv
BIN = $(VENV)/bin
RIVAL := .venv-bench
AUDIT := .venv-audit
SBOM := build/sbom.json
UNREACHED ?= fails
DEMO_OUT ?= build/demo
KAFKA_PORT ?= 9092
UV := $(shell command -v uv 2>/dev/null)

# Waiting numba threads otherwise spin and take the cores away from the one that works.
export OMP_WAIT_POLICY = passive

.DEFAULT_GOAL := help
.PHONY: help setup demo kafka test simulation nightly boundscheck lint types format bench audit sbom lock clean

help:  ## these lines
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

ifdef UV
VENV_MAKE = uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
INSTALL = uv pip install --quiet --python $(BIN)/python
AGREE = uv pip check --quiet --python $(BIN)/python
else
VENV_MAKE = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip --disable-pip-version-check install --quiet
AGREE = $(BIN)/python -m pip --disable-pip-version-check check
endif

# Hashes bind the project's dependencies and its build tool; the project itself is this folder.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Setting up $(VENV) from $(1)"
	@$(VENV_MAKE)
	@$(INSTALL) --require-hashes -r $(1)
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV)/.runtime: requirements.txt pyproject.toml
	$(call install,requirements.txt)

$(VENV)/.dev: requirements-dev.txt pyproject.toml
	$(call install,requirements-dev.txt)
	@touch $(VENV)/.runtime

# What the benchmarks compare with: solvers, and a library that asks for an older client of Kafka than the worker.
$(RIVAL)/.done: VENV = $(RIVAL)
$(RIVAL)/.done: requirements-bench.txt
	@echo "Setting up $(VENV) from $<"
	@$(VENV_MAKE)
	@$(INSTALL) --require-hashes -r $<
	@touch $@

# What looks the locked versions up.
$(AUDIT)/.done: VENV = $(AUDIT)
$(AUDIT)/.done: requirements-audit.txt
	@echo "Setting up $(VENV) from $<"
	@$(VENV_MAKE)
	@$(INSTALL) --require-hashes -r $<
	@touch $@

setup: $(VENV)/.dev  ## everything that tests, lint and types need, in .venv

demo: $(VENV)/.runtime  ## a crash at a seeded exchange: recording, decisions and forced trades in build/demo, summary
	@$(BIN)/adl demo --out $(DEMO_OUT)

kafka: $(VENV)/.dev  ## a local Kafka to try things with, at KAFKA_PORT (9092), until Ctrl-C
	@exec $(BIN)/python -m tests.broker --port $(KAFKA_PORT)

test: $(VENV)/.dev  ## all tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

SEEDS ?= 0:720
simulation: $(VENV)/.dev  ## the worker on a simulated Kafka: crashes, lost answers, sleepers; seeds SEEDS (0:720)
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

boundscheck: $(VENV)/.dev  ## the solver's tests again, one seed in eight, with every index of its kernels checked
	@NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=build/boundscheck $(BIN)/python -m pytest -q tests/solver --ignore tests/solver/test_same_bits.py

lint: $(VENV)/.dev  ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy
	@$(BIN)/mypy

format: $(VENV)/.dev  ## ruff, writing
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

NIGHTLY_SEEDS ?= 0:72000
nightly: $(VENV)/.dev  ## hours: a million simulated deaths, 500 SIGKILLs, late commits, fuzzing, ten minutes' soak
	@$(BIN)/python -m pytest -m night
	@$(BIN)/python -m tests.kafka.soak --minutes 10
	@$(BIN)/python -m tests.kafka.nightly --kills 500 --stops 200 --delayed 100
	@$(BIN)/python -m tests.fuzz.plain --records 1000000
	@$(BIN)/python -m tests.fuzz.engine --logs 2000
	@$(BIN)/python -m tests.simulation --seeds $(NIGHTLY_SEEDS)

bench: $(VENV)/.dev  ## benchmarks in full size: size, machine, time, digest
	@$(BIN)/python -m tests.bench_solver
	@$(BIN)/python -m tests.bench_risk
	@$(BIN)/python -m tests.bench_book
	@$(BIN)/python -m tests.bench_size
	@$(BIN)/python -m tests.bench_ladder
	@$(BIN)/python -m tests.bench_engine
	@$(BIN)/python -m tests.bench_forecast
	@$(BIN)/python -m tests.bench_ranks
	@$(BIN)/python -m tests.bench_staged
	@$(MAKE) --no-print-directory $(RIVAL)/.done || echo "cvxpy and quixstreams cannot be installed here"
	@test ! -e $(RIVAL)/.done || $(RIVAL)/bin/python -m tests.bench_rivals
	@$(BIN)/python -m tests.kafka.bench --quixstreams $(RIVAL)/bin/python
	@$(BIN)/python -m tests.bench_rebuild --hours 0.1

# Where no vulnerability service can be reached it fails; UNREACHED=passes only says what was not audited.
audit: $(VENV)/.dev $(AUDIT)/.done sbom  ## nothing installed that is not locked, nothing known against what is locked
	@$(AGREE)
	@$(BIN)/python -m tests.supply.pins
	@$(AUDIT)/bin/python -m tests.supply.audit $(SBOM) --unreached-$(UNREACHED)

sbom:  ## what requirements.txt locks, as CycloneDX in build/sbom.json
	@$(PYTHON) -m tests.supply.sbom $(SBOM)

lock: pyproject.toml  ## newest allowed versions into requirements*.txt (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header pyproject.toml --group build -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header pyproject.toml --group build --all-extras -c requirements.txt -o requirements-dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --group bench -o requirements-bench.txt
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --group audit -o requirements-audit.txt

clean:  ## removes what make made
	rm -rf $(VENV) $(RIVAL) $(AUDIT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find schemas solver worker tests -name __pycache__ -type d -prune -exec rm -rf {} +
