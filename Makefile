# `make quickstart` and `make test` need python3 and make; everything else is
# installed into .venv, once. Other interpreters and environments:
#   make test PYTHON=python3.12
#   make test VENV=/path/to/an/existing/environment

PYTHON ?= python3
VENV ?= .venv
VENV_PYTHON := $(VENV)/bin/python

# Stamps: newer than setup.py as long as what it lists is installed.
INSTALLED := $(VENV)/.youtube-8m
TEST_INSTALLED := $(VENV)/.youtube-8m-test

PIP_INSTALL := $(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check

.PHONY: help install quickstart test lint format bench soak clean

help:
	@echo "make quickstart   train, evaluate and predict on made-up data"
	@echo "make install      install the programs into $(VENV)"
	@echo "make test         lint, then run all tests"
	@echo "make lint         check the code and its format"
	@echo "make format       fix the format"
	@echo "make soak         the long tests: kills, faults, fuzzing"
	@echo "make bench        measure the speed, in 20 to 40 minutes"
	@echo "make clean        remove .venv and everything generated"

install: $(INSTALLED)

quickstart: $(INSTALLED)
	$(VENV_PYTHON) -m tools.quickstart $(QUICKSTART_FLAGS)

# Most tests start programs and wait for them: two at a time take half as long.
test: lint
	$(VENV_PYTHON) -m pytest -n 2 --dist worksteal $(TEST_FLAGS)

lint: $(TEST_INSTALLED)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

format: $(TEST_INSTALLED)
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

# Each of these tests bounds its own time. For instance:
#   make soak SOAK_FLAGS="-k kill"
soak: $(TEST_INSTALLED)
	$(VENV_PYTHON) -m pytest -m soak $(SOAK_FLAGS)

# For instance: make bench BENCH_FLAGS="--rows=video,startup --scale=0.3"
bench: $(TEST_INSTALLED)
	$(VENV_PYTHON) -m benchmarks.run --output_dir=bench_output $(BENCH_FLAGS)

clean:
	rm -rf .venv build dist *.egg-info quickstart_output bench_output
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Both are looked at first: without ensurepip, venv would leave half a folder.
$(VENV_PYTHON):
	@$(PYTHON) -c "import sys; \
	  sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))" || { \
	  echo "Python 3.10 to 3.13 is needed, but $(PYTHON) is not:" \
	    "make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu:" \
	    "apt install python3-venv. Or use an environment that exists:" \
	    "make VENV=/path/to/environment $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): setup.py | $(VENV_PYTHON)
	@echo "Installing TensorFlow and the suite into $(VENV), once ..."
	@$(PIP_INSTALL) --editable .
	@touch $@

$(TEST_INSTALLED): setup.py | $(VENV_PYTHON)
	@echo "Installing TensorFlow, the suite and test tools into $(VENV), once ..."
	@$(PIP_INSTALL) --editable ".[test]"
	@touch $@ $(INSTALLED)
