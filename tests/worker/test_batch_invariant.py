"""Batch-invariant kernels: asked of vLLM for the engine process alone, or refused in a line, not dropped."""

from pathlib import Path

import pytest

from launch.config.schema import EngineConfig, EngineKind, RunConfig
from launch.errors import EngineError
from launch.worker.engines.select import open_engine
from launch.worker.engines.vllm_settings import check_batch_invariance
from launch.worker.ladder import changed
from launch.worker.rungs import LADDER
from launch.worker.slot_environment import slot_environment
from tests.worker.engine_setups import make_setup

VARIABLE = "VLLM_BATCH_INVARIANT"
H100, T4 = (9, 0), (7, 5)


def variables(base: dict[str, str], **engine: object) -> dict[str, str]:
    config = RunConfig.model_validate({"model": {"engine": "vllm"}, "engine": engine})
    return slot_environment(config, 0, None, ["0"], base).variables


def test_the_engine_process_is_asked_and_nothing_else() -> None:
    base = {"PATH": "/bin", "TMPDIR": "/tmp"}
    assert variables(base, batch_invariant=True)[VARIABLE] == "1"
    assert VARIABLE not in variables(base) and VARIABLE not in base


def test_what_was_asked_for_wins_over_the_environment_which_else_is_the_users() -> None:
    base = {"PATH": "/bin", "TMPDIR": "/tmp", VARIABLE: "0"}
    assert variables(base, batch_invariant=True)[VARIABLE] == "1"
    assert variables(base)[VARIABLE] == "0"


@pytest.mark.parametrize("kind", [EngineKind.TRANSFORMERS, EngineKind.STUB])
def test_engines_that_do_not_have_it_do_not_start(tmp_path: Path, kind: EngineKind) -> None:
    setup = make_setup(tmp_path, kind, engine=EngineConfig(max_model_len=512, batch_invariant=True))
    with pytest.raises(
        EngineError, match=f"^engine.batch_invariant: got true, which only vLLM has, not {kind}. "
    ):
        open_engine(setup, print)


def refused(asked: bool, *, is_on: bool, device: str, capability: tuple[int, int] | None) -> str:
    with pytest.raises(EngineError) as error:
        check_batch_invariance(asked, is_on=is_on, device=device, capability=capability)
    return str(error.value)


def test_devices_that_do_not_have_it() -> None:
    assert refused(True, is_on=True, device="a CPU", capability=None) == (
        "engine.batch_invariant: got true, but vLLM has such kernels for NVIDIA GPUs of compute capability"
        " 8.0 and newer, and this is a CPU. Leave it out."
    )
    assert "and this is Tesla T4." in refused(True, is_on=True, device="Tesla T4", capability=T4)
    assert refused(False, is_on=True, device="a CPU", capability=None).startswith(f"{VARIABLE}: is set, but")


def test_a_vllm_that_was_not_reached_is_told_from_one_that_was() -> None:
    assert "did not take VLLM_BATCH_INVARIANT=1" in refused(True, is_on=False, device="H100", capability=H100)
    check_batch_invariance(True, is_on=True, device="H100", capability=H100)
    check_batch_invariance(False, is_on=True, device="H100", capability=H100)
    check_batch_invariance(False, is_on=False, device="a CPU", capability=None)


def test_no_rung_of_the_ladder_drops_it() -> None:
    settings = {rung.setting for rungs in LADDER.values() for rung in rungs if rung.setting}
    assert "batch_invariant" not in settings and "max_num_seqs" in settings
    asked = EngineConfig(batch_invariant=True)
    assert all(changed(asked, {name: None}).batch_invariant for name in ("max_num_seqs", "enforce_eager"))
