# Every stage is a target, every target a thin script. `make` alone prints them.
COMPETITION ?= carvana
INPUT       ?= input/$(COMPETITION)
MODELS      ?= models/$(COMPETITION)
EXP         ?= all
ENSEMBLE    ?=
FOLD        ?= all
JOBS        ?=
CLUSTER     ?=
NAME        ?=
SUBMISSION  ?=
TRUTH       ?=
ANEW        ?=
BATCH       ?=
SPREAD      ?=
PROBE       ?= 1
CONFIDENCE  ?=
CLASSES     ?=
A           ?=
B           ?=
GPU         ?=
TOP         ?=
FORMATS     ?=
TORCH_PYTHON ?=
ONLY        ?=
OUT         ?=
MESSAGE     ?=
WAIT        ?=
AGAIN       ?=
UNPACK      ?=
OWNER       ?=
SLUG        ?=
UPLOAD      ?=
TRAIN_CARS  ?= 18
TEST_CARS   ?= 6

VENV    ?= .venv
PYTHON  ?= python3
PY      := $(VENV)/bin/python
READY   := $(VENV)/.ready$(if $(GPU),-gpu)
DEV     := $(VENV)/.ready-dev
BOOKS   := $(VENV)/.ready-notebooks
STAGE    = --competition $(COMPETITION) --input "$(INPUT)" --models "$(MODELS)" --exp $(EXP) --fold $(FOLD) \
           $(if $(ENSEMBLE),--ensemble $(ENSEMBLE)) $(if $(JOBS),--jobs $(JOBS)) $(if $(CLUSTER),--cluster $(CLUSTER))
STAGES  := check-data folds train predict ensemble submission
DEMO     = COMPETITION=studio

.DEFAULT_GOAL := help
.PHONY: help setup new render check-data folds plan train predict ensemble submission check-submission score summary show \
        data submit kaggle-dataset screen report notebooks export record runs compare pseudo-labels pipeline \
        demo clean-runs test test-fast lint bench

help:  ## print this
	@echo "usage: make TARGET [COMPETITION=$(COMPETITION)] [INPUT=folder] [MODELS=folder] [EXP=a,b|all] [FOLD=0,1|all]"
	@echo
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "competitions: $(notdir $(patsubst %/dataset.py,%,$(wildcard configs/*/dataset.py)))"
	@echo "experiments of $(COMPETITION): $(filter-out dataset ensemble ensemble_%,$(basename $(notdir $(wildcard configs/$(COMPETITION)/*.py))))"

setup: $(READY)  ## make .venv with everything pinned (GPU=1: TensorFlow with CUDA)

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "PYTHON must be 3.11 or newer. Received: $$($(PYTHON) --version)"; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(if $(GPU),$(PY) -m pip install --quiet "tensorflow[and-cuda]==$$(sed -n 's/^tensorflow==\([0-9.]*\).*/\1/p' requirements.txt)")
	touch $@

$(DEV): $(READY) .ci/requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r .ci/requirements-dev.txt
	touch $@

$(BOOKS): $(READY)
	$(PY) -m pip install --quiet --disable-pip-version-check -c .ci/requirements-dev.txt -e '.[notebooks]'
	touch $@

new: $(READY)  ## look at the photos of INPUT=, write configs/COMPETITION/ (CLASSES=list of names, ANEW=1: over what is there)
	$(PY) scripts/24_new.py $(STAGE) $(if $(CLASSES),--classes "$(CLASSES)") $(if $(ANEW),--anew)

RENDERED = $(if $(filter studio_parts,$(COMPETITION)),studio_parts,studio)

render: $(READY)  ## render the demo competition (TRAIN_CARS=, TEST_CARS=; COMPETITION=studio_parts: body, glass, wheels)
	$(PY) scripts/00_render_studio.py --out "$(if $(filter command,$(firstword $(origin INPUT))),$(INPUT),input/$(RENDERED))" \
	  $(if $(filter studio_parts,$(RENDERED)),--parts) --train-cars $(TRAIN_CARS) --test-cars $(TEST_CARS) \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(CLUSTER),--cluster $(CLUSTER))

data: $(READY)  ## download what is missing of the competition from Kaggle (UNPACK=1: unpack its zips)
	$(PY) scripts/00_get_data.py $(STAGE) $(if $(UNPACK),--unpack)

check-data: $(READY)  ## check that photos, masks and csv files are whole and agree
	$(PY) scripts/01_check_data.py $(STAGE)

folds: $(READY)  ## deal the groups (cars) to folds, once
	$(PY) scripts/02_make_folds.py $(STAGE)

plan: $(READY)  ## print memory, hours, disk before they are paid; needs no photos (BATCH=, SPREAD=, PROBE=0)
	$(PY) scripts/14_plan.py $(STAGE) $(if $(BATCH),--batch $(BATCH)) $(if $(SPREAD),--spread) \
	  $(if $(filter 0,$(PROBE)),--no-probe)

train: $(READY)  ## train; goes on where it stopped (BATCH= photos a step, SPREAD=1 all GPUs a fold)
	$(PY) scripts/03_train.py $(STAGE) $(if $(BATCH),--batch $(BATCH)) $(if $(SPREAD),--spread)

predict: $(READY)  ## make out-of-fold and test maps, flips averaged (ANEW=1: delete the present ones)
	$(PY) scripts/04_predict.py $(STAGE) $(if $(FORCE),--force)

ensemble: $(READY)  ## judge the ensemble out-of-fold; keep what proves a gain (ENSEMBLE=)
	$(PY) scripts/05_ensemble.py $(STAGE)

submission: $(READY)  ## write and check the submission; goes on where it stopped (NAME=)
	$(PY) scripts/06_make_submission.py $(STAGE) $(if $(NAME),--name $(NAME))

check-submission: $(READY)  ## check any submission (SUBMISSION=, default: the newest)
	$(PY) scripts/07_check_submission.py $(STAGE) $(if $(SUBMISSION),--submission "$(SUBMISSION)")

score: $(READY)  ## score a submission (SUBMISSION=, TRUTH=csv or folder of masks)
	$(PY) scripts/08_score.py $(STAGE) $(if $(SUBMISSION),--submission "$(SUBMISSION)") $(if $(TRUTH),--truth "$(TRUTH)")

summary: $(READY)  ## print one table: Dice of experiments, ensemble and submission, seconds a stage
	$(PY) scripts/09_summarize.py $(STAGE)

show: $(READY)  ## draw a sheet of test photos with the submission's contours (SUBMISSION=)
	$(PY) scripts/12_show_masks.py $(STAGE) $(if $(SUBMISSION),--submission "$(SUBMISSION)")

screen: $(READY)  ## put the oddest test photos first, with pictures, in a page; needs no truth (TOP= photos)
	$(PY) scripts/17_screen.py $(STAGE) $(if $(TOP),--top $(TOP))

report: $(READY)  ## make one page of all that was trained and judged: scores, curves, the worst photos (TOP= a gallery)
	$(PY) scripts/18_report.py $(STAGE) $(if $(TOP),--top $(TOP))

submit: $(READY)  ## check a submission, send it to Kaggle, wait for its score (MESSAGE=, SUBMISSION=, WAIT= minutes, AGAIN=1)
	$(PY) scripts/20_submit.py $(STAGE) $(if $(SUBMISSION),--submission "$(SUBMISSION)") $(if $(AGAIN),--again) \
	  $(if $(MESSAGE),--message '$(subst ','\'',$(MESSAGE))') $(if $(WAIT),--wait $(WAIT))

kaggle-dataset: $(READY)  ## build a Kaggle dataset for offline inference, and its kernel (OWNER=, SLUG=, UPLOAD=1)
	$(PY) scripts/22_make_kaggle_dataset.py $(STAGE) $(if $(OWNER),--owner "$(OWNER)") $(if $(SLUG),--slug "$(SLUG)") \
	  $(if $(UPLOAD),--upload)

export: $(READY)  ## write the ensemble as one file for `unets mask`; for phones and other programs (FORMATS=all)
	$(PY) scripts/23_export.py $(STAGE) $(if $(FORMATS),--formats $(FORMATS))

runs: $(READY)  ## list runs: how far each is, what it reached, what it cost, at which commit
	$(PY) scripts/15_list_runs.py $(STAGE)

compare: $(READY)  ## compare two experiments photo by photo, out-of-fold (A=, B=; `ensemble`, `ensemble_x` too)
	$(PY) scripts/16_compare.py $(STAGE) --a "$(A)" --b "$(B)"

pseudo-labels: $(READY)  ## make confident test photos more training photos (NAME=, CONFIDENCE=)
	$(PY) scripts/13_make_pseudo_labels.py $(STAGE) --name "$(NAME)" $(if $(CONFIDENCE),--confidence $(CONFIDENCE)) \
	  $(if $(ANEW),--anew)

ifeq ($(origin COMPETITION),file)
notebooks: COMPETITION = studio
endif
notebooks: $(BOOKS)  ## execute the notebooks: on the demo, in place; with COMPETITION=, copies in models/ (ONLY=, OUT=)
	$(PY) scripts/25_run_notebooks.py $(STAGE) $(if $(ONLY),--only $(ONLY)) $(if $(OUT),--out "$(OUT)")

record: $(READY)  ## keep what runs and ensemble reached in docs/results/, render the page there (NAME= of the ensemble)
	$(PY) scripts/10_record.py $(STAGE) $(if $(NAME),--name $(NAME))

# One after the other, also under `make -j`: each stage reads what the one before wrote.
pipeline: $(READY)  ## everything from check-data to submission
	@set -e; for stage in $(STAGES); do $(MAKE) --no-print-directory $$stage; done

demo: $(READY)  ## render photos, train three U-Nets, write and score a submission: the whole pipeline in minutes
	$(MAKE) --no-print-directory render
	$(MAKE) --no-print-directory pipeline $(DEMO)
	$(MAKE) --no-print-directory score $(DEMO)
	$(MAKE) --no-print-directory show $(DEMO)
	$(MAKE) --no-print-directory summary $(DEMO)
	@echo "next: 'make help' prints the stages; README.md says how to bring your own photos"
	$(MAKE) --no-print-directory report $(DEMO) $(if $(TOP),,TOP=6)

clean-runs: $(READY)  ## delete runs and maps of EXP= (and FOLD=); folds and cache stay
	$(PY) scripts/11_clean_runs.py $(STAGE)

# A file stays with one worker, which trains what its tests share once.
PYTEST = $(PY) -m pytest -n $(or $(JOBS),2) --dist loadfile

test: $(DEV)  ## run all tests (JOBS=, default 2)
	$(PYTEST)

test-fast: $(DEV)  ## run the tests that train nothing
	$(PYTEST) -m "not slow"

lint: $(DEV)  ## ruff and mypy
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

bench: $(DEV)  ## speed and memory as ratios, measured in one run (TORCH_PYTHON=)
	$(PY) benchmarks/bench.py $(if $(filter command,$(firstword $(origin INPUT))),--input "$(INPUT)") \
	  $(if $(TORCH_PYTHON),--torch-python "$(TORCH_PYTHON)")
