"""The reading of guides and the comparison of outputs can fail."""

from pathlib import Path

import pytest

from tests.guide.commands import Command, GuideError, difference, read_guide
from tests.guide.shell import Substitution

OUTPUT = """\
run         /tmp/x/outputs/a.run
note: 3 left
published   /tmp/x/outputs/a: 4 of 4 items done; limited
"""


@pytest.mark.parametrize(
    "printed",
    [
        OUTPUT,
        "run outputs/a.run\n...\npublished   outputs/a: 92 of 92 items done...\n",
        "...\nnote: 1,024 left\n...\n",
        "...\n",
        "run   /tmp/x/outputs/a.run\nnote: 2026-11-25 left\n...\n",
    ],
)
def test_what_is_as_printed(printed: str):
    assert difference(printed, OUTPUT) is None


@pytest.mark.parametrize(
    ("printed", "lacking"),
    [
        ("run outputs/a.run\n", "note: 3 left"),
        ("note: 3 left\n...\n", "note: 3 left"),
        ("...\nnote: three left\n...\n", "note: three left"),
        ("run outputs/b.run\n...\n", "run outputs/b.run"),
        ("...\npublished outputs/a: 5 of 4 items done...\n", None),
        ("...\npublished   outputs/a: 5 of 5 items lost...\n", "published   outputs/a: 5 of 5 items lost..."),
        ("...\nnote: 3 left\nrun...\n", "run..."),
        ("...\npublished...\nnote: 3 left\n...\n", "note: 3 left"),
        (OUTPUT + "figures\n", "figures"),
    ],
)
def test_what_is_not(printed: str, lacking: str | None):
    assert difference(printed, OUTPUT) == lacking


def test_lines_that_stand_together_are_looked_for_together():
    assert difference("...\na\nb\n...\n", "a\nx\na\nb\n") is None
    assert difference("...\na\n", "a\nx\na\n") is None
    assert difference("a\n...\na\n", "a\n") == "a"
    assert difference("a\n", "") == "a"


def test_a_number_twice_in_a_line_is_the_same_twice():
    assert difference("4 of 4 items\n", "41 of 41 items\n") is None
    assert difference("4 of 4 items\n", "40 of 41 items\n") == "4 of 4 items"


def test_numbers_that_are_meant():
    assert difference("15.0 GiB of  a/b\n...\n", "15.0 GiB of x/a/b\nmore\n", is_exact=True) is None
    assert difference("15.0 GiB\n", "15.1 GiB\n", is_exact=True) == "15.0 GiB"


def test_digits_of_a_name_are_meant_as_they_stand():
    assert difference("1 x h100, w4a16\n", "2 x h100, w4a16\n") is None
    assert difference("1 x h100\n", "1 x h200\n") == "1 x h100"
    assert difference("settings 7d7a72fe\n", "settings 0123abcd\n") is None
    assert difference("settings added\n", "settings faced\n") == "settings added"


def test_dots_after_a_path_are_any_text():
    assert difference("9 samples/min...\n", "10 samples/min, engine stub\n") is None


def test_commands_are_read_with_their_exit_and_output(tmp_path: Path):
    guide = tmp_path / "guide.md"
    guide.write_text(
        "Text\n```bash exit=2\na \\\n  b\n```\nso\n```text\nout\n```\n"
        "```bash\nb\n```\n```text exact\n2\n```\n```yaml\nx: 1\n```\n```bash\nexport A=1\n```\n"
    )
    assert read_guide(guide) == [
        Command(2, "a \\\n  b\n", 2, "out\n"),
        Command(10, "b\n", 0, "2\n", is_exact=True),
        Command(19, "export A=1\n", 0, None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nls\n```\n",
        "```bash\nls\n```\n```bash\nls\n```\n```text\na\n```\n",
        "```bash\nexport A=1\nls\n```\n",
    ],
)
def test_a_command_without_an_output_is_refused(tmp_path: Path, text: str):
    guide = tmp_path / "guide.md"
    guide.write_text(text)
    with pytest.raises(GuideError, match=r"^guide\.md:1: expected a block `text` below"):
        read_guide(guide)


def test_a_substitution_is_of_whole_words():
    row = Substitution("--output_dir outputs/a", "X", "")
    assert row.apply("--output_dir outputs/a --output_dir outputs/a-b --output_dir outputs/a.run") == (
        "X --output_dir outputs/a-b --output_dir outputs/a.run",
        1,
    )
