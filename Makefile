# `make run` starts LLM Mesh on this machine, `make test` runs its tests. Nothing else has to be installed first
# but Python 3.11 or newer with pip.

PYTHON ?= python3
UV := .tools/bin/uv
VENV := .venv/bin
COMPILE := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade

export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy
unexport PYTHONPATH VIRTUAL_ENV PYTHONDONTWRITEBYTECODE

ENGINES ?= engines

.PHONY: help run test chaos schemathesis test-peers engines docs lint lock bench bench-peers clean
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

run: .venv/.base ## Start everything on this machine (PORT=8000, MESH_DATA_DIR=var)
	@exec $(VENV)/python manage.py up

test: .venv/.dev ## Run the tests on SQLite, or on PostgreSQL with DB=postgres (ARGS="-k keys" picks some)
ifeq ($(DB),postgres)
	@$(VENV)/python tools/with_postgres.py $(VENV)/python -m pytest $(ARGS)
else
	@$(VENV)/python -m pytest $(ARGS)
endif

docs: .venv/.dev ## Write docs/providers.md from the registry and from what the provider tests show
	@$(VENV)/python -m pytest -p tests.providers.report -n 0 --providers-report $(ARGS)

chaos: .venv/.dev ## Break things at full length and show what held (SEED=1 plays the same again, ARGS="-k jobs" picks some)
	@$(VENV)/python tools/with_postgres.py $(VENV)/python -m pytest tests/chaos -n 0 -q -p no:randomly --long $(ARGS)

schemathesis: export EXAMPLES ?= 50
schemathesis: .venv/.dev ## Ask all that the OpenAPI document describes with good and bad data (EXAMPLES=50 of each)
	@$(VENV)/python -m pytest tests/project/test_schemathesis.py -n 0 -q -s $(ARGS)

test-peers: .venv/.dev .venv-engines/.engines ## Test against real servers of others, installed from PyPI (gigabytes; PEERS="litellm" picks some)
	@$(VENV)/python tools/peers.py $(UV) $(PEERS)

engines: .venv-engines/.$(ENGINES) ## Install what engines of transformers and LangChain need (ENGINES=vllm: of vLLM)

lint: export MESH_DATA_DIR := $(CURDIR)/.venv/lint
lint: export MESH_BASE_URL := https://mesh.example.com
lint: .venv/.dev ## Check style, types, templates, imports, dependencies, migrations and deploy settings
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/lint-imports
	$(VENV)/deptry .
	$(VENV)/djade --check --target-version 5.2 $$(find templates -name '*.html')
	$(VENV)/python -c 'import llmmesh.environment as e, os, pathlib; e.create_missing_secrets(pathlib.Path(os.environ["MESH_DATA_DIR"]))'
	$(VENV)/python manage.py makemigrations --check
	$(VENV)/python manage.py check --deploy --fail-level WARNING
	$(VENV)/mypy

lock: $(UV) ## Resolve the newest allowed versions into requirements/*.txt
	$(COMPILE) pyproject.toml -o requirements/base.txt
	$(COMPILE) pyproject.toml --group dev --constraint requirements/base.txt -o requirements/dev.txt

bench: .venv/.dev ## Measure what a call costs (ARGS="--peers" with what bench-peers installs; docs/performance.md)
	@$(VENV)/python -m bench $(ARGS)

bench-peers: .venv/.dev ## Install the servers and the profiler that the bench compares and looks with (needs npm)
	@$(VENV)/python tools/peers.py --make $(UV) litellm py-spy
	$(UV) venv --quiet --clear --python $(VENV)/python .venv-peers/production
	$(UV) pip sync --quiet --python .venv-peers/production/bin/python --require-hashes requirements/base.txt
	@mkdir -p .venv-peers/portkey && cp bench/portkey.json .venv-peers/portkey/package.json
	npm install --prefix .venv-peers/portkey --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel error

clean: ## Remove the environment; the data folder stays
	rm -rf .venv .venv-engines .venv-peers .tools

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("LLM Mesh needs Python 3.11 or newer: make run PYTHON=…")'
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action ignore --upgrade \
		--target .tools --require-hashes -r requirements/uv.txt
	@touch $@

.venv/bin/python: | $(UV)
	$(UV) venv --quiet --python $$($(PYTHON) -c 'import sys; print(sys.executable)') .venv

.venv-engines/bin/python: | $(UV)
	$(UV) venv --quiet --python $$($(PYTHON) -c 'import sys; print(sys.executable)') .venv-engines

.venv-engines/.$(ENGINES): pyproject.toml | .venv-engines/bin/python
	$(PYTHON) tools/extra.py $(ENGINES) | $(UV) pip install --python .venv-engines -r -
	@touch $@

.venv/.base: requirements/base.txt | .venv/bin/python
	@rm -f .venv/.dev
	$(UV) pip sync --require-hashes requirements/base.txt
	@touch $@

.venv/.dev: requirements/base.txt requirements/dev.txt | .venv/bin/python
	$(UV) pip sync --require-hashes requirements/dev.txt
	@touch .venv/.base $@
