.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run run-cloud install compiled test check pictures bench bench-soak soak audit sbom format lock clean packages static

# The interpreter to make the environment with: PYTHON3=/path/to/python make install. Unset, a suitable one is looked for.
PYTHON3 ?=
# Options of `make run`, `make bench` and `make bench-soak`: make run ARGS="--verbose"
ARGS ?=
# Where the bill of materials goes.
SBOM ?= build/sbom.json

PYTHON := .venv/bin/python
# Say which lock file the environment was last installed from; `make run` is content with either.
RUN_INSTALLED := .venv/run.installed
DEV_INSTALLED := .venv/dev.installed
# One worker for each core; a module stays together, since it shares its services.
PYTEST := $(PYTHON) -m pytest -n auto --dist loadfile
# npm writes this file when it has installed what package-lock.json names.
NODE_INSTALLED := node_modules/.package-lock.json
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUN_INSTALLED) ## run all of it on this machine and print the page's address
	@$(PYTHON) -m local_cloud $(ARGS)

run-cloud: $(RUN_INSTALLED) ## the same in production mode, with stand-ins for Azure (Debian's redis-server and nginx)
	@scripts/install_debian_packages.sh redis-server nginx
	@$(PYTHON) -m local_cloud.cloud $(ARGS)

install: $(DEV_INSTALLED) ## make .venv with the locked packages, those for development too

compiled: $(DEV_INSTALLED) ## compile the relay's hot path where it is not; the relay runs without, but slower
	@scripts/install_debian_packages.sh $$($(PYTHON) -m scripts.compile_relay --lacking)
	@$(PYTHON) -m scripts.compile_relay

test: packages static compiled $(NODE_INSTALLED) ## install what is missing, Debian packages too, then run all but the soak
	PURE_PYTHON=1 $(PYTEST) tests/relay
	$(PYTEST) -p tests.named_tests

check: static compiled ## lint, types, page tests and the fast tests
	$(PYTEST) -m "not (end_to_end or browser or soak)"

pictures: packages $(DEV_INSTALLED) $(NODE_INSTALLED) ## take the README's pictures of the page again
	$(PYTHON) -m pytest -q tests/browser/test_gallery.py -k "hearing or speaking or denied"
	cp screenshots/light-1100-hearing.png docs/pictures/hearing.png
	cp screenshots/dark-1100-speaking.png docs/pictures/speaking.png
	cp screenshots/light-390-denied.png docs/pictures/blocked.png

bench: compiled ## measure what a relayed message costs, beside nginx and other relays (about 15 minutes)
	@scripts/install_debian_packages.sh redis-server nginx libjemalloc2
	@$(PYTHON) -m bench $(ARGS)

bench-soak: compiled ## a thousand live sessions for five minutes on two cores
	@scripts/install_debian_packages.sh redis-server libjemalloc2
	@$(PYTHON) -m bench.soak $(ARGS)

soak: compiled ## run the tests that take minutes, the image's steps among them
	@scripts/install_debian_packages.sh debootstrap
	$(PYTHON) -m pytest -m soak

packages:
	@scripts/install_debian_packages.sh chromium espeak-ng sox redis-server nginx fonts-dejavu-core firefox-esr pulseaudio libjemalloc2 \
		$$(command -v node >/dev/null || echo nodejs) $$(command -v npm >/dev/null || echo npm) $$(command -v curl >/dev/null || echo curl)

static: $(DEV_INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	scripts/test_frontend.sh

audit: $(DEV_INSTALLED) ## ask for known weaknesses of the locked packages; says when nobody could be asked
	@$(PYTHON) -m scripts.audit_packages

sbom: $(DEV_INSTALLED) ## write the bill of materials of what is installed to run it (CycloneDX)
	@mkdir -p $(dir $(SBOM))
	@$(PYTHON) -m cyclonedx_py requirements requirements.lock --output-reproducible --of JSON -o $(SBOM)

format: $(DEV_INSTALLED) ## format the code and sort the imports
	$(PYTHON) -m ruff check --fix-only --select I .
	$(PYTHON) -m ruff format .

lock: $(DEV_INSTALLED) ## refresh the locked versions from pyproject.toml
	.venv/bin/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml --extra local -o requirements.lock
	.venv/bin/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml --extra local --group dev -c requirements.lock -o requirements-dev.lock
	.venv/bin/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-header --group build -c requirements-dev.lock -o requirements-build.lock
	for name in litellm plot; do .venv/bin/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-header bench/$$name.in -o bench/$$name.lock; done

clean: ## remove the environment, the caches and what was built
	rm -rf .venv .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis node_modules build dist *.egg-info relay/__compiled__
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(NODE_INSTALLED): package-lock.json
	@echo "Installing the tests' packages for Node into node_modules"
	@npm ci --silent --ignore-scripts --no-audit --no-fund && touch $@

$(PYTHON):
	@PYTHON3='$(PYTHON3)' scripts/make_environment.sh

$(RUN_INSTALLED): requirements.lock | $(PYTHON)
	@echo "Installing the locked packages into .venv"
	@$(PIP_INSTALL) -r requirements.lock
	@touch $@

$(DEV_INSTALLED): requirements-dev.lock | $(PYTHON)
	@echo "Installing the locked packages, those for development too, into .venv"
	@$(PIP_INSTALL) -r requirements-dev.lock
	@touch $(RUN_INSTALLED) $@
