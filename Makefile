# `make` alone lists what can be done. Needs Python 3.11 or 3.12 and make; everything else is installed by the first target.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready
EXTRAS := --extra spark --extra trino --extra quality --extra emr --extra lineage --extra local --extra dev

# What the targets take: make run JOB=daily_etl DATE=2013-03-08 ENV=embedded PARAMS="a=1 b=2" UPSTREAM=1 CATALOG=hive
ENV ?= embedded
ARGS ?=
export SQL
# CATALOG=hive: the Hive metastore instead of Glue.
IN = $(if $(CATALOG),--set catalog.kind=$(CATALOG))

OPTIONS = --env $(ENV) $(if $(DATE),-p date=$(DATE)) $(foreach p,$(PARAMS),-p $(p)) $(if $(UPSTREAM),--upstream) $(IN) $(ARGS)

# A submit without ENV goes to the local EMR endpoint.
SUBMIT_ENV = --env $(if $(filter-out file default undefined,$(origin ENV)),$(ENV),local_emr)
SUBMIT_OPTIONS = $(SUBMIT_ENV) $(if $(DATE),-p date=$(DATE)) $(foreach p,$(PARAMS),-p $(p)) $(if $(UPSTREAM),--upstream) \
	$(if $(CLUSTER),--on $(CLUSTER)) $(if $(PRESET),--preset $(PRESET)) $(ARGS)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Jobs
.PHONY: run plan submit attach jobs lineage
run: $(READY) need-JOB ## Run a job: JOB=daily_etl [DATE=2013-03-08] [PARAMS="a=1"] [UPSTREAM=1] [ENV=embedded] [CATALOG=hive]
	@$(BIN)/emrjobs run $(JOB) $(OPTIONS)

plan: $(READY) need-JOB ## Print what a run would read, check and write: JOB=... [SUBMIT=1: what a submit would create, upload and cost]
	@$(BIN)/emrjobs plan $(or $(JOBS),$(JOB)) $(if $(SUBMIT),--submit $(SUBMIT_OPTIONS),$(OPTIONS))

submit: $(READY) need-JOB ## Run jobs as steps on EMR: JOB=... or JOBS=a,b [CLUSTER=j-..., PRESET=...] [ENV=prod; on this machine when not given]
	@$(BIN)/emrjobs submit $(or $(JOBS),$(JOB)) $(SUBMIT_OPTIONS)

attach: $(READY) ## Follow a submit: RUN=id, else the newest [ENV=prod]
	@$(BIN)/emrjobs attach $(or $(RUN),latest) $(SUBMIT_ENV)

jobs: $(READY) ## List the jobs
	@$(BIN)/emrjobs jobs

lineage: $(READY) ## Print what a job or table is made from and what is made from it: JOB=carrier_360 or TABLE=... [COLUMN=...]
	@test -n "$(JOB)$(TABLE)" || { echo "say which: make lineage JOB=carrier_360" >&2; exit 2; }
	@$(BIN)/emrjobs lineage $(or $(TABLE),$(JOB)) $(if $(COLUMN),--column $(COLUMN)) --env $(ENV) $(IN) $(ARGS)

##@ Data
.PHONY: query show tables runs logs
query: $(READY) ## Ask the tables: SQL="select ..." [ENGINE=trino] [FORMAT=csv|json; with ENGINE=trino parquet OUTPUT=file]
	@test -n "$$SQL" || { echo 'say which query: make query SQL="select * from marts.daily_performance limit 10"' >&2; exit 2; }
	@$(BIN)/emrjobs query "$$SQL" $(if $(ENGINE),--engine $(ENGINE)) $(if $(FORMAT),--format $(FORMAT)) $(if $(OUTPUT),--output $(OUTPUT)) --env $(ENV) $(IN) $(ARGS)

show: $(READY) ## Print a table: TABLE=marts.daily_performance
	@test -n "$(TABLE)" || { echo "say which table: make show TABLE=marts.daily_performance" >&2; exit 2; }
	@$(BIN)/emrjobs show $(TABLE) --env $(ENV) $(IN) $(ARGS)

tables: $(READY) ## List the tables
	@$(BIN)/emrjobs tables --env $(ENV) $(IN) $(ARGS)

runs: $(READY) ## List the runs
	@$(BIN)/emrjobs runs --env $(ENV) $(ARGS)

logs: $(READY) ## Print the log of a run: RUN=id, else of the newest
	@$(BIN)/emrjobs logs $(or $(RUN),latest) --env $(ENV)

##@ Local services
.PHONY: up down status reset
up: $(READY) ## Start the local services and load the sample data
	@$(BIN)/emrjobs local up

down: $(READY) ## Stop the local services
	@$(BIN)/emrjobs local down

status: $(READY) ## Print the state of the local services
	@$(BIN)/emrjobs local status

reset: $(READY) ## Stop the local services and delete their data
	@$(BIN)/emrjobs local reset --yes

##@ Development
.PHONY: setup test test-slow test-all test-presto conformance lint format bench crash-matrix clean need-JOB
setup: $(READY) ## Install everything into .venv

test: $(READY) lint ## Lint, type check and run the tests (under 10 minutes)
	$(BIN)/pytest -m "not slow" --durations=10

test-slow: $(READY) ## Run the slower tests only
	$(BIN)/pytest -m slow

test-all: $(READY) lint ## Run every test, but for those of test-presto
	$(BIN)/pytest

test-presto: $(READY) ## Run jobs on a PrestoDB server (fetches 2 GB once), and print what holds for it
	$(BIN)/pytest tests/conformance -m presto --conformance -q

conformance: $(READY) ## Print what holds for each engine, catalog and table layout
	$(BIN)/pytest tests/conformance --conformance -q

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY) ## Measure, and write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

crash-matrix: $(READY) ## Run the whole crash matrix, and write its counts to benchmarks/RESULTS.md (ten minutes)
	$(BIN)/python -m benchmarks crashes --rounds 1

clean: ## Stop the services, remove .venv and .local
	@test ! -x $(BIN)/emrjobs || $(BIN)/emrjobs local down || true
	rm -rf .venv .local

need-JOB:
	@test -n "$(JOB)$(JOBS)" || { echo "say which job: make $(firstword $(MAKECMDGOALS)) JOB=daily_etl" >&2; exit 2; }

# uv comes from PyPI into the project's own environment and installs what uv.lock says, and emrjobs itself.
$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 13)))' || \
		{ echo "emrjobs needs Python 3.11 or 3.12; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say another one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "could not make .venv: on Debian and Ubuntu install python3-venv" >&2; exit 2; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "installing the packages of uv.lock into .venv (about 1 GB, once)"
	@VIRTUAL_ENV=.venv $(BIN)/uv sync --frozen --compile-bytecode $(EXTRAS)
	@$(BIN)/python -m compileall -q framework jobs
	@touch $@
