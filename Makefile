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
ADC2021 := runs/adc2021

EXTRAS := simulation efp export onnx tflite hls dask root parquet statistics docs dev
TESTED := .[simulation,export,onnx,dask,root,parquet,statistics,dev]
# The extra efp less wasserstein, which EnergyFlow asks for and EFPs do not need: it is compiled on
# installation. What else EnergyFlow needs, jaxad needs as well.
ENERGYFLOW := energyflow>=1.3.3

.PHONY: demo adc2021 trigger test test-newest lint docs extras dist accelerator

demo: $(INSTALLED)
	$(PYTHON) train.py --config=configs/toptagging_ae.py --workdir=$(DEMO)
	$(PYTHON) evaluate.py --workdir=$(DEMO)

# $(call adc2021-run,CONFIG,NAME,FLAGS): train and evaluate runs/adc2021/NAME.
define adc2021-run
	$(PYTHON) train.py --config=configs/adc2021_$(1).py --workdir=$(ADC2021)/$(2) $(3)
	$(PYTHON) evaluate.py --workdir=$(ADC2021)/$(2)

endef
ADC2021_SHALLOW := isolation_forest one_class_svm gaussian_mixture nearest_neighbours
ADC2021_RUNS := ae challenge dense_ae vae conv_ae conv_vae rbm $(ADC2021_SHALLOW) student

# The exercise's 10 epochs are 10 x 625 steps of a million events; of 6,000 they are 40.
adc2021: $(INSTALLED)
	$(call adc2021-run,ae,ae,--config.train.epochs=1000)
	$(call adc2021-run,challenge,challenge,--config.train.epochs=1000)
	$(call adc2021-run,vae,dense_ae,--config.model.name=dense_ae)
	$(call adc2021-run,vae,vae)
	$(call adc2021-run,vae,conv_ae,--config.model.name=conv_ae)
	$(call adc2021-run,conv_vae,conv_vae)
	$(call adc2021-run,rbm,rbm)
	$(foreach name,$(ADC2021_SHALLOW),$(call adc2021-run,shallow,$(name),--config.method.name=$(name)))
	$(call adc2021-run,student,student,--config.method.teacher=$(ADC2021)/conv_ae)
	$(PYTHON) -m jaxad latency $(ADC2021_RUNS:%=$(ADC2021)/%) --out $(ADC2021)_comparison
	$(PYTHON) -m jaxad compare $(ADC2021_RUNS:%=$(ADC2021)/%) --out $(ADC2021)_comparison

# The Pareto front of bits, into runs/trigger: docs/trigger.md. `make trigger DATA=FOLDER` takes
# events of ADC2021's layout; LUTs are estimated where the extra hls is installed.
trigger: $(INSTALLED)
	$(PYTHON) -m benchmarks.front --out runs/trigger $(if $(DATA),--data '$(DATA)')

test: $(INSTALLED) lint
	JAX_PLATFORMS=cpu $(PYTHON) -m pytest --numprocesses 2 --dist loadfile

# The newest versions that pyproject.toml allows, which need Python 3.12: the first one that runs,
# since pyenv puts names of programs in the way that do not.
NEWEST := .venv-newest
NEWEST_PYTHON := $(shell for python in python3.12 $(HOME)/.pyenv/versions/3.12*/bin/python3.12; do \
  $$python --version > /dev/null 2>&1 && echo $$python && break; done)

test-newest:
ifeq ($(NEWEST_PYTHON),)
	@echo "test-newest: skipped, because there is no python3.12 here"
else
	test -x $(NEWEST)/bin/python || $(NEWEST_PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '$(TESTED)'
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --no-deps '$(ENERGYFLOW)'
	JAX_PLATFORMS=cpu $(NEWEST)/bin/python -m pytest --numprocesses 2 --dist loadfile
endif

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

# Everything about the accelerator at hand, into runs/accelerator: docs/accelerators.md. It installs
# nothing, since such a machine often has no network: the environment's Python, or the system's.
accelerator:
	$(if $(wildcard $(PYTHON)),$(PYTHON),python3) -m benchmarks.accelerator --out runs/accelerator

# The site, into site/, with the notebooks of the gallery executed on the CPU, each again after a
# change of it or of the package. They simulate into cache/, which takes minutes once.
NOTEBOOKS := $(wildcard examples/gallery/*.py)
SOURCES := $(shell find jaxad configs -name '*.py')

docs: .venv-docs/.installed $(NOTEBOOKS:examples/gallery/%.py=build/gallery/%.md)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict

build/gallery/%.md: examples/gallery/%.py $(SOURCES) | .venv-docs/.installed
	JAX_PLATFORMS=cpu JAXAD_CACHE="$${JAXAD_CACHE:-$(CURDIR)/cache}" \
	  .venv-docs/bin/python docs/site_gallery.py build/gallery $<

.venv-docs/.installed: pyproject.toml
	test -x .venv-docs/bin/python || $(BASE_PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --editable '.[docs,simulation]'
	.venv-docs/bin/python -m pip install --quiet --no-deps '$(ENERGYFLOW)'
	touch $@

# Each extra beside jaxad's own versions, in an environment that is removed: it resolves and imports.
extras:
	for extra in $(EXTRAS); do \
	  rm -rf .venv-extra && $(BASE_PYTHON) -m venv .venv-extra \
	  && .venv-extra/bin/python -m pip install --quiet ".[$$extra]" \
	  && .venv-extra/bin/python -m pip check \
	  && .venv-extra/bin/python -c "import jaxad; print('$$extra: installed')" || exit 1; \
	done; rm -rf .venv-extra

# The sdist and the wheel of a release, into dist/.
dist:
	test -x .venv-dist/bin/python || $(BASE_PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip install --quiet build
	.venv-dist/bin/python -m build --outdir dist .

# The lock leaves out wasserstein, too. An active environment keeps its own versions where they fit.
$(INSTALLED): pyproject.toml requirements.lock
ifeq ($(ENVIRONMENT),.venv)
	test -x $(PYTHON) || $(BASE_PYTHON) -m venv .venv
	$(PYTHON) -m pip install --quiet --no-deps --requirement requirements.lock
	$(PYTHON) -m pip install --quiet --no-deps --editable .
else
	$(PYTHON) -m pip install --quiet --editable '$(TESTED)'
	$(PYTHON) -m pip install --quiet --no-deps '$(ENERGYFLOW)'
endif
	touch $@
