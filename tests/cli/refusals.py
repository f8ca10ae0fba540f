"""What every refusal has in common: exit 2, one line, nothing half-written."""

from pathlib import Path

from tests.cli.commands import PREFIX, single_node, vllm_launch

EMPTY_PARENTS = {Path("outputs"), Path("outputs/runs")}


def contents(directory: Path) -> set[Path]:
    """Everything below a directory, hidden ones too, save the empty directories that hold runs."""
    return {path.relative_to(directory) for path in directory.rglob("*")} - EMPTY_PARENTS


def refusal(
    here: Path, *words: str | Path, prefix: str = PREFIX, program: str | None = None, **environment: str
) -> str:
    """The one line with which a command is refused in `here`, which is written HERE; it leaves nothing.

    The command is one of vllm-launch, or `program` of the single-node ones.
    """
    before = contents(here)
    if program is None:
        said = vllm_launch(*words, cwd=here, **environment)
    else:
        said, prefix = single_node(program, *words, cwd=here, **environment), f"{program}: "
    assert said.code == 2, said.err
    assert len(said.errors) == 1, said.err
    assert said.out == ""
    assert contents(here) == before, "left something behind"
    assert said.errors[0].startswith(prefix)
    return said.errors[0].removeprefix(prefix).replace(str(here), "HERE")
