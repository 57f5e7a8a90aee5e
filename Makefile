# make reproduce: everything from an empty directory to the report; make test: the tests. Needs Python 3.11 or newer.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
CORES ?= all
FAMILIES ?= all
TEST_PROCESSES ?= auto
PYTHON ?= $(shell command -v python3.11 || command -v python3)
INSTALLED := $(VENV)/.installed
PIP := "$(VENV)/bin/pip" install --quiet --quiet --disable-pip-version-check
DEMO := $(VENV)/.demo
DOCS := $(VENV)/.docs
TESTS := $(VENV)/.tests
export PATH := $(abspath $(VENV))/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

$(INSTALLED): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@echo "installing the pinned packages into $(VENV) (about two minutes)"
	@"$(PYTHON)" -m venv "$(VENV)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps -e .
	@touch "$@"

.PHONY: install
install: $(INSTALLED)  ## the environment in .venv, from requirements.lock

.PHONY: reproduce
reproduce: $(INSTALLED)  ## every step that is not up to date, then the table of results
	PYTHONPATH="workflow/progress$${PYTHONPATH:+:$$PYTHONPATH}" snakemake --cores $(CORES) --logger lines
	flmm record
	flmm report --show

.PHONY: rehearse
rehearse: $(INSTALLED)  ## the paper's suite in small, before the real thing (make rehearse FAMILIES=llava,gemma3 for some)
	python -m rehearsal --work rehearsed --families $(FAMILIES) --cores $(CORES)
	python -m rehearsal.times --out rehearsed/times.json

$(DEMO): $(INSTALLED) requirements-demo.lock
	@echo "installing what the web demo needs"
	@$(PIP) --no-deps --require-hashes -r requirements-demo.lock
	@touch "$@"

.PHONY: install-demo
install-demo: $(DEMO)  ## what the web demo needs beside it, from requirements-demo.lock

$(TESTS): $(DEMO) requirements-test.lock
	@echo "installing what more tests need"
	@$(PIP) --no-deps --require-hashes -r requirements-test.lock
	@touch "$@"

.PHONY: install-test
install-test: $(TESTS)  ## what the tests need beside it, from requirements-test.lock

.PHONY: demo
demo: $(DEMO)  ## the web demo: talk about pictures in the browser
	flmm app

$(DOCS): $(INSTALLED) requirements-docs.lock
	@echo "installing what the documentation needs"
	@$(PIP) --no-deps --require-hashes -r requirements-docs.lock
	@touch "$@"

.PHONY: docs
docs: $(DOCS)  ## the documentation as a site in site/, from docs/ and requirements-docs.lock; warnings are errors
	NO_MKDOCS_2_WARNING=1 mkdocs build
	@echo "site/index.html"

.PHONY: pull
pull: $(INSTALLED)  ## results that somebody published: make pull REMOTE=<address or folder> (docs/workflow.md)
	@test -n "$(REMOTE)" || { echo "say where from: make pull REMOTE=<address or folder>"; exit 2; }
	@test -f dvc.lock || { echo "this commit names no published results (it has no dvc.lock): check out a release"; exit 2; }
	dvc remote add --local --force --quiet published "$(REMOTE)"
	dvc pull --remote published
	flmm track
	dvc status

.PHONY: test
test: $(INSTALLED)  ## all tests (make test PYTEST="-m 'not pipeline'" for the fast ones)
	OMP_NUM_THREADS=1 pytest --numprocesses $(TEST_PROCESSES) --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST)

.PHONY: check
check: $(INSTALLED)  ## linters and types
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check workflow
	.ci/snakemake-lint

.PHONY: clean
clean:  ## remove what the pipeline, `make rehearse` and `make docs` wrote; keeps the environment, the DVC cache and the MLflow store
	rm -rf .snakemake cache data logs rehearsed results reports site
