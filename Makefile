# The same targets run on a laptop and in CI. Set PYTHON to choose an interpreter (3.11 or newer).
PYTHON ?= $(shell for v in python3.13 python3.12 python3.11 python3; do \
	if command -v $$v >/dev/null 2>&1 && $$v -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$v; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One worker takes all tests that share a fixture, see tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.PHONY: help demo test test-fast lint types layers bench truth matrix docs clean install

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed; set PYTHON=/path/to/python"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $(STAMP)

install: $(STAMP)  ## make .venv with everything that is needed

demo: $(STAMP)  ## the main job on the bundled account base: profile, scores, report, registered model
	$(BIN)/icp-ml demo --out demo_out

# Two workers on two cores: linear algebra on threads of its own would only spin.
test test-fast: export OPENBLAS_NUM_THREADS := 1

test: $(STAMP)  ## lint, types, layers and all tests
	$(MAKE) --no-print-directory lint types layers
	$(PYTEST) --cov --cov-report=term --cov-fail-under=90

test-fast: $(STAMP)  ## the tests that take less than ten seconds each
	$(PYTEST) -m 'not slow'

lint: $(STAMP)  ## ruff, rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy in strict mode
	$(BIN)/mypy

layers: $(STAMP)  ## the rooms: data flows one way
	$(BIN)/lint-imports

bench: $(STAMP)  ## speeds and memory, printed as tables (SMOKE=1 for a short form)
	$(BIN)/python experiments/speed/run.py $(if $(SMOKE),--smoke,--repeats 1)
	$(BIN)/python experiments/speed/contributions.py $(if $(SMOKE),--smoke,--write)
	$(BIN)/python experiments/speed/score_base.py $(if $(SMOKE),--smoke,--write)
	$(BIN)/python experiments/speed/tables.py $(if $(SMOKE),--smoke,--write)
	$(BIN)/python experiments/speed/retrain.py $(if $(SMOKE),--smoke)
	$(BIN)/python experiments/speed/table.py $(if $(SMOKE),,--write)

truth: $(STAMP)  ## error rates of the profile on simulated worlds (SMOKE=1 for a short form)
	$(BIN)/python experiments/truth/run.py $(if $(SMOKE),--smoke,--write)
	$(BIN)/python experiments/truth/ageing.py $(if $(SMOKE),--smoke,--write)
	$(BIN)/python experiments/truth/stability.py $(if $(SMOKE),--smoke)
	$(BIN)/python experiments/truth/gate.py $(if $(SMOKE),--smoke)
	$(BIN)/python experiments/truth/monitor.py $(if $(SMOKE),--smoke)
	$(BIN)/python experiments/truth/table.py $(if $(SMOKE),,--write)

matrix:  ## oldest and newest dependencies on each Python (PYTHONS="python3.11 ...", QUICK=1, ONLY=oldest-python3.11)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed; set PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) experiments/faults/matrix.py $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

docs: $(STAMP)  ## build the documentation as HTML into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]' -c constraints.txt
	$(BIN)/mkdocs build --strict

clean:  ## remove what the targets made
	rm -rf $(VENV) demo_out site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
