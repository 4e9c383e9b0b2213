# make demo, make test: each creates .venv on a fresh machine and reuses it afterwards. PYTHON=python3.12 picks another Python.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3 python,$(if $(shell $(name) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 13)' 2>/dev/null && echo yes),$(name))))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow chromium ffmpeg slurm test-slurm test-ray lint bench bench-data bench-reading bench-scoring bench-synthesis clean

help: ## print the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED) ## create .venv and install the project with everything its tests need

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found; name one with PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## train a small U-Net on generated songs, score it, leave audio and pictures in outputs/
	$(BIN)/python train.py experiment=demo

test: lint ## style, types and all tests, a process for each core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(INSTALLED) ## the tests that take minutes: runs that are ended again and again
	$(BIN)/python -m pytest -m slow

chromium: ## install what the tests of pages open them in; Debian or Ubuntu, as root
	command -v chromium >/dev/null || { apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends chromium; }

ffmpeg: ## install the ffmpeg that tests compare with; Debian or Ubuntu, as root
	command -v ffmpeg >/dev/null || { apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends ffmpeg; }

slurm: ## install Slurm; Debian or Ubuntu, as root
	dpkg -s slurmctld slurmd slurm-client munge >/dev/null 2>&1 || { apt-get update --quiet=2 && \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends slurmctld slurmd slurm-client munge; }

test-slurm: $(INSTALLED) slurm ## sweeps by a Slurm of two nodes that lives meanwhile on this machine; as root
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm tests/slurm

test-ray: $(INSTALLED) ## a sweep by a Ray, which it installs, in a network that has only loopback
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,ray]'
	OMP_NUM_THREADS=1 unshare --net --map-root-user sh -c 'ip link set lo up && exec $(BIN)/python -m pytest -m ray tests/sweeps/launchers'

lint: $(INSTALLED) ## style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED) ## what a training step costs, beside peers
	$(BIN)/python scripts/bench/train_step.py

bench-data: $(INSTALLED) ## how fast data comes, beside peers; needs ffmpeg
	$(BIN)/python scripts/bench/data.py

bench-reading: $(INSTALLED) ## how fast audio files are read, compared with libsndfile
	$(BIN)/python scripts/bench/reading.py

bench-scoring: $(INSTALLED) ## how fast and how exact scores are, beside museval and mir_eval
	$(BIN)/python scripts/bench/scoring.py

bench-synthesis: $(INSTALLED) ## how fast instruments play and learn, beside peers
	$(BIN)/python scripts/bench/synthesis.py

clean: ## remove .venv; what was trained and cached stays
	rm -rf $(VENV)
