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

.PHONY: help install install-server install-tests run test faults fuzz check audit bench bench-acoustic bench-scale docs docs-tables \
	sample-reports register-pictures vendor sbom advisories clients release rehearse-server rehearse-containers \
	rehearse-chart rehearse-restore rehearse-monitoring rehearse-upgrade rehearse-failover rehearse-patroni-restore rehearse-cluster rehearse-cluster-upgrade \
	rehearse-fleet rehearse-soak rehearse-qgis cluster clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Install missing parts: Debian packages, uv, the Python environment
	@$(INSTALL)

install-server: ## Install Vigie as services of this machine, as root (ARGS="--name vigie.example.com …"; ARGS=--dry-run)
	@$(INSTALL) --server $(ARGS)

# `exec` replaces the shell of the recipe by Vigie, so that it receives the signals that make forwards.
run: install ## Start the embedded stack with the demo city (Ctrl-C stops it; ARGS="--port 0 …")
	@exec .venv/bin/vigie up $(ARGS)

# It installs the missing Debian packages of a cluster itself.
cluster: install ## Run the demo city on three machines behind haproxy, as root (ARGS="--port 8000 --minutes 5 --keep")
	@exec uv run --frozen python -m tools.clusters $(ARGS)

install-tests: ## Install missing parts, including those of the tests
	@$(INSTALL) --tests

# Three workers for two cores: many tests mostly wait.
test: install-tests ## Run the tests, with a short form of each fault (ARGS="-k name …")
	uv run --frozen pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

rehearse-server: install-tests ## Install a server in a machine of systemd-nspawn, break and check it; as root, 4 minutes
	uv run --frozen python -m tools.rehearsals.server $(ARGS)

faults: install-tests ## Run the long form of every fault and of random tests, 45 minutes; prints losses (ARGS="-k 07 …")
	uv run --frozen pytest tests/faults tests/integration/ingest/pipeline/test_walks_model.py -m slow $(ARGS)

fuzz: install-tests ## Fuzz the API by its OpenAPI document, as two tenants (VIGIE_FUZZ_SEED=… repeats a run)
	uv run --frozen pytest tests/integration/openapi/test_fuzz.py -m slow -s $(ARGS)

check: install ## Lint, format, types, import contracts, AsyncAPI, guides
	uv run --frozen ruff check .
	uv run --frozen ruff format --check .
	uv run --frozen mypy
	uv run --frozen lint-imports
	uv run --frozen python -m tools.asyncapi
	uv run --frozen python -m tools.guides
	uv run --frozen python -m tools.monitoring --check

# --strict: a package that the index does not know counts as a failure.
audit: install ## Look for known vulnerabilities of the dependencies (needs the package index's JSON API)
	@list=$$(mktemp) && trap 'rm -f "$$list"' EXIT && \
	uv export --frozen --quiet --all-groups --no-emit-project --output-file "$$list" && \
	uv tool run pip-audit --strict --disable-pip --require-hashes --requirement "$$list"

bench: install ## Measure ingest beside others; writes docs/performance.md (ARGS="--repeat 3 …")
	uv run --frozen --group bench python -m bench $(ARGS)
	uv run --frozen python -m tools.generate_docs

docs: install ## Build the guides into build/guides; a warning or a broken link fails
	uv run --frozen python -m tools.guides

rehearse-monitoring: install-tests ## Rehearse monitoring on real parts, a minute: rules, dashboards, alerts, a trace
	uv run --frozen python -m tools.rehearsals.monitoring

docs-tables: install ## Write the generated tables of the guides and of docs/asyncapi.yaml
	uv run --frozen python -m tools.monitoring
	uv run --frozen python -m tools.generate_docs
	uv run --frozen python -m tools.asyncapi --write

rehearse-qgis: install-tests ## Load SensorThings in QGIS without a display, and draw it (needs Debian's qgis, python3-qgis)
	uv run --frozen python -m tools.rehearsals.qgis $(ARGS)

rehearse-restore: install-tests ## Lose a stack under load, restore it to a moment, damage a backup; three minutes
	TMPDIR=/tmp uv run --frozen python -m tools.rehearsals.restore

rehearse-upgrade: install-tests ## Upgrade a version under load, and go back; four minutes (ARGS="--from COMMIT")
	TMPDIR=/tmp uv run --frozen python -m tools.rehearsals.upgrade $(ARGS)

rehearse-failover: install-tests ## Lose database hosts under Patroni and load, as root; four minutes
	TMPDIR=/tmp uv run --frozen python -m tools.rehearsals.failover $(ARGS)

rehearse-patroni-restore: install-tests ## Back up three database hosts over failovers, restore moments and all, as root; six minutes
	TMPDIR=/tmp uv run --frozen python -m tools.rehearsals.patroni_restore

rehearse-cluster: install-tests ## Kill, suspend and cut off each part of three machines under load, as root (ARGS="--only log-leader:kill")
	TMPDIR=/tmp uv run --frozen python -m tools.clusters.kill_drill $(ARGS)

rehearse-cluster-upgrade: install-tests ## Upgrade three machines one after the other under load, as root; six minutes (ARGS="--from COMMIT")
	TMPDIR=/tmp uv run --frozen python -m tools.clusters.rolling_upgrade $(ARGS)

rehearse-fleet: install-tests ## Lose a machine with thousands of boxes that use TLS, as root; eight minutes (ARGS="--boxes 2000")
	TMPDIR=/tmp uv run --frozen python -m tools.clusters.fleet_reconnect $(ARGS)

rehearse-soak: install-tests ## Load everything for an hour, and draw memory and delays (ARGS="--minutes 60")
	TMPDIR=/tmp uv run --frozen --group bench python -m tools.rehearsals.soak $(ARGS)

sample-reports: install-tests ## Write the sample reports of the documentation (needs pdftoppm of poppler-utils)
	uv run --frozen python -m tools.sample_reports

register-pictures: install-tests ## Take the pictures of register and console for the documentation
	uv run --frozen python -m tools.screenshots

vendor: install-tests ## Fetch the scripts of other projects that pages load, from npm (ARGS="--check")
	uv run --frozen python -m tools.vendor_scripts $(ARGS)

sbom: install ## Write the list of components, dist/vigie-VERSION.cdx.json (CycloneDX)
	uv run --frozen python -m tools.supply_chain.sbom $(ARGS)

advisories: install-tests ## Write and validate the statements on vulnerabilities, dist/csaf (CSAF 2.0)
	uv run --frozen python -m tools.supply_chain.advisories $(ARGS)

clients: install-tests ## Build the client packages for Python and TypeScript into dist/clients
	uv run --frozen python -m tools.client_packages $(ARGS)

release: install-tests ## Build, sign and tag a release (VERSION=0.3.0 KEY=~/.ssh/vigie_release)
	uv run --frozen python -m tools.release '$(VERSION)' $(if $(KEY),--key '$(KEY)') $(ARGS)

# One thread: the arrays are small, and the figures are those of one core.
bench-acoustic: install ## Measure the localisation of simulated shots; writes docs/acoustics.md (ARGS="--shots 100 …")
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 uv run --frozen python -m bench.acoustic $(ARGS)

bench-scale: install-tests ## Measure three machines and the cost of boxes, as root, ten minutes; writes docs/scale.json and its page
	TMPDIR=/tmp uv run --frozen python -m bench.box_costs
	TMPDIR=/tmp uv run --frozen python -m bench.cluster_load
	uv run --frozen python -m tools.generate_docs
	uv run --frozen python -m tools.scale_picture

rehearse-containers: install ## Build the images, and bring compose.yaml up with podman (as root; ARGS="--ca /path/ca.pem")
	uv run --frozen python -m tools.rehearsals.containers $(ARGS)

rehearse-chart: install ## Render the Helm chart and check its manifests (as root; ARGS=--write writes them)
	uv run --frozen python -m tools.rehearsals.chart $(ARGS)

clean: ## Remove caches and the Python environment; measurements (.vigie) stay
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist tests/node/node_modules clients/typescript/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
