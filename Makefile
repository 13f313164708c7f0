# Every target does its own set-up: `make demo` and `make test` need only python3 (3.11 or newer, with venv), make and git.
# Written for GNU make 3.81 (macOS) and newer.

PYTHON    ?= python3
VENV      := .venv
BIN       := $(VENV)/bin
STAMP     := $(VENV)/.installed
DEMO_DIR  ?= docs
BENCH_DIR ?=
BENCH_FILES ?= 8000
BENCH_MB  ?= 100
TESTS     ?= tests
PYTEST    := $(BIN)/python -m pytest
LOCK      := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
             --no-emit-index-url --no-emit-find-links --no-annotate --no-header

# Three keep two cores busy: the journeys wait for the processes that they start. Each takes up to 0.8 GB.
WORKERS   ?= 3

.PHONY: help setup demo test check serve bench image-test deploy-test prove release lock clean format lint types imports docs
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1 @ \2/p' Makefile | tr '@' '\t'

setup: $(STAMP)  ## make .venv and install the pinned packages

# The locked packages are checked against their hashes; the package itself is then linked in with the pinned build backend.
# Bytecode is compiled now, so that the first run (and one under PYTHONDONTWRITEBYTECODE=1) starts as fast as the next.
$(STAMP): requirements/dev.txt pyproject.toml scripts/check_python.py
	@$(PYTHON) scripts/check_python.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q src
	@touch $(STAMP)

demo: $(STAMP)  ## walk the five journeys on a real folder (DEMO_DIR=path)
	$(BIN)/python scripts/demo.py "$(DEMO_DIR)"

test: $(STAMP)  ## run every test (TESTS=tests/search for some)
	$(PYTEST) -n $(WORKERS) --inline-snapshot=disable $(TESTS)

check: lint types imports docs test  ## format, lint, types, imports, docs and tests: all that a change must pass

format: $(STAMP)  ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)  ## formatting and lint rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)  ## mypy --strict
	$(BIN)/mypy

imports: $(STAMP)  ## who may import whom
	$(BIN)/lint-imports

docs: $(STAMP)  ## the generated pages are up to date, the links hold, and the site is built into build/site
	$(BIN)/python scripts/promises.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	$(PYTEST) -q tests/repository/test_documentation.py

serve: $(STAMP)  ## start the cloud service here, with its data in ./satchel-data
	$(BIN)/satchel serve

bench: $(STAMP)  ## measure, on generated text or on BENCH_DIR=path; figures also in build/bench/*.json
	@mkdir -p build/bench
	@test -n "$(BENCH_DIR)" || test -d build/bench/fresh || \
	    $(BIN)/python bench/corpus.py fresh build/bench/fresh --files $(BENCH_FILES) --megabytes $(BENCH_MB)
	@for script in search startup sync api auth reads traces fairness seal verify store checkpoints; do \
	    echo "==> bench/$$script.py"; \
	    $(BIN)/python bench/$$script.py "$(or $(BENCH_DIR),build/bench/fresh)" --json build/bench/$$script.json || exit 1; \
	done
	@echo "==> bench/nodes.py" && $(BIN)/python bench/nodes.py --json build/bench/nodes.json

image-test: $(STAMP)  ## build the image and walk the journeys against a container that is held hard (buildah, podman)
	$(BIN)/python scripts/image_test.py

deploy-test: $(STAMP)  ## chart, manifests, compose file and alerts against the tools that read them
	$(BIN)/python scripts/deploy_test.py

prove: $(STAMP)  ## show that the guards bite: what was planted, and how much of it was caught
	WORKERS=$(WORKERS) $(BIN)/python scripts/prove.py

release: $(STAMP)  ## build, check and measure what a release consists of, into dist/ (CONTRIBUTING.md tells the rest)
	$(BIN)/python scripts/release.py

lock: $(STAMP)  ## renew requirements/*.txt from pyproject.toml
	$(LOCK) --upgrade --extra server --extra aws-kms --extra keyring --extra otel --group dev -o requirements/dev.txt
	$(LOCK) --constraint requirements/dev.txt --extra server --extra otel -o requirements/server.txt
	$(LOCK) --constraint requirements/dev.txt -o requirements/base.txt
	$(subst pyproject.toml,--group pyproject.toml:build,$(LOCK)) --constraint requirements/dev.txt -o requirements/build.txt

clean:  ## remove what `make` and the tools made (never satchel-data)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
