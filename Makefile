# Vigie: `make run` starts everything, `make test` tests everything. `make help` lists the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# Arguments for the program: make run ARGS="--port 0 --no-demo", make test ARGS="-k codec".
ARGS ?=
# An additional certificate authority for downloads: make install CA=/path/ca.pem.
CA ?=
INSTALL := sh deploy/install.sh $(if $(CA),--ca '$(CA)')
# deploy/install.sh installs programs into these folders, which a restricted PATH may lack.
export PATH := $(PATH):/usr/local/bin:/usr/sbin:/sbin:$(HOME)/.local/bin
# Always write bytecode (empty means unset): the stack is seven processes with the same modules, and compiling them
# takes as long as the rest of a start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install install-tests run test faults fuzz check audit bench bench-acoustic docs-tables \
	sample-reports register-pictures clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Install missing parts: Debian packages, uv, the Python environment
	@$(INSTALL)

# `exec` replaces the shell of the recipe by Vigie, so that it receives the signals that make forwards.
run: install ## Start the embedded stack with the demo city (Ctrl-C stops it; ARGS="--port 0 …")
	@exec .venv/bin/vigie up $(ARGS)

install-tests: ## Install missing parts, including those of the tests
	@$(INSTALL) --tests

# Three workers for two cores: many tests mostly wait.
test: install-tests ## Run the tests, with a short form of each fault (ARGS="-k name …")
	uv run --frozen pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: install-tests ## Run the long form of every fault and of random tests, 45 minutes; prints losses (ARGS="-k 07 …")
	uv run --frozen pytest tests/faults tests/integration/ingest/pipeline/test_walks_model.py -m slow $(ARGS)

fuzz: install-tests ## Fuzz the API by its OpenAPI document, as two tenants (VIGIE_FUZZ_SEED=… repeats a run)
	uv run --frozen pytest tests/integration/openapi/test_fuzz.py -m slow -s $(ARGS)

check: install ## Lint, format, types, import contracts, AsyncAPI
	uv run --frozen ruff check .
	uv run --frozen ruff format --check .
	uv run --frozen mypy
	uv run --frozen lint-imports
	uv run --frozen python -m tools.asyncapi

# --strict: a package that the index does not know counts as a failure.
audit: install ## Look for known vulnerabilities of the dependencies (needs the package index's JSON API)
	@list=$$(mktemp) && trap 'rm -f "$$list"' EXIT && \
	uv export --frozen --quiet --all-groups --no-emit-project --output-file "$$list" && \
	uv tool run pip-audit --strict --disable-pip --require-hashes --requirement "$$list"

bench: install ## Measure ingest beside others; writes docs/performance.md (ARGS="--repeat 3 …")
	uv run --frozen --group bench python -m bench $(ARGS)

docs-tables: install ## Write the generated tables of the guides and of docs/asyncapi.yaml
	uv run --frozen python -m tools.generate_docs
	uv run --frozen python -m tools.asyncapi --write

sample-reports: install-tests ## Write the sample reports of the documentation (needs pdftoppm of poppler-utils)
	uv run --frozen python -m tools.sample_reports

register-pictures: install-tests ## Take the pictures of the public register for the documentation
	uv run --frozen python -m tools.screenshots

# One thread: the arrays are small, and the figures are those of one core.
bench-acoustic: install ## Measure the localisation of simulated shots; writes docs/acoustics.md (ARGS="--shots 100 …")
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 uv run --frozen python -m bench.acoustic $(ARGS)

clean: ## Remove caches and the Python environment; measurements (.vigie) stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist tests/node/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
