# make demo    anonymize the clip in samples/, and show where the result is
# make test    all tests
# make check   formatting, lint, types, import rules
# make bench-check   has it become slower? CPU time per frame against a baseline, in two minutes
# Each installs what it needs first: Debian packages where some are missing, and .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help venv demo test check bench-check format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

venv: $(READY)
	@:

$(READY): pyproject.toml constraints.txt
	@PYTHON=$(PYTHON) scripts/system_packages.sh run
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "error: Python 3.10 or newer is needed; say make PYTHON=/path/to/python3")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,openvino,quantize,virtualcam,window]'
	@touch $@

demo: venv
	@mkdir -p demo
	$(BIN)/deepprivacy-rt weights fetch
	$(BIN)/deepprivacy-rt anonymize samples/signing.mkv -o demo/ --overwrite \
		--preview demo/before_after.jpg --report demo/report.json
	@echo
	@echo "Anonymized clip:       demo/signing.mkv"
	@echo "Before and after:      demo/before_after.jpg"
	@echo "What was covered when: demo/report.json"

test: venv
	@PYTHON=$(PYTHON) scripts/system_packages.sh test
	@$(BIN)/deepprivacy-rt weights fetch >/dev/null
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-check: venv
	$(BIN)/deepprivacy-rt weights fetch >/dev/null
	$(BIN)/python benchmarks/check.py

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
