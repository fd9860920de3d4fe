.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lock: ## refresh the locked versions from pyproject.toml
	.venv/bin/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml --extra local -o requirements.lock
	.venv/bin/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml --extra local --group dev -c requirements.lock -o requirements-dev.lock
