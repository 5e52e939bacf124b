# make            lists the targets
# make reproduce  rebuilds every figure and the page with all of them and the ledger (PROFILE=quick|laptop|evening|paper)

PROFILE ?= laptop
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
BOOK_VENV := $(VENV)-book
BOOK_STAMP := $(BOOK_VENV)/.installed
SHARE ?= 1

ifneq ($(words $(PROFILE)) $(filter-out quick laptop evening paper,$(PROFILE)),1 )
$(error PROFILE=$(PROFILE): must be quick, laptop, evening or paper)
endif
ifneq ($(words $(VENV)),1)
$(error VENV=$(VENV): must be one folder, without spaces)
endif
ifneq ($(origin PYTHON),file)
ifeq ($(shell command -v $(firstword $(PYTHON)) 2>/dev/null),)
$(error PYTHON=$(PYTHON): no such program, name a Python of at least 3.11, as in make PYTHON=python3.12)
endif
endif
ifeq ($(filter $(or $(DRY_RUN),0),0 1),)
$(error DRY_RUN=$(DRY_RUN): must be 0 or 1)
endif

# The figures of each notebook; tests/contracts/test_notebooks.py checks this list against what the notebooks save.
FIGURES_00-start-here := neuron flip-rule small-network trained-network
FIGURES_01-latent-weights := magnitude scale
FIGURES_02-gradients-over-time := direction size
FIGURES_03-memory := step timeline growth
FIGURES_04-how-accurate := tuning accuracy curves
FIGURES_05-more-time-steps := accuracy
FIGURES_06-how-sensitive := gamma betas
FIGURES_07-speech := clips accuracy confusion
FIGURES_08-regret := average tracking products coin
FIGURES_09-flips := rate layers gaps accuracy
FIGURES_10-events := cloud frames accuracy order
FIGURES_11a-scale := network phases memory
FIGURES_11b-several-gpus := communication
FIGURES_12a-fast := step growth
FIGURES_12b-small := operations
FIGURES_13-paper-and-code := accuracy
FIGURES_14-same-digits := machines accuracy
FIGURES_15-regret-rates := bounds momentum independent coin slopes network flips tracking
FIGURES_16-what-matters := ancestors steps ladder
FIGURES_99-ledger := verdicts

EXPERIMENTS := 00-start-here 01-latent-weights 02-gradients-over-time 03-memory 04-how-accurate 05-more-time-steps \
    06-how-sensitive 07-speech 08-regret 09-flips 10-events 11a-scale 11b-several-gpus 12a-fast 12b-small \
    13-paper-and-code 14-same-digits 15-regret-rates 16-what-matters
NOTEBOOKS := $(EXPERIMENTS) 99-ledger
BUILD := build/$(PROFILE)
ifeq ($(PROFILE),evening)
# Everything is computed and kept as evidence; the committed figures stay as they are.
FIGURES := build/evening
export BSO_FIGURES := $(CURDIR)/build
export BSO_KEEP_EVIDENCE := 1
else
FIGURES := figures/$(PROFILE)
endif
pictures = $(foreach figure,$(FIGURES_$(1)),$(FIGURES)/$(1)-$(figure).png)

# Memory given back to the system after each operation would cost a third of a small training step.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 8589934592
# Under make -j two notebooks share the cores: threads that wait for each other would only cost them time.
shared_cores = $(if $(filter -j%,$(MAKEFLAGS)),OMP_NUM_THREADS=1)

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help env lab reproduce notebooks exercises book dry-run test torture lint bench tune arithmetic machines coin checksum \
    evening vouch gpu-check clean FORCE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo
	@echo "  PROFILE=quick (minutes), laptop (default: from the evidence, first seeds that took at most two minutes anew) or paper (CUDA, the real data sets, days)"

env: $(STAMP) ## create the environment in .venv from requirements.lock

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --requirement requirements.lock
	$(RUN) -m pip install --quiet --no-deps --editable .
	@touch $@

lab: env ## open the notebooks in JupyterLab
	$(VENV)/bin/jupyter lab notebooks

reproduce: $(foreach notebook,$(NOTEBOOKS),$(call pictures,$(notebook))) ## rebuild every figure and the ledger of PROFILE
ifeq ($(PROFILE),laptop)
	@$(RUN) -m bso_lib.companion.gallery --profile laptop
endif
	@$(RUN) notebooks/run.py --compared $(PROFILE)
	@echo "figures and ledger of profile $(PROFILE): $(FIGURES)"

# The library's code without comments and docstrings: its date changes when what it does changes, and only then.
build/code: $(STAMP) FORCE
	@$(RUN) -m bso_lib.experiment.fingerprint $@
FORCE:

$(BUILD)/%.ipynb: notebooks/%.ipynb notebooks/profiles/$(PROFILE).yaml notebooks/run.py build/code $(STAMP)
	$(shared_cores) $(RUN) notebooks/run.py $* --profile $(PROFILE)

$(BUILD)/04-how-accurate.ipynb $(BUILD)/05-more-time-steps.ipynb $(BUILD)/09-flips.ipynb $(BUILD)/12b-small.ipynb \
    $(BUILD)/16-what-matters.ipynb: notebooks/tuning/fashion-mini.csv
$(BUILD)/07-speech.ipynb: notebooks/tuning/spoken-mini.csv
$(BUILD)/10-events.ipynb: notebooks/tuning/fashion-events.csv
$(BUILD)/14-same-digits.ipynb: notebooks/evidence/arithmetic.csv notebooks/evidence/machines.csv
$(BUILD)/15-regret-rates.ipynb: notebooks/evidence/random-threshold.csv
# They come with the notebooks; one that is deleted is computed.
notebooks/evidence/arithmetic.csv:
	@$(MAKE) --no-print-directory arithmetic
notebooks/evidence/machines.csv:
	@$(MAKE) --no-print-directory machines
notebooks/evidence/random-threshold.csv:
	@$(MAKE) --no-print-directory coin
$(BUILD)/12a-fast.ipynb $(BUILD)/12b-small.ipynb: $(wildcard figures/bench/*.csv)

ifeq ($(PROFILE),paper)
# Of its rivals the paper gives no settings: they are searched at its scale, in a tenth of its epochs, by one run at a time.
$(BUILD)/04-how-accurate.ipynb $(BUILD)/09-flips.ipynb $(BUILD)/12b-small.ipynb \
    $(BUILD)/16-what-matters.ipynb: $(BUILD)/tuning/cifar10.csv
$(BUILD)/07-speech.ipynb: $(BUILD)/tuning/speech-commands.csv
$(BUILD)/10-events.ipynb: $(BUILD)/tuning/dvs-cifar10.csv
$(BUILD)/tuning/cifar10.csv: TUNED := --time-steps 6 --augment crop flip cutout \
    --methods "STE + BPTT" "STE + OTTT" "Bop + BPTT" "STE + Adam" "BOLD"
$(BUILD)/tuning/speech-commands.csv: TUNED := --time-steps 4 --methods "STE + OTTT"
$(BUILD)/tuning/dvs-cifar10.csv: TUNED := --time-steps 10 --augment crop --methods "STE + OTTT"
$(BUILD)/tuning/%.csv: $(STAMP)
	@mkdir -p $(@D)
	$(RUN) -m bso_lib.sweep.tuning --out $(@D)/.$*.csv --dataset $* --width 1 --epochs 40 --batch-norm shared \
	    --schedule constant --arithmetic float32 $(TUNED)
	@cp $(@D)/.$*.csv $@
endif

# The ledger reads what the other notebooks recorded.
$(BUILD)/99-ledger.ipynb: $(foreach notebook,$(EXPERIMENTS),$(call pictures,$(notebook)))

# A notebook writes its figures itself; one that is missing although its notebook is up to date is made again.
define figure_rule
$(FIGURES)/$(1)-$(2).png: $(BUILD)/$(1).ipynb
	@test -f $$@ || $$(shared_cores) $(RUN) notebooks/run.py $(1) --profile $(PROFILE)
	@touch $$@
endef
$(foreach notebook,$(NOTEBOOKS),$(foreach figure,$(FIGURES_$(notebook)),$(eval $(call figure_rule,$(notebook),$(figure)))))

# The longest begin. 12a takes the time of steps, which wants the machine to itself.
LONG := 14-same-digits 15-regret-rates 03-memory 09-flips
notebooks: $(addprefix refresh/,$(LONG) $(filter-out $(LONG) 12a-fast,$(NOTEBOOKS))) ## run the committed notebooks on their evidence and store the outputs in them
	@$(RUN) notebooks/run.py 12a-fast --refresh

refresh/%: $(STAMP)
	@$(shared_cores) $(RUN) notebooks/run.py $* --refresh

exercises: env ## write the exercises without their solutions (build/exercises)
	@$(RUN) notebooks/exercises/students.py

$(BOOK_STAMP): docs/book/requirements.lock
	$(PYTHON) -m venv $(BOOK_VENV)
	$(BOOK_VENV)/bin/python -m pip install --quiet --requirement docs/book/requirements.lock
	@touch $@

book: env $(BOOK_STAMP) ## build the book from the committed notebooks (build/book/index.html), to read without a network
	$(RUN) docs/book/assemble.py build/book-source
	rm -rf build/book
	$(BOOK_VENV)/bin/sphinx-build --quiet --fail-on-warning --keep-going -d build/book-doctrees build/book-source build/book
	$(RUN) docs/book/check.py build/book

dry-run: env ## take a few steps of every notebook of the paper profile, on random data, to find what would fail days later
	@rm -rf build/dry-run
	@$(MAKE) --no-print-directory -j2 $(addprefix dry-run/,$(EXPERIMENTS))
	@$(MAKE) --no-print-directory dry-run/99-ledger
	@rm -rf build/dry-run

dry-run/%:
	@$(shared_cores) DRY_RUN=1 $(RUN) notebooks/run.py $* --profile paper

test: env ## pass the tests, the notebooks' outputs (nbval) included
	OMP_NUM_THREADS=1 GOMP_SPINCOUNT=1000 $(RUN) -m pytest --numprocesses 2 --dist loadfile

torture: env ## inject every fault of docs/faults.md as often as it says (SHARE=0.1: a tenth)
	TORTURE=$(SHARE) OMP_NUM_THREADS=1 GOMP_SPINCOUNT=1000 $(RUN) -m pytest tests/faults -p no:nbval --override-ini addopts=-ra

lint: env ## check the style
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check bso_lib tests docs notebooks/run.py notebooks/exercises/students.py

bench: env ## measure steps and inference, beside the convolutions alone and other libraries (figures/bench)
	$(RUN) -m bso_lib.bench --out figures/bench

FOUR := --methods "FP, OTTT" "STE + OTTT" "BSO" "T-BSO"

TUNE := $(RUN) -m bso_lib.sweep.tuning --processes $$(nproc)

tune: env ## choose each method's settings on validation data again, at the scale they are used at (a few hours)
	$(TUNE) --out notebooks/tuning/fashion-mini.csv
	$(TUNE) --out notebooks/tuning/fashion-events.csv --dataset fashion-events --time-steps 10 --width 0.0625 \
	    --epochs 2 --train-size 1000 --batch-size 50 $(FOUR)
	$(TUNE) --out notebooks/tuning/spoken-mini.csv --dataset spoken-mini --time-steps 4 --width 0.0625 --epochs 3 \
	    --train-size 2000 --batch-size 64 $(FOUR)

arithmetic: env ## add to the comparison of exact with float32 arithmetic what it lacks (ten seeds, hours)
	$(RUN) -m bso_lib.sweep.arithmetic --out notebooks/evidence/arithmetic.csv

machines: env ## add the exact runs that the table of machines lacks (an hour)
	$(RUN) -m bso_lib.sweep.machines --out notebooks/evidence/machines.csv

coin: env ## train a small network with a random threshold again, beside BSO and T-BSO (half an hour)
	$(RUN) -m bso_lib.regret.network_study --out notebooks/evidence/random-threshold.csv

checksum: env ## compute one fixed exact run and print its SHA-256, the one in README on every machine
	@$(RUN) -m bso_lib.experiment.checksum

evening: env ## compute every run and keep it as evidence (8 h, resumable; deletes nothing; figures in build/evening)
	@test -d notebooks/evidence/runs || rm -f build/evening/*.ipynb
	@$(MAKE) --no-print-directory PROFILE=evening $(EXPERIMENTS:%=build/evening/%.ipynb)
	@$(RUN) -m bso_lib.experiment.vouch --sample 0

VOUCH ?= --sample 3 --budget 60

vouch: env ## compute a few runs of the evidence again, past the cache, and compare (VOUCH="--sample 3 --budget 60")
	@$(RUN) -m bso_lib.experiment.vouch $(VOUCH)

gpu-check: env ## show in five minutes what only a GPU can: CUDA tests, memory, speed, the same bits (build/gpu-check.md)
	$(RUN) -m bso_lib.bench.gpu_check

clean: ## delete what is built: build/, figures/quick, figures/notebook (not the environment)
	rm -rf build figures/quick figures/notebook
