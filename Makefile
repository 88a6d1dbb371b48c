# The two commands are `make demo` and `make test`; both set up all they need. `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
BASE ?=
BENCH ?= admission burst
BUILD ?= docker
BUILD_FLAGS ?=
VALUES ?=
VARIANT ?= cuda
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: kind-up kind-demo kind-down manifests test-cluster lock images help setup binaries radosgw prometheus demo down test test-s3 compute-lane broker-lane cluster-lane check-rights lint types layers generate check-generated unit integration trainer faults faults-inputs faults-random faults-outages e2e bench clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Create .venv with everything (PyTorch is the large part)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@echo "Installing Python packages into $(VENV) (minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

binaries: setup ## Build or find the control plane's binaries
	@$(BIN)/collabspace local build

radosgw: setup ## Fetch the S3 server that tests use, where apt is at hand; nothing is installed
	@$(BIN)/python tests/debian_packages.py radosgw

prometheus: setup ## Fetch Prometheus for the tests of alerts and dashboards, in the same way
	@$(BIN)/python tests/debian_packages.py prometheus

demo: binaries ## Start a cluster and train on the data of two hospitals (DATA=folder, BASE=folder for real ones)
	@$(BIN)/python examples/hospitals/demo.py $(if $(DATA),--data '$(DATA)') $(if $(BASE),--base '$(BASE)')

down: setup ## Stop the demo's cluster and remove its state
	@$(BIN)/collabspace local down --wipe --name demo

test: lint types layers check-generated binaries radosgw prometheus ## All checks and all tests but benchmarks
	@# Three lanes of about the same length side by side: one computes, the others mostly wait. Tests of the broker
	@# share no control plane with others: they forge pods, and lift the policies against that. The e2e tests come last,
	@# when the machine has become quieter: they keep time as a person does.
	@rm -rf build/rights
	@$(MAKE) --no-print-directory --jobs=3 compute-lane broker-lane cluster-lane
	@$(BIN)/python tests/check_rights.py

compute-lane:
	$(BIN)/pytest tests/unit tests/contract tests/trainer tests/faults tests/integration/cli | sed -u 's/^/[compute] /'

broker-lane:
	$(BIN)/pytest $(addprefix tests/integration/,broker store) | sed -u 's/^/[broker] /'
	$(BIN)/pytest $(addprefix tests/integration/,api local node) | sed -u 's/^/[node] /'

cluster-lane:
	$(BIN)/pytest tests/integration/operator | sed -u 's/^/[cluster] /'
	$(BIN)/pytest tests/e2e | sed -u 's/^/[e2e] /'

check-rights: setup ## Compare what the tests that ran asked of the API server with the rights that are given
	@$(BIN)/python tests/check_rights.py

test-cluster: setup prometheus ## The chart on a real node (kubelet, containerd, policies), where its scripts are beside the project
	$(BIN)/pytest tests/cluster

test-s3: binaries radosgw ## Stores and access with every broker on a real S3 server: as gateway, then with links
	COLLABSPACE_TEST_STORE=s3 $(BIN)/pytest $(addprefix tests/integration/,broker store)
	COLLABSPACE_TEST_STORE=s3-redirect $(BIN)/pytest tests/integration/broker

lint: setup ## Style
	$(BIN)/ruff check --no-cache . # a cached verdict does not know that a module has moved
	$(BIN)/ruff format --check .

types: setup ## mypy --strict
	$(BIN)/mypy

layers: setup ## Who may import whom
	$(BIN)/lint-imports

generate: setup ## Write the generated files: trainer catalogue, CRDs, reference pages
	$(BIN)/python -m collabspace_trainer.describe > operator/collabspace/api/catalogue.json.new
	mv operator/collabspace/api/catalogue.json.new operator/collabspace/api/catalogue.json
	$(BIN)/python -m collabspace.api.crd crds
	$(BIN)/python -m collabspace.api.docs docs/reference
	$(BIN)/python -m collabspace.chart.main charts/collabspace docs/reference

check-generated: setup ## Fail when a generated file is not current
	@work=$$(mktemp -d) && trap 'rm -rf $$work' EXIT && mkdir $$work/crds $$work/docs \
	&& $(BIN)/python -m collabspace_trainer.describe > $$work/catalogue.json && $(BIN)/python -m collabspace.api.crd $$work/crds \
	&& diff $$work/catalogue.json operator/collabspace/api/catalogue.json && diff -r $$work/crds crds \
	&& $(BIN)/python -m collabspace.api.docs $$work/docs && $(BIN)/python -m collabspace.chart.main $$work/chart $$work/docs \
	&& for page in $$work/docs/*; do diff $$page docs/reference/$$(basename $$page) || exit 1; done \
	&& diff -r $$work/chart/files charts/collabspace/files && diff $$work/chart/values.schema.json charts/collabspace/values.schema.json \
	&& echo "generated files are current" || { echo "generated files are stale: run make generate"; exit 1; }

LOCK := $(BIN)/uv pip compile --quiet --constraint constraints.txt --generate-hashes --no-annotate --no-header \
  --python-version 3.11 --python-platform x86_64-manylinux_2_28

lock: setup ## Write the images' requirements anew from constraints.txt, with hashes and without the index's address
	$(LOCK) pyproject.toml --extra operator --extra broker --extra s3 --extra postgresql -o operator/requirements.txt
	$(LOCK) trainer_image/requirements.in -o trainer_image/requirements.txt
	echo setuptools | $(LOCK) - -o build-requirements.txt

images: ## Build both images (PYTHON_IMAGE=base, VARIANT=cpu for trainers without GPU, BUILD=podman, BUILD_FLAGS such as a mirror needs)
	$(BUILD) build $(BUILD_FLAGS) -f operator/Dockerfile -t collabspace/operator:$(VERSION) $(if $(PYTHON_IMAGE),--build-arg BASE=$(PYTHON_IMAGE)) .
	$(BUILD) build $(BUILD_FLAGS) -f trainer_image/Dockerfile -t collabspace/trainer:$(VERSION) --build-arg VARIANT=$(VARIANT) $(if $(PYTHON_IMAGE),--build-arg BASE=$(PYTHON_IMAGE)) .

manifests: setup ## The chart as build/manifests.yaml, for kubectl without helm (VALUES=file, as for helm -f)
	@test -n '$(VALUES)' || { echo "VALUES is empty; name a file of values, as in docs/install.md"; exit 1; }
	@$(BIN)/python -m collabspace.chart.manifests charts/collabspace '$(VALUES)' build/manifests.yaml

kind-up: ## Cluster in Docker containers with chart, Prometheus and Grafana (docker, kind, kubectl, helm on the PATH)
	@examples/kind/kind.sh check
	@$(MAKE) --no-print-directory images BUILD=docker VARIANT=cpu
	@examples/kind/kind.sh up $(VERSION)

kind-demo: kind-up setup ## The demo on that cluster
	@$(BIN)/python examples/hospitals/demo.py --kubeconfig build/kind/kubeconfig

kind-down: ## Remove that cluster
	@examples/kind/kind.sh down

unit: setup ## The fast tests
	$(BIN)/pytest tests/unit tests/contract

integration: binaries radosgw ## Tests on the real API server
	$(BIN)/pytest tests/integration

trainer: setup ## Real training of small models
	$(BIN)/pytest tests/trainer

faults: binaries ## Fault plans: every fault at every write and watch event (FAULTS="--sample 1600" for a part, hours for all)
	$(BIN)/python tests/faults/run.py $(FAULTS)

faults-inputs: binaries ## Bad inputs: the whole corpus in three ways, and 2,000 generated ones (10 minutes)
	$(BIN)/python tests/faults/inputs/run.py --generated 2000 --seed 1

STEPS ?= 500
SEEDS ?= 1-20

faults-random: binaries ## Random steps under random faults, judged by an observer (STEPS=500 SEEDS=1-20: an hour)
	$(BIN)/python tests/faults/random_steps.py --steps $(STEPS) --seeds $(SEEDS)

faults-outages: binaries ## API server, etcd, store and ledger away for up to 5 minutes each (25 minutes)
	$(BIN)/python tests/faults/outages.py

e2e: binaries ## Every folder of examples/, from start to end
	$(BIN)/pytest tests/e2e

bench: binaries ## Measure (BENCH=name: burst, writes, rate, life, scale, noisy, scarce, baseline, peers, admission, broker, takeover)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(if $(filter broker takeover,$(BENCH)),$(BIN)/python tests/bench/$(BENCH).py,$(BIN)/python tests/bench/run.py $(BENCH))

clean: ## Remove the virtual environment and caches of tools
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
