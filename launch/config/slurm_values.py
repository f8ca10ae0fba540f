"""What a value must look like to reach sbatch: words, times, memory, names of further options.

Sources: sbatch(1) of Slurm 22.05 for the forms of --time and --mem. sbatch takes any unambiguous beginning
of a long option, so the beginning of an option that is ours is refused as well.
"""

import json
import re
import shlex
from collections.abc import Iterable

from launch.config.wording import found

SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86400
TIME_FORMS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (r"(\d+)", (MINUTE,)),
    (r"(\d+):(\d+)", (MINUTE, SECOND)),
    (r"(\d+):(\d+):(\d+)", (HOUR, MINUTE, SECOND)),
    (r"(\d+)-(\d+)", (DAY, HOUR)),
    (r"(\d+)-(\d+):(\d+)", (DAY, HOUR, MINUTE)),
    (r"(\d+)-(\d+):(\d+):(\d+)", (DAY, HOUR, MINUTE, SECOND)),
)
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
YAML_MARKS = re.compile(r"[\[\]{},'\"#:&*!|>%@`]|[-?](\s|$)")
PRICE = r"\d+(\.\d+)? [A-Z]{3}"
OPTIONS_OF_OURS = (
    "array output error input open-mode job-name signal requeue no-requeue dependency kill-on-invalid-dep"
    " comment parsable wrap chdir wait test-only quiet export export-file get-user-env nodes ntasks"
    " ntasks-per-node ntasks-per-gpu clusters cluster"
).split()
FIELD_OF_OPTION = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "time": "time",
    "mem": "mem",
    "cpus-per-task": "cpus_per_task",
}
FIELD_OF_TASK_OPTION = FIELD_OF_OPTION | {
    "exclusive": "exclusive",
    "gres": "gpus_per_task, gpu_type and gpu_request",
    "gpus-per-node": "gpus_per_task, gpu_type and gpu_request",
    "gpus": "gpus_per_task, gpu_type and gpu_request",
    "gpus-per-task": "gpus_per_task, gpu_type and gpu_request",
    "gpus-per-socket": "gpus_per_task, gpu_type and gpu_request",
    "container": "container",
    "container-id": "container",
}


def time_limit_s(text: str) -> int:
    """Seconds of a Slurm time limit: m, m:s, h:m:s, d-h, d-h:m or d-h:m:s; ValueError for other text."""
    for pattern, units in TIME_FORMS:
        match = re.fullmatch(pattern, text, re.ASCII)
        if match:
            return sum(int(part) * unit for part, unit in zip(match.groups(), units, strict=True))
    raise ValueError(_time_problem(text))


def number_as_text(value: object) -> object:
    """`time: 90`, `mem: 0` and `account: 1234` mean the text that was written."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def time_limit(text: str) -> str:
    """The text itself if it is a Slurm time limit above zero."""
    if time_limit_s(text) == 0:
        raise ValueError(_time_problem(text))
    return text


def memory(text: str) -> str:
    """The text itself if --mem takes it."""
    if not re.fullmatch(r"\d+[KMGT]?", text, re.ASCII):
        raise ValueError(
            f"expected a number followed by K, M, G or T, got {text!r}. Write 64G, or 0 for all of the node"
        )
    return text


def one_word(text: str) -> str:
    """The text itself if it is a name of Slurm's: printable, without blanks, quotes or backslashes."""
    if not text or CONTROL.search(text) or re.search(r"[\s'\"`\\$;#]", text):
        raise ValueError(f"expected one word without blanks or quotes, got {text!r}. Write it as Slurm does")
    return text


def gpu_type(text: str) -> str:
    """The text itself if it can stand as the type in gpu:TYPE:N."""
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", text, re.ASCII):
        raise ValueError(f"expected a GPU type such as h100, got {text!r}. Write what sinfo -o %G shows")
    return text


def one_line(text: str) -> str:
    """The text itself if it has no line break, NUL or other control character (a tab is fine)."""
    if not text.strip() or CONTROL.search(text):
        raise ValueError(f"expected one line of printable text, got {text!r}. Write one line")
    return text


def command_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words themselves if the first can be a command: it is run without a shell, which would split it."""
    if words and re.search(r"\s", words[0]):
        wanted = word_list([*split_command(words[0]), *words[1:]])
        raise ValueError(f"expected a command as its first word, got {words[0]!r}. Write {wanted}")
    return words


def split_command(text: str) -> list[str]:
    """The words of a command as a shell has them; split at blanks where a quote lacks its other one."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def word_list(words: Iterable[str]) -> str:
    """Texts as a list of YAML's in brackets: in quotes what would be more than a text there."""
    written = (json.dumps(word, ensure_ascii=False) if YAML_MARKS.search(word) else word for word in words)
    return f"[{', '.join(written)}]"


def price(value: object) -> object:
    """The value itself if it is an amount and a currency, or None."""
    text = str(value)
    if value is not None and not (isinstance(value, str) and re.fullmatch(PRICE, text, re.ASCII)):
        amount = re.match(r"\d+(\.\d+)?\b", text)
        raise ValueError(
            f"expected an amount and three letters of a currency, got {found(value)}. Write such as"
            f" {amount.group() if amount else '2.50'} EUR"
        )
    return value


def task_options(options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
    """The options themselves if a task's sbatch text may hold them."""
    return _options(options, FIELD_OF_TASK_OPTION, "resources")


def merge_options(options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
    """The options themselves if the merge job's sbatch text may hold them."""
    return _options(options, FIELD_OF_OPTION, "resources.merge")


def _options(
    options: dict[str, str | int | bool], fields: dict[str, str], section: str
) -> dict[str, str | int | bool]:
    for name, value in options.items():
        problem = _option_problem(name, fields, section)
        if problem is None and isinstance(value, str) and CONTROL.search(value):
            problem = f"expected one line of printable text, got {value!r}. Write one line"
        if problem:
            raise ValueError(f"{name}: {problem}")
    return options


def _option_problem(name: str, fields: dict[str, str], section: str) -> str | None:
    if not re.fullmatch(r"[a-z][a-z0-9-]+", name, re.ASCII):
        return "expected the long name of an sbatch option, without dashes before it. Write nice, not -n"
    for option in (*fields, *OPTIONS_OF_OURS):
        if name == option and option in fields:
            return f"vllm-launch writes --{option} itself. Set {section}.{fields[option]}"
        if name == option:
            return f"--{option} is for vllm-launch to decide. Leave it out"
    for option in (*fields, *OPTIONS_OF_OURS):
        if option.startswith(name):
            return f"sbatch would read it as --{option}, which is vllm-launch's own. Leave it out"
    return None


def _time_problem(text: str) -> str:
    return (
        f"expected a time limit above zero, got {text!r}. Write minutes, hours:minutes:seconds or days-hours"
    )
