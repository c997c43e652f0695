# Everything lives in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo test mutants lint lock clean

help:
	@echo "make demo   set up, meta-train two learners, meet unseen tasks, write runs/demo/report.html"
	@echo "make test   set up, run the tests"
	@echo "make mutants  break each method in turn, and see that its law notices"
	@echo "make lint   ruff and pyright"
	@echo "make lock   renew requirements.lock.txt (needs uv)"

$(STAMP): requirements.lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Adaptax needs Python 3.11, 3.12 or 3.13; this is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12")'
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

setup: $(STAMP)

demo: $(STAMP)
	@$(BIN)/adaptax reproduce demo --run runs/demo

test: $(STAMP)
	@$(BIN)/python -m pytest -n 2

mutants: $(STAMP)
	@$(BIN)/python -m pytest -n 2 -m "mutant or not mutant" tests/mutants

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

# uv.lock records a download address on nearly every line, so only its export (pins and hashes) is kept.
lock:
	uv lock
	uv export --frozen --no-emit-project --all-extras --all-groups --format requirements-txt --no-header -o requirements.lock.txt

clean:
	rm -rf $(VENV) dist build
