# Two commands do everything on a fresh machine: `make demo` and `make test`. Each makes its own virtual environment
# from the lock file first.
PYTHON ?= python3
VENV ?= .venv
DIR ?= demo
ROUNDS ?= 6
BIN = $(VENV)/bin
EXPORT = uv export --quiet --frozen --no-hashes --no-emit-project --no-header --no-annotate

.PHONY: demo test lint slow docs notebook lock clean

demo: $(VENV)/.ready
	$(BIN)/rounds demo $(DIR) --rounds $(ROUNDS)

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow and not label_studio"

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

notebook: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	$(BIN)/python -m handbook.notebook --check

slow: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "slow or label_studio"

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
	  { echo "Python 3.11 to 3.14 is needed, $(PYTHON) is another; use: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

lock:
	uv lock
	$(EXPORT) --extra test --output-file requirements.lock
	$(EXPORT) --only-group docs --only-group release --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) demo build dvc_plots .pytest_cache .mypy_cache .ruff_cache .hypothesis
