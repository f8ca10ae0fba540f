"""A later submission may have another max_model_len, unless that is another model."""

import json
from pathlib import Path

import pytest

from launch.config.schema import RunConfig
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_run, load_submission, run_config
from launch.rundir.sharing import Place
from launch.rundir.submissions import open_submission
from tests.models import make_tiny_llama
from tests.worker.build_run import build_run


def asked(run: RunPaths, max_model_len: int) -> RunConfig:
    config = run_config(load_run(run), load_submission(run, 1))
    engine = config.engine.model_copy(update={"max_model_len": max_model_len})
    return config.model_copy(update={"engine": engine})


@pytest.mark.parametrize(("engine", "is_refused"), [("vllm", True), ("stub", False)])
def test_not_beyond_the_length_at_which_vllm_computes_otherwise(
    tmp_path: Path, engine: str, is_refused: bool
) -> None:
    model = make_tiny_llama(tmp_path / "model", num_layers=1, num_heads=2, num_kv_heads=1)
    config = json.loads((model / "config.json").read_text())
    config["rope_scaling"] = {"rope_type": "longrope", "original_max_position_embeddings": 600}
    (model / "config.json").write_text(json.dumps(config))
    run = build_run(tmp_path, model={"engine": engine, "checkpoint": model})  # 512 tokens
    open_submission(run, asked(run, 601), Place(1001, None, 0))  # nothing has run yet
    run.attempt(1, 0, 0).root.mkdir(parents=True)
    open_submission(run, asked(run, 600), Place(1001, None, 0))
    if is_refused:
        with pytest.raises(RunError) as found:
            open_submission(run, asked(run, 601), Place(1001, None, 0))
        assert str(found.value) == (
            "engine.max_model_len: the run began with 512, got 601, and vLLM computes this model otherwise"
            " above 600. Write a number at most 600, or submit a new run."
        )
    else:
        open_submission(run, asked(run, 601), Place(1001, None, 0))
    assert len(list_submissions(run)) == (3 if is_refused else 4)
