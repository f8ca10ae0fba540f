"""Both guides do what they print: they print the same commands, each runs once, its output is compared."""

import configparser
import re
import time
from pathlib import Path

import pytest

from tests.guide.commands import FENCE, GUIDES, Command, difference, read_guide
from tests.guide.shell import Shell, open_shell, read_substitutions
from tests.runs import REPOSITORY

PROGRAM = re.compile(r"(?:\S+=\S+ )*(?:python|pip|bash|torchrun|timeout|vllm-launch|sbatch)\S* \S+ \S.*")


@pytest.fixture(scope="module")
def commands() -> list[Command]:
    """Of the English guide."""
    return read_guide(GUIDES["en"])


def test_both_guides_print_the_same_commands(commands: list[Command]):
    english, chinese = ([each.printed for each in read_guide(path)] for path in GUIDES.values())
    assert english == chinese
    assert len(commands) > 20


@pytest.mark.parametrize("path", GUIDES.values(), ids=GUIDES)
def test_no_command_stands_where_it_is_not_run(path: Path):
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"^```(\w*)", text, re.MULTILINE)) == {"bash", "text", ""}
    prose = FENCE.sub("", text)
    assert [words for words in re.findall(r"`([^`\n]+)`", prose) if PROGRAM.fullmatch(words)] == []


@pytest.mark.parametrize("path", GUIDES.values(), ids=GUIDES)
def test_every_link_leads_somewhere(path: Path):
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", FENCE.sub("", path.read_text(encoding="utf-8")))
    assert len(links) > 10
    for name, place in links:
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), name
        assert not place or place in anchors(there), place


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_extras_that_are_installed_exist(commands: list[Command]):
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    named = {name for each in commands for name in re.findall(r"pip install .*\[(\w+)\]", each.script)}
    assert named and named <= set(setup["options.extras_require"])


def test_every_substitution_is_made_and_has_a_reason(commands: list[Command]):
    shell = Shell(Path("/home"), read_substitutions())
    for each in commands:
        shell.substitute(each.script + (each.expected or ""))
    assert [row.printed for row in shell.substitutions if not shell.used[row.printed]] == []
    assert all(row.reason for row in shell.substitutions)


@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("vllm_in_one_process")
def test_every_command_does_what_is_printed(commands: list[Command], tmp_path: Path):
    shell = open_shell(tmp_path)
    complaints = [told for each in commands if (told := complaint(shell, each))]
    assert not complaints, "\n\n".join(complaints)


def complaint(shell: Shell, command: Command) -> str | None:
    """Runs a command; what is not as printed."""
    began = time.monotonic()
    code, output = shell.run(command)
    print(f"{time.monotonic() - began:6.1f} s  line {command.line}: {command.script.splitlines()[0]}")
    told = f"guide.md:{command.line}:\n{command.script}ended with {code} and printed\n{output}"
    if code != command.exit_code:
        return f"{told}expected {command.exit_code}"
    if command.expected is None:
        return None
    line = difference(shell.substitute(command.expected), output, is_exact=command.is_exact)
    return None if line is None else f"{told}not as printed here:\n{line}"
