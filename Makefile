# Every target is one line over the `unets` command (`unets TARGET --help` has more). `make` alone prints them.

# What a target may be given, as `make train COMPETITION=mine EXP=unet FOLD=0`. Values reach the command through the
# environment (INPUT as UNETS_INPUT), never as text of make's or the shell's: any path and any word works.
VARIABLES := COMPETITION INPUT MODELS EXP FOLD SET ENSEMBLE JOBS CLUSTER NAME OUT FORCE TOP SEED VERBOSE \
             CLASSES TRAIN_CARS TEST_CARS HEIGHT UNPACK SHEET MICRO_BATCH DATA_PARALLEL PROBE CONFIDENCE A B JSON COUNT ONLY \
             SUBMISSION GROUND_TRUTH MESSAGE WAIT AGAIN OWNER SLUG UPLOAD FORMATS NUM_IMAGES MINUTES TRACK SEEDS \
             TORCH_PYTHON PICTURE
# And these say how make itself works: V=1 shows commands, GPU=1 sets up TensorFlow with CUDA.
KNOWN := $(VARIABLES) V GPU VENV PYTHON

VENV   ?= .venv
PYTHON ?= python3
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready$(if $(GPU),-gpu)
DEV    := $(VENV)/.ready-dev
Q      := $(if $(V),,@)

ifeq ($(origin NAME),environment)
undefine NAME# some systems call the machine so
endif
GIVEN   := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$v))
UNKNOWN := $(firstword $(filter-out $(KNOWN),$(GIVEN)))
quoted   = '$(subst ','\'',$1)'
ifneq ($(UNKNOWN),)
$(error $(shell PYTHONPATH=src $(firstword $(wildcard $(PY)) $(PYTHON)) -m unets.cli.variables $(call quoted,$(UNKNOWN)) $(KNOWN)))
endif
unexport $(VARIABLES)
$(foreach v,$(VARIABLES),$(if $(value $v),$(eval export UNETS_$v = $$(value $v))))
export UNETS_MAKE := 1

STAGES  := new render pipeline demo download import data check split plan train predict runs clean pseudo-labels ensemble compare \
           summary report screen show record notebooks submission check-submission score submit \
           kaggle-dataset export
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup dump-data test fuzz test-fast lint docs bench $(STAGES)

$(STAGES): $(READY)
	$(Q)$(PY) -m unets $@

##@ start
setup: $(READY)  ## make .venv with everything pinned (GPU=1: with CUDA)
demo:            ## render, train, submit, score: all of it, in minutes
new:             ## write configs/COMPETITION/ for INPUT= (MINUTES=)
pipeline:        ## everything from import to submission
render:          ## render the demo's images (TRAIN_CARS=, TEST_CARS=)
##@ data
download:        ## fetch from Kaggle what is missing (UNPACK=1)
import:          ## read INPUT= into a table, draw masks that need it
data:            ## what there is; a picture of it (SHEET=)
dump-data: $(READY)  ## what is read, as a table and PNG masks (OUT=)
	$(Q)$(PY) -m unets data --dump "$$UNETS_OUT"
check:           ## check that images, masks and csv files agree
split:           ## split the groups (cars) into folds, once
##@ train
plan:            ## memory, hours, disk before they are paid
train:           ## train; goes on where it stopped (SET=, SEEDS=, JOBS=)
predict:         ## probability maps, out-of-fold and test (FORCE=1)
pseudo-labels:   ## confident test images as training images (NAME=)
runs:            ## how far each run is, its scores, hours, commit
clean:           ## delete runs and maps of EXP= (all: every one)
##@ evaluate
ensemble:        ## evaluate the ensemble out-of-fold (ENSEMBLE=)
compare:         ## two experiments, image by image (A=, B=, SEEDS=)
summary:         ## one table: scores and seconds a stage
report:          ## a page: scores, curves, worst images (TOP=)
screen:          ## a page: the oddest test images (TOP=)
show:            ## a sheet of test images with contours (COUNT=)
record:          ## keep results in docs/results/
notebooks: $(DEV)  ## execute the notebooks (ONLY=, OUT=)
##@ submit
submission:      ## write and check the submission (NAME=)
check-submission:  ## check any submission (SUBMISSION=)
score:           ## score it against GROUND_TRUTH=
submit:          ## send it to Kaggle, wait for its score (MESSAGE=)
kaggle-dataset:  ## a dataset and a kernel for Kaggle (UPLOAD=1)
##@ use
export:          ## the ensemble as one file for `unets mask` (FORMATS=)
##@ develop
test: $(DEV)     ## all tests (JOBS=, default 2)
	$(Q)$(PYTEST)
fuzz: $(DEV)     ## damaged files, nasty names, at random (COUNT=, default 2000)
	$(Q)FUZZ_EXAMPLES="$${UNETS_COUNT:-2000}" $(PYTEST) tests/fuzz
test-fast: $(DEV)  ## the tests that train nothing
	$(Q)$(PYTEST) -m "not slow"
lint: $(DEV)     ## ruff and mypy
	$(Q)$(PY) -m ruff format --check .
	$(Q)$(PY) -m ruff check .
	$(Q)$(PY) -m mypy
docs: $(DEV)     ## the site of docs/, in build/site
	$(Q)NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict --config-file .ci/mkdocs.yml
bench: $(DEV)    ## speed and memory, as ratios (TORCH_PYTHON=)
	$(Q)$(PY) benchmarks/bench.py $${UNETS_INPUT:+--input "$$UNETS_INPUT"} \
	  $${UNETS_TORCH_PYTHON:+--torch-python "$$UNETS_TORCH_PYTHON"}

# A file stays with one worker, which trains what its tests share once.
PYTEST = $(PY) -m pytest -n "$${UNETS_JOBS:-2}" --dist loadfile

help:
	@echo "usage: make TARGET [COMPETITION=carvana] [EXP=a,b|all] [FOLD=0,1|all]"
	@awk -F ' *## ' '/^##@/ {print "\n" substr($$0, 5)} \
	  /^[a-z-]+:.* ## / {sub(/:.*/, "", $$1); printf "  %-17s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "competitions: $(notdir $(patsubst %/dataset.py,%,$(wildcard configs/*/dataset.py)))"

$(READY): requirements.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "PYTHON must be 3.11 or newer. Received: $$("$(PYTHON)" --version)"; exit 1; }
	@echo "$(VENV): installing what requirements.txt names, one to three minutes" >&2
	$(Q)test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	$(Q)$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(Q)$(if $(GPU),$(PY) -m pip install --quiet "tensorflow[and-cuda]==$$(sed -n 's/^tensorflow==\([0-9.]*\).*/\1/p' requirements.txt)")
	$(Q)touch $@

$(DEV): $(READY) .ci/requirements-dev.txt
	$(Q)$(PY) -m pip install --quiet --disable-pip-version-check -r .ci/requirements-dev.txt
	$(Q)touch $@
