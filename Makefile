# `make run` and `make test` need Python 3.11 to 3.13 and nothing else: they make the virtual environment first.
PYTHON ?= $(firstword $(foreach p,python3.12 python3.13 python3.11 python3,$(if $(shell $(p) -c 'import sys; print(*(("ok",) if (3, 11) <= sys.version_info[:2] <= (3, 13) else ()))' 2>/dev/null),$(p))))
BIN := .venv/bin
ARGS ?=

.PHONY: run test test-slow test-pythons test-browser test-image bench lint clean

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

test-image: .venv/dev.stamp
	$(BIN)/python -m pytest -m image $(ARGS)

bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks.kernel
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.peer

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/run.stamp: requirements.txt constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 found; install one, or name it: make run PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@
