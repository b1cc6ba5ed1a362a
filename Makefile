# `make demo`, `make test`, `make lint`: each makes .venv by itself when it is not there.
# The Python that makes it: 3.11 to 3.13 (`make demo PYTHON=python3.12`).
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
RUN := $(VENV)/bin/python
SEED ?= 0
TOY := toy$(if $(filter-out 0,$(SEED)),_$(SEED))
DEMO := --cfg_file cfgs/toy.yaml --set run.seed=$(SEED) run.name=$(TOY) data.root=data/$(TOY)

SEEDS ?= 0 1 2

.PHONY: demo seeds test test-oldest kill fuzz bench licences lint types clean-demo

demo: $(VENV)/.run-ready
	$(RUN) pre_process/prepare_dataset.py --name toy --toy --seed $(SEED) --output data/$(TOY)
	$(RUN) pre_process/extract_samples.py $(DEMO) --workers 2
	$(RUN) ml_memAE_sc_train.py $(DEMO)
	$(RUN) train.py $(DEMO)
	$(RUN) finetune.py $(DEMO)
	$(RUN) eval.py --model_save_path runs/$(TOY)/finetune/last.pth --set data.root=data/$(TOY)

# The demo with several seeds, then mean and deviation.
seeds: $(foreach s,$(SEEDS),seed_$(s))
	$(RUN) -m benchmarks.seeds $(foreach s,$(SEEDS),runs/toy$(if $(filter-out 0,$(s)),_$(s))/finetune)

seed_%:
	$(MAKE) demo SEED=$*

# One thread a program: two with two threads each on two cores would wait for each other.
test: $(VENV)/.test-ready
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist worksteal

# The same tests on the oldest libraries allowed, in an environment of its own (7 GB).
test-oldest: $(OLDEST)/.test-ready
	$(OLDEST)/bin/python -m pytest -n 2 --dist worksteal

# Kills every program a hundred times (about five minutes): docs/robustness.md.
kill: $(VENV)/.test-ready
	$(RUN) -m tests.robustness.harness.kill --kills 100 --seed $(SEED)

# Ten thousand damaged and hostile files: docs/robustness.md.
fuzz: $(VENV)/.test-ready
	$(RUN) -m tests.robustness.harness.fuzz --cases 10000 --seed $(SEED)

# The speed table, ours beside a plain implementation: docs/speed.md.
bench: $(VENV)/.run-ready
	$(RUN) -m benchmarks.run --all

licences: $(VENV)/.test-ready
	$(RUN) -m benchmarks.licences > docs/dependencies.md

lint: $(VENV)/.test-ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(MAKE) types

types: $(VENV)/.test-ready
	$(RUN) -m mypy

clean-demo:
	rm -rf data/$(TOY) runs/$(TOY)

# The stamps are written last, so an interrupted installation is done again.
$(VENV)/.run-ready: requirements.txt
	test -x $(RUN) || $(PYTHON) -m utils.installation check
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -r requirements.txt
	$(RUN) -m utils.installation mend
	touch $@

$(VENV)/.test-ready: requirements-dev.txt requirements.txt
	test -x $(RUN) || $(PYTHON) -m utils.installation check
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -r requirements-dev.txt
	$(RUN) -m utils.installation mend
	touch $@

$(OLDEST)/.test-ready: requirements-oldest.txt requirements-dev.txt requirements.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m utils.installation check
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -r requirements-oldest.txt
	$(OLDEST)/bin/python -m utils.installation mend
	touch $@
