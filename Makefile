PYTHON ?= python3
BIN := .venv/bin
QUICK := not browser and not slow and not serving

.DEFAULT_GOAL := help
.PHONY: help run test lint format e2e rounds starter clean

help: ## Say what can be made
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ \t/'

run: ## Start Tandem (PORT, HOST and TANDEM_HOME are honoured); Ctrl-C stops it
	@$(PYTHON) scripts/setup_env.py run
	@exec $(BIN)/python manage.py run_tandem

# Or every process that is started compiles Tandem anew.
unexport PYTHONDONTWRITEBYTECODE

# What the checks write belongs to no data folder.
test lint: export TANDEM_HOME := $(CURDIR)/build/checks
test lint: export HF_HUB_OFFLINE := 1

test: lint ## Every check, and the tests but the slow lanes of .ci/run
	$(BIN)/pytest -n 2 --dist loadgroup -m "$(QUICK)"

lint: ## Style, types, imports, templates, migrations
	@$(PYTHON) scripts/setup_env.py test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	find templates -name '*.html' -print0 | xargs -0 $(BIN)/djade --check --target-version 5.2
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/mypy

format: ## Put code and templates into their form
	@$(PYTHON) scripts/setup_env.py test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find templates -name '*.html' -print0 | xargs -0 $(BIN)/djade --target-version 5.2

# The real pairs lie beside the project; E2E=--short plays a small team.
e2e: export HF_HUB_OFFLINE := 1
e2e: ## Play a whole team through the running product, on real labels (E2E=--short: at most ten minutes)
	@$(PYTHON) scripts/setup_env.py test
	$(BIN)/python benchmarks/whole_team.py $(E2E)

rounds: export HF_HUB_OFFLINE := 1
rounds: ## Play three periodic retrainings through the running product, some hours (ROUNDS="--set demo", ROUNDS=--short)
	@$(PYTHON) scripts/setup_env.py test
	$(BIN)/python benchmarks/rounds.py $(ROUNDS)

starter: ## Train the starter judge again and take it over (an hour on two cores)
	@$(PYTHON) scripts/setup_env.py test
	$(BIN)/python -m demo.starter
	$(BIN)/python -m genrm_engine train --config genrm_engine/starter/config.json --train genrm_engine/starter/train.jsonl --out build/starter
	$(BIN)/python scripts/adopt_starter.py build/starter/judge

clean: ## Remove the environment and everything built, never the data folder
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
