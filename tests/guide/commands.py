"""The commands of a guide and the output printed below each, and what it means that output is as printed.

A command is a fenced block `bash`; `bash exit=N` says that it ends with N. Below it stands a fenced block
`text` with what it prints, both streams as a terminal shows them, or `text exact` where its numbers are meant
too; a block of `export` lines alone has none.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.runs import REPOSITORY

GUIDES = {"en": REPOSITORY / "docs" / "guide.md", "zh": REPOSITORY / "docs" / "guide.zh.md"}
FENCE = re.compile(r"^```(?P<info>[^`\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
INFO = re.compile(r"bash(?: exit=(?P<exit>\d+))?")
OUTPUTS = {"text": False, "text exact": True}
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
    is_exact: bool = False

    @property
    def printed(self) -> tuple[str, int, str | None, bool]:
        """All but where it stands."""
        return self.script, self.exit_code, self.expected, self.is_exact


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
        output = below["body"] if below is not None and below["info"] in OUTPUTS else None
        if (output is None) != is_setting(fence["body"]):
            raise GuideError(f"{path.name}:{line}: expected a block `text` below, or nothing but exports")
        is_exact = below is not None and OUTPUTS.get(below["info"], False)
        commands.append(Command(line, fence["body"], int(info["exit"] or 0), output, is_exact))
    return commands


def is_setting(script: str) -> bool:
    """Whether a block only sets variables for those after it."""
    return all(line.startswith("export ") for line in script.splitlines())


def difference(expected: str, output: str, *, is_exact: bool = False) -> str | None:
    """The first line of `expected` that lacks, or of the output that is too much; None if all is as printed.

    A line `...` stands for any lines, `...` in a line for any text. A number, time or date stands for any
    other, the same one twice in a line for the same; an identifier in hex for any other; a gap for any gap; a
    relative path for that path below any directory. All else is meant as it stands; with `is_exact` numbers
    and identifiers, too.
    """
    lines = [line.rstrip() for line in output.splitlines()]
    first, *others = split_at_ellipses(expected.splitlines())
    place, lacking = after(first, lines, [0], is_exact=is_exact)
    for number, part in enumerate(others, 1):
        if lacking is not None:
            return lacking
        is_end = number == len(others)
        starts = [max(place, len(lines) - len(part))] if is_end else range(place, len(lines) + 1)
        place, lacking = after(part, lines, starts, is_exact=is_exact)
    if lacking is not None:
        return lacking
    return lines[place] if place < len(lines) else None


def split_at_ellipses(lines: list[str]) -> list[list[str]]:
    """The parts between lines `...`; an empty one where such a line is the first or the last."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == ELLIPSIS:
            parts.append([])
        else:
            parts[-1].append(line)
    return parts


def after(
    part: list[str], lines: list[str], starts: Iterable[int], *, is_exact: bool
) -> tuple[int, str | None]:
    """Where `lines` go on behind the first start at which `part` stands; else its first line that lacks."""
    patterns = [re.compile(line_pattern(line, is_exact=is_exact)) for line in part]
    best = 0
    for start in starts:
        there = lines[start : start + len(part)]
        matched = [bool(each.fullmatch(line)) for each, line in zip(patterns, there, strict=False)]
        num_matched = [*matched, False].index(False)
        if num_matched == len(part):
            return start + len(part), None
        best = max(best, num_matched)
    return 0, part[best]


def line_pattern(line: str, *, is_exact: bool) -> str:
    """The regular expression of a printed line."""
    line = line.rstrip()
    parts: list[str] = []
    groups: dict[str, str] = {}
    place = 0
    for found in VARYING.finditer(line):
        parts.append(re.escape(line[place : found.start()]))
        place = found.end()
        if is_exact and found.lastgroup in {"number", "id"}:
            parts.append(re.escape(found[0]))
        elif found.lastgroup == "path":
            parts.append(rf"(?:\S*/)?{re.escape(found[0])}")
        elif found[0] in groups:
            parts.append(f"(?P={groups[found[0]]})")
        elif found.lastgroup == "number":
            groups[found[0]] = f"at{found.start()}"
            parts.append(f"(?P<{groups[found[0]]}>{RULES['number']})")
        else:
            parts.append(RULES[str(found.lastgroup)])
    return "".join(parts) + re.escape(line[place:])
