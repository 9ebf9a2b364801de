# Every target works alone on a machine that has CPython 3.11 with pip, gcc and make: it first creates .venv from the
# lock, and again only where pyproject.toml or the lock changed.

PYTHON ?= $(shell for name in python3.11 python3 python; do \
  $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
# The lock pins everything but torch: docs/decisions/0005-dependencies.md says why. Another build of it:
# make install TORCH='torch==2.13.0 --index-url ...'
TORCH ?= torch==2.13.0
ARGS ?=
DATA ?= ../shared/data/ml-100k

BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
UV := uv==0.13.9
# pip needs nothing that is not there already. INSTALLER=uv gets uv first, which takes the same locks in a quarter of the
# time; what it cannot install, pip does.
INSTALLER ?= pip
UV_INSTALL = test $(INSTALLER) = uv && { test -x build/uv/bin/uv || $(PIP) install --quiet --target build/uv $(UV); } \
  && build/uv/bin/uv pip install --quiet --no-deps --require-hashes
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-emit-package torch --custom-compile-command 'make lock' --quiet

# The tools of other platforms stand in an environment of their own, on top of .venv: what both need is there once.
INTEROP := .venv-interop
INTEROP_INSTALLED := $(INTEROP)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-interop check lint format types bench figures protos lock clean

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Create .venv and install the locked dependencies into it

$(INSTALLED): pyproject.toml requirements/dev.lock
	@test -n "$(PYTHON)" || { echo "recserve needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Creating .venv with $$($(PYTHON) --version) and installing requirements/dev.lock; a minute or two ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(UV_INSTALL) --python $(BIN)/python -r requirements/dev.lock \
	  || $(PIP) install --quiet --require-hashes -r requirements/dev.lock
	@$(PIP) install --quiet $(TORCH)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "Installed: $$($(BIN)/python -m pip list 2>/dev/null | tail -n +3 | wc -l) packages."

demo: $(INSTALLED) ## Simulate a shop, train, build, serve and rank; ARGS='--data DIR' for MovieLens
	$(BIN)/recserve demo $(ARGS)

# A process a core, each with whole files, in the order of tests/conftest.py: what a file's fixtures make is made once.
test: $(INSTALLED) ## Run all tests (minutes; the first run compiles kernels); ARGS='tests/features -k hash' for some
	$(BIN)/python -m pytest $(or $(ARGS),-n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder --durations=15)

# A round trip is skipped, with the reason, where its tool is absent; the closing lines say which ran.
test-interop: $(INTEROP_INSTALLED) ## Hold importers and protocols to H2O, Spark, TensorFlow ... themselves (2 GB, Java 17)
	$(INTEROP)/bin/python -m pytest $(or $(ARGS),tests/interop -n auto --maxprocesses 4 --dist loadfile --durations=5) -m interop -rs

$(INTEROP_INSTALLED): $(INSTALLED) requirements/interop.lock
	@echo "Installing requirements/interop.lock into $(INTEROP); minutes ..."
	@test -x $(INTEROP)/bin/python || $(BIN)/python -m venv $(INTEROP)
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  > "$$($(INTEROP)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/development.pth"
	@$(UV_INSTALL) --python $(INTEROP)/bin/python -r requirements/interop.lock \
	  || $(INTEROP)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps --no-compile \
	  -r requirements/interop.lock
	@touch $@

check: lint types $(INSTALLED) ## Run what to run before a commit: lint, types and the quick tests
	$(BIN)/python -m pytest -m 'not slow' $(ARGS)

lint: $(INSTALLED) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: $(INSTALLED) ## Check types, strictly
	$(BIN)/mypy --strict src

bench: $(INSTALLED) ## Measure ranking against the flat network; ARGS='features --json FILE' for another
	$(BIN)/recserve bench $(or $(ARGS),ranking)

figures: $(INSTALLED) ## Run the demo on the shop and on MovieLens (DATA=DIR), and write the figures into the READMEs
	rm -rf runs/shop runs/ml100k
	$(BIN)/recserve demo --no-serve --out runs/shop --json runs/demo.json
	$(BIN)/recserve demo --no-serve --out runs/ml100k --data $(DATA) --json runs/ml100k.json
	$(BIN)/python -m recserve.demo.figures runs/demo.json runs/ml100k.json --readme README.md README.zh-CN.md

# The compiler stays out of .venv: it comes with a protobuf of its own, and only who changes a .proto file needs it.
protos: $(INSTALLED) ## Compile the .proto files of src/recserve/wire into its descriptors
	@test -x build/protoc/bin/python || $(PYTHON) -m venv build/protoc
	@build/protoc/bin/python -m pip install --quiet 'grpcio-tools==1.75.*'
	build/protoc/bin/python -m grpc_tools.protoc -I src/recserve/wire/protos --include_imports \
	  --descriptor_set_out=src/recserve/wire/descriptors.binpb \
	  $$(cd src/recserve/wire/protos && find * -name '*.proto' | LC_ALL=C sort)

lock: $(INSTALLED) ## Resolve dependencies into requirements/*.lock after a change of pyproject.toml; ARGS=--upgrade
	$(PIP) install --quiet $(UV)
	$(BIN)/$(COMPILE) --extra train --extra text --extra remote --extra otel --extra dev --output-file requirements/dev.lock $(ARGS)
	$(BIN)/$(COMPILE) --constraint requirements/dev.lock --output-file requirements/serve.lock $(ARGS)
	$(BIN)/$(subst pyproject.toml,requirements/interop.in,$(COMPILE)) --constraint requirements/dev.lock \
	  $$(sed -nE '/platform/!s/^([a-z0-9.-]+)==.*/--no-emit-package \1/p' requirements/dev.lock | sort -u) \
	  --output-file requirements/interop.lock $(ARGS)

clean: ## Remove .venv, caches and compiled kernels
	rm -rf .venv .venv-interop .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
