PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
EXAMPLES = --doctest-modules $(shell grep -rlF '>>> ' ice_lightning --include='*.py')   # only these are imported for it

.PHONY: install demo test test-slow test-all lint docs docs-assets real-faces

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e ".[dev,face,sweep,ui]"
	touch $@

demo: .venv/.installed
	$(BIN)/python -m ice_lightning.run criterion=skin_color

test: .venv/.installed
	$(PYTEST) -m "not slow" tests $(EXAMPLES)

test-slow: .venv/.installed
	$(PYTEST) -m slow tests

test-all: test test-slow

lint: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/.installed
	$(BIN)/python -m mkdocs build --strict

docs-assets: .venv/.installed
	$(BIN)/python docs/assets.py
	$(BIN)/python docs/notebooks/execute.py

real-faces: .venv/.installed
	$(BIN)/python experiments/real_faces/get.py
	$(BIN)/python experiments/real_faces/samples.py
	$(BIN)/python experiments/real_faces/subspaces.py
	$(BIN)/python experiments/real_faces/verdicts.py
	$(BIN)/python experiments/real_faces/changed.py
