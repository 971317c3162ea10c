# `make run` and `make test` need Python 3.11 to 3.14 and nothing else: they make the virtual environment first.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(firstword $(foreach p,python3.12 python3.13 python3.14 python3.11 python3,$(if $(shell $(p) -Ec '$(SUPPORTED)' 2>/dev/null && echo yes),$(p))))
BIN := .venv/bin
ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-user -c constraints.txt
# pip would install elsewhere, and packages of other environments would come before those of ours.
unexport PIP_PREFIX PIP_PYTHON PIP_ROOT PIP_TARGET PYTHONHOME PYTHONPATH
# A Python that has been removed or replaced takes the environment with it.
$(shell test -x $(BIN)/python || rm -f .venv/run.stamp)

.PHONY: run test test-slow test-pythons test-browser test-monitoring test-image test-cluster bench lint clean

run: .venv/run.stamp
	$(BIN)/python main.py $(ARGS)

test: .venv/dev.stamp
	$(BIN)/python -m pytest $(ARGS)

test-slow: .venv/dev.stamp
	$(BIN)/python -m pytest -m slow $(ARGS)

test-pythons: .venv/dev.stamp
	$(BIN)/python -m pytest -m pythons $(ARGS)

test-browser: .venv/dev.stamp
	$(BIN)/python -m pytest -m browser $(ARGS)

test-monitoring: .venv/dev.stamp
	$(BIN)/python -m pytest -m monitoring $(ARGS)

test-image: .venv/dev.stamp
	$(BIN)/python -m pytest -m image $(ARGS)

test-cluster: .venv/dev.stamp
	$(BIN)/python -m pytest -m cluster $(ARGS)

bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks.kernel
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.peer

lint: .venv/dev.stamp
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

clean:
	rm -rf .venv .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/run.stamp: requirements.txt constraints.txt
	@$(BIN)/python -c 'import pip; $(SUPPORTED)' 2> /dev/null || { \
	  test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.14 found; install one, or name it: make run PYTHON=/path/to/python3.12" >&2; exit 2; }; \
	  "$(PYTHON)" -c 'import ensurepip' 2> /dev/null || { echo "error: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu install python3-venv, or use uv as docs/operations.md tells" >&2; exit 2; }; \
	  "$(PYTHON)" -m venv --clear .venv; }
	$(PIP) -r requirements.txt
	@$(BIN)/python -c 'import dotenv' 2> /dev/null || { echo "error: pip has installed elsewhere than into .venv; look for target or prefix in: $(BIN)/python -m pip config list" >&2; exit 2; }
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@
