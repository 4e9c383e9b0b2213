# Each target creates .venv on a fresh machine and reuses it afterwards. PYTHON=python3.12 selects another Python.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3 python,$(if $(shell $(name) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14)' 2>/dev/null && echo yes),$(name))))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
REVEAL := outputs/npm/node_modules/reveal.js/dist/reveal.js

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-docs test-all campaign campaign-quick docs course course-fast slides chromium ffmpeg slurm test-slurm test-ray lint bench bench-gpu bench-data bench-reading bench-scoring bench-synthesis clean

help: ## print the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED) ## create .venv and install the project with everything its tests need

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; name one with PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## train a small U-Net on generated songs, score it, write audio and pictures to outputs/
	$(BIN)/python train.py experiment=demo

test: lint ## style, types and the fast tests, one process per core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(INSTALLED) ## the slow tests and those of pages in a browser (if chromium is installed)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m 'slow or browser'

test-docs: $(INSTALLED) ## run every command of the docs in its smallest form
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m docs tests/docs

test-all: chromium ffmpeg $(REVEAL) test-slurm test-slow test-docs ## all other tests: Slurm, browser, slow, docs; as root on Debian or Ubuntu

campaign: $(INSTALLED) ## try every promise of docs/promises.md under faults; ended after 120 minutes
	$(BIN)/python -m tests.campaign

campaign-quick: $(INSTALLED) ## the quick form of the campaign; ended after 12 minutes
	$(BIN)/python -m tests.campaign quick

docs: $(INSTALLED) ## build the docs as a web site in outputs/site; fails on broken links
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "open outputs/site/index.html, or run $(BIN)/mkdocs serve for the search"

course: $(INSTALLED) ## execute the lessons of the course; notebooks and pages in outputs/course
	$(BIN)/python course/build.py

course-fast: $(INSTALLED) ## the same with short trainings
	$(BIN)/python course/build.py --fast

slides: $(INSTALLED) $(REVEAL) ## slide decks of the executed lessons in outputs/course/slides; needs npm
	$(BIN)/python course/slides.py

$(REVEAL):
	npm install --no-save --no-package-lock --no-audit --no-fund --prefix outputs/npm reveal.js@5.2.1

chromium: ## install chromium for the tests of pages; as root on Debian or Ubuntu
	command -v chromium >/dev/null || { apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends chromium; }

ffmpeg: ## install ffmpeg, with which tests compare decoded audio; as root on Debian or Ubuntu
	command -v ffmpeg >/dev/null || { apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends ffmpeg; }

slurm: ## install Slurm; as root on Debian or Ubuntu
	dpkg -s slurmctld slurmd slurm-client munge >/dev/null 2>&1 || { apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends slurmctld slurmd slurm-client munge; }

test-slurm: $(INSTALLED) slurm ## sweeps on a temporary Slurm of two nodes on this machine; as root
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm tests/slurm

test-ray: $(INSTALLED) ## install Ray and run a sweep on it, in a network with loopback only
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,ray]'
	OMP_NUM_THREADS=1 unshare --net --map-root-user sh -c 'ip link set lo up && exec $(BIN)/python -m pytest -m ray tests/sweeps/launchers'

lint: $(INSTALLED) ## style, docstrings and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pydoclint --quiet src
	$(BIN)/mypy

bench: $(INSTALLED) ## training speed compared with other toolkits
	$(BIN)/python scripts/bench/train_step.py

bench-gpu: $(INSTALLED) ## speed, memory and share of the peak speed of training steps on one GPU, in 8 minutes
	$(BIN)/python scripts/bench/gpu.py

bench-data: $(INSTALLED) ## data loading speed compared with other toolkits; needs ffmpeg
	$(BIN)/python scripts/bench/data.py

bench-reading: $(INSTALLED) ## how fast audio files are read, compared with libsndfile
	$(BIN)/python scripts/bench/reading.py

bench-scoring: $(INSTALLED) ## speed and exactness of scores compared with museval and mir_eval
	$(BIN)/python scripts/bench/scoring.py

bench-synthesis: $(INSTALLED) ## speed of instruments compared with other toolkits
	$(BIN)/python scripts/bench/synthesis.py

clean: ## remove .venv; keep trained runs and the cache
	rm -rf $(VENV)
