# `make demo` and `make test` set up all they need: in the active environment if there is one,
# else in .venv, with the versions of requirements.lock.

ifneq ($(VIRTUAL_ENV),)
  ENVIRONMENT := $(VIRTUAL_ENV)
else ifneq ($(CONDA_PREFIX),)
  ENVIRONMENT := $(CONDA_PREFIX)
else
  ENVIRONMENT := .venv
endif
BASE_PYTHON := $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
PYTHON := $(ENVIRONMENT)/bin/python
INSTALLED := $(ENVIRONMENT)/.jaxad-installed
DEMO := runs/demo

.PHONY: demo test lint

demo: $(INSTALLED)
	$(PYTHON) train.py --config=configs/toptagging_ae.py --workdir=$(DEMO)
	$(PYTHON) evaluate.py --workdir=$(DEMO)

test: $(INSTALLED) lint
	JAX_PLATFORMS=cpu $(PYTHON) -m pytest --numprocesses 2 --dist loadfile

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

# The lock leaves out wasserstein, which EnergyFlow asks for and EFPs do not need: it is compiled
# on installation. An active environment keeps its own versions where they fit.
$(INSTALLED): pyproject.toml requirements.lock
ifeq ($(ENVIRONMENT),.venv)
	test -x $(PYTHON) || $(BASE_PYTHON) -m venv .venv
	$(PYTHON) -m pip install --quiet --no-deps --requirement requirements.lock
	$(PYTHON) -m pip install --quiet --no-deps --editable .
else
	$(PYTHON) -m pip install --quiet --editable '.[simulation,dev]'
endif
	touch $@
