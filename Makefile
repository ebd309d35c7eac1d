# Every target sets up .venv first; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3; do \
	$$p -c 'import sys,sysconfig; sys.exit(not ((3,10) <= sys.version_info[:2] <= (3,12) and sysconfig.get_config_var("Py_ENABLE_SHARED")))' \
	2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
EXPANDED := build/verifier_03b
TORCH := torch==2.13.0
CPU_WHEELS := https://download.pytorch.org/whl/cpu
DOCKER ?= docker
COMPOSE ?= $(DOCKER) compose

.PHONY: help setup demo serve test test-deploy test-compose base-images bench bench-adaptive bench-collab bench-peers bench-disaggregated train lint format clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 21

setup: $(VENV)/.ready  ## make .venv: torch (a CPU build where there is no GPU), Triton, this package

$(VENV)/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "setup: no Python 3.10, 3.11 or 3.12 with a libpython shared library was found; set PYTHON=..."; exit 1; }
	@echo "setup: making $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then \
		echo "setup: an NVIDIA GPU is here: installing $(TORCH) with CUDA"; $(BIN)/pip install -q $(TORCH); \
	else \
		echo "setup: no NVIDIA GPU: installing the CPU build of $(TORCH)"; \
		$(BIN)/pip install -q --extra-index-url $(CPU_WHEELS) $(TORCH)+cpu 2>/dev/null || $(BIN)/pip install -q $(TORCH); \
	fi
	@echo "setup: installing cospec with Triton, load tests and developer tools"
	@$(BIN)/pip install -q -e '.[server,tracing,loadtest,dev]'
	@touch $@

demo: setup  ## start a server, stream five answers, compare speculation off and on
	$(BIN)/python -m loadtests.demo

serve: setup  ## serve on ports 8000 (HTTP), 8001 (gRPC), 8002 (metrics) until Ctrl-C
	$(BIN)/cospec-server serve

test: setup  ## every test, those on a live server included; test-deploy and test-compose need programs of others
	$(BIN)/python -m pytest -q

# Programs that are installed in .venv count too.
test-deploy: export PATH := $(CURDIR)/$(BIN):$(PATH)
test-deploy: setup  ## alerts, panels and manifests of deploy/ as Prometheus' and Kubernetes' own programs read them
	@command -v promtool >/dev/null || { echo "test-deploy: 'promtool' is missing; install Debian's package prometheus"; exit 1; }
	@command -v kubectl >/dev/null || { echo "test-deploy: 'kubectl' is missing; install it from kubernetes.io, or with $(BIN)/pip install -e '.[deploy]'"; exit 1; }
	$(BIN)/python -m pytest -q deploy/checks

test-compose: setup  ## build the image and run docker-compose.yml for real: serve, load, monitor, kill, drain, take down
	@$(DOCKER) info >/dev/null 2>&1 || { echo "test-compose: no Docker daemon answers '$(DOCKER) info'; start one (dockerd)"; exit 1; }
	@$(COMPOSE) version >/dev/null 2>&1 || { echo "test-compose: '$(COMPOSE)' is missing; install the compose plugin, or set COMPOSE=docker-compose"; exit 1; }
	DOCKER="$(DOCKER)" COMPOSE="$(COMPOSE)" WHEELS="$(WHEELS)" $(BIN)/python -m pytest -x -v deploy/acceptance

base-images:  ## for test-compose where no container registry is reached: the images it starts from, made with debootstrap
	deploy/bases/build.sh

.PHONY: loadtest loadtest-sweep loadtest-ui
loadtest: setup  ## two minutes of load, judged by loadtests/slo.yaml; LOAD="--url host:8001 --rate 20" to change it
	$(BIN)/python -m loadtests run $(LOAD)

loadtest-sweep: setup $(EXPANDED)/config.json  ## the highest rate that attains the objectives: off, fixed lengths, auto
	$(BIN)/python -m loadtests sweep --verifier-weights $(EXPANDED) --slo loadtests/slo_costly.yaml --start 2 --duration 30 --precision 0.15 $(LOAD)

loadtest-ui: setup  ## Locust's web UI on port 8089, with a live report
	$(BIN)/python -m loadtests ui $(LOAD)

bench: setup  ## measure all modes; writes loadtests/results/bench.{json,md,png}
	$(BIN)/python -m loadtests.bench

bench-collab: setup $(EXPANDED)/config.json  ## measure what each part of cooperation brings; QUICK=1 for a look
	$(BIN)/python -m loadtests.collab $(if $(QUICK),--quick) --verifier-weights $(EXPANDED)

bench-adaptive: setup $(EXPANDED)/config.json  ## compare how much to draft by ours and by others' rules, at every load; QUICK=1 for a look
	$(BIN)/python -m loadtests.adaptive $(if $(QUICK),--quick) --verifier-weights $(EXPANDED)

bench-peers: setup $(PEERS)/.ready $(EXPANDED)/config.json  ## measure beside OpenVINO GenAI and transformers; QUICK=1 for a look
	$(BIN)/python -m loadtests.peers $(if $(QUICK),--quick) --verifier-weights $(EXPANDED)

bench-disaggregated: setup  ## drafters in a server of their own over gRPC beside BLS; QUICK=1 for a look
	$(BIN)/python -m loadtests.disaggregated $(if $(QUICK),--quick)

$(EXPANDED)/config.json: model_repository/verifier/1/weights/model.safetensors | setup
	@echo "making $(EXPANDED): a verifier that costs what real ones cost"
	@rm -rf $(EXPANDED)
	$(BIN)/cospec-server expand --parameters 0.3e9 --out $(EXPANDED)

# optimum-intel asks for torchvision, which PyPI builds for CUDA: beside a CPU torch its import fails, and no text model needs it.
$(PEERS)/.ready: loadtests/peer_requirements.txt
	@echo "bench-peers: making $(PEERS) with OpenVINO GenAI"
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install -q --extra-index-url $(CPU_WHEELS) $(TORCH)+cpu 2>/dev/null || $(PEERS)/bin/pip install -q $(TORCH)
	@$(PEERS)/bin/pip install -q -r loadtests/peer_requirements.txt
	@$(PEERS)/bin/pip uninstall -q -y torchvision
	@touch $@

train: setup  ## train the bundle: make train CORPUS=train.jsonl.gz VALIDATION=valid.jsonl.gz
	@test -n "$(CORPUS)" -a -n "$(VALIDATION)" || { echo "usage: make train CORPUS=train.jsonl VALIDATION=valid.jsonl"; exit 1; }
	$(BIN)/cospec-server train --corpus $(CORPUS) --validation $(VALIDATION)

lint: setup  ## ruff, mypy, and config.pbtxt up to date
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/cospec-server render --check

format: setup  ## let ruff format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:  ## remove .venv and caches
	rm -rf $(VENV) $(PEERS) build .pytest_cache .ruff_cache .mypy_cache
