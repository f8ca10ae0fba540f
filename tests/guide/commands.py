"""The commands of a guide and the output printed below each, and what it means that output is as printed.

A command is a fenced block `bash`; `bash exit=N` says that it ends with N. Below it stands a fenced block
`text` with what it prints, both streams as a terminal shows them; a block of `export` lines alone has none.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.runs import REPOSITORY

GUIDES = {"en": REPOSITORY / "docs" / "guide.md", "zh": REPOSITORY / "docs" / "guide.zh.md"}
FENCE = re.compile(r"^```(?P<info>[^`\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
INFO = re.compile(r"bash(?: exit=(?P<exit>\d+))?")
ELLIPSIS = "..."
# What varies from run to run, in the order tried: an identifier in hex, a number, time or date, a gap.
VARYING = re.compile(
    r"(?P<dots>\.\.\.)"
    r"|(?P<id>(?<![0-9A-Za-z])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{6,}(?![0-9A-Za-z]))"
    r"|(?P<number>(?<![\w.-])\d+(?:[.,:-]\d+)*)"
    r"|(?P<path>(?<![\w./-])[\w.-]+/(?:[\w/-]|\.(?!\.\.))*)"
    r"|(?P<gap>\s+)"
)
RULES = {"dots": ".*", "id": "[0-9a-f]+", "number": r"\d+(?:[.,:-]\d+)*", "gap": r"\s+"}


@dataclass(frozen=True, slots=True)
class Command:
    """A block of shell lines, where it stands, and what is printed below it; None for a setting."""

    line: int
    script: str
    exit_code: int
    expected: str | None

    @property
    def printed(self) -> tuple[str, int, str | None]:
        """All but where it stands."""
        return self.script, self.exit_code, self.expected


class GuideError(Exception):
    """A guide that is not written as this module's docstring says."""


def read_guide(path: Path) -> list[Command]:
    """The commands of a guide in their order; GuideError names the line that is not as it should be."""
    text = path.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    commands = []
    for number, fence in enumerate(fences):
        if not fence["info"].startswith("bash"):
            continue
        line = text.count("\n", 0, fence.start()) + 1
        info = INFO.fullmatch(fence["info"])
        if info is None:
            raise GuideError(f"{path.name}:{line}: expected `bash` or `bash exit=N`, got {fence['info']!r}")
        below = fences[number + 1] if number + 1 < len(fences) else None
        output = below["body"] if below is not None and below["info"] == "text" else None
        if (output is None) != is_setting(fence["body"]):
            raise GuideError(f"{path.name}:{line}: expected a block `text` below, or nothing but exports")
        commands.append(Command(line, fence["body"], int(info["exit"] or 0), output))
    return commands


def is_setting(script: str) -> bool:
    """Whether a block only sets variables for those after it."""
    return all(line.startswith("export ") for line in script.splitlines())


def difference(expected: str, output: str) -> str | None:
    """The first printed line that the output lacks where it should be; None when all is as printed.

    A line `...` stands for any lines, `...` in a line for any text. A number, time or date stands for any
    other, the same one twice in a line for the same; an identifier in hex for any other; a gap for any gap; a
    relative path for that path below any directory. All else is meant as it stands.
    """
    text = "".join(f"{line.rstrip()}\n" for line in output.splitlines())
    wanted = expected.splitlines()
    patterns = [line_pattern(line, f"line{number}") for number, line in enumerate(wanted)]
    if re.fullmatch("".join(patterns), text):
        return None
    for number, line in enumerate(wanted, 1):
        if not re.match("".join(patterns[:number]), text):
            return line
    return "(the end: the output goes on)"


def line_pattern(line: str, name: str) -> str:
    """The regular expression of a printed line; its groups begin with `name`."""
    if line.strip() == ELLIPSIS:
        return r"(?:.*\n)*?"
    line = line.rstrip()
    parts: list[str] = []
    groups: dict[str, str] = {}
    place = 0
    for found in VARYING.finditer(line):
        parts.append(re.escape(line[place : found.start()]))
        place = found.end()
        if found.lastgroup == "path":
            parts.append(rf"(?:\S*/)?{re.escape(found[0])}")
        elif found[0] in groups:
            parts.append(f"(?P={groups[found[0]]})")
        elif found.lastgroup == "number":
            groups[found[0]] = f"{name}_{found.start()}"
            parts.append(f"(?P<{groups[found[0]]}>{RULES['number']})")
        else:
            parts.append(RULES[str(found.lastgroup)])
    return "".join(parts) + re.escape(line[place:]) + r"\n"
