"""`vllm-launch`: the commands by name; each is imported when it is called."""

import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

import launch
from launch.cli.broken_pipe import outlive_readers
from launch.cli.entry import INTERRUPTED, tell_interrupted
from launch.cli.options import hyphenated
from launch.config.wording import nearest, spelled
from launch.errors import ExitCode, LaunchError

COMMANDS = {
    "submit": "Plan a run and generate it: on Slurm, or on this machine.",
    "resume": "Send a run's missing items again.",
    "status": "Where a run stands.",
    "watch": "Where a run stands, until it ends.",
    "logs": "How the logs of a run's task end, and what comes.",
    "list": "The runs there are.",
    "cancel": "Cancel a run's jobs, the merge job included.",
    "merge": "Check a run's results and publish them.",
    "verify": "Check a published directory against its manifest.",
    "clean": "Remove a run's directory, once all it holds is published and checked.",
    "score": "Score a published directory against the true continuations.",
    "report": "Make the leaderboard of published directories again.",
    "compare": "Compare the texts of two published directories.",
    "check-model": "Whether a checkpoint will run, on which GPUs, and what to change; needs no GPU.",
    "prompts": "Show rendered prompts with token counts and cuts: before anything is spent, or of a run.",
    "quantize": "Make a quantised checkpoint and compare it with the original.",
    "presets": "List the presets, clusters and datasets.",
}

FOLLOWING = {"watch", "logs"}
"""They show what comes, and end when their reader leaves; every other command goes on."""
# What no stage below has put into words: a path as it was given cannot be used.
OF_THE_PATH = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR}
OF_THE_PATH |= {errno.EIO, errno.ESTALE}


class CommandGroup(click.Group):
    """Finds a command in launch/cli/<name>.py, `_` for `-`, so that no command pays for another's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order they are met."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"launch.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that a name means; a name that is none is answered with the nearest."""
        if args[0] not in COMMANDS:
            close = nearest(args[0], COMMANDS)
            advice = f"Did you mean {close}?" if close else f"Write one of {', '.join(COMMANDS)}."
            raise click.UsageError(f"no command named {args[0]!r}. {advice}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=CommandGroup, help=launch.__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(launch.__version__, prog_name="vllm-launch")
def vllm_launch() -> None:
    """The group; see COMMANDS."""


def main(argv: Sequence[str] | None = None) -> None:
    """`vllm-launch`: runs the command that is named and exits with its code."""
    words = sys.argv[1:] if argv is None else argv
    if not FOLLOWING.intersection(words[:1]):
        outlive_readers()
    run_command(vllm_launch, words, "vllm-launch")


def run_command(
    command: click.Command,
    argv: Sequence[str],
    program: str,
    also_tell: Callable[[str], None] | None = None,
) -> NoReturn:
    """Runs a command and exits with its code; a user's error is one line on stderr, behind its name.

    `also_tell` is given that line, too.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal of another encoding: what it lacks is spelled
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = command.main(
            list(argv), prog_name=program, standalone_mode=False, token_normalize_func=hyphenated
        )
        status = code if isinstance(code, int) else ExitCode.OK
    except SystemExit:  # so click and rich end when the reader of our output left, as `head` does
        status = ExitCode.OK
    except (KeyboardInterrupt, click.Abort) as error:
        notes = getattr(error.__cause__ or error, "__notes__", ())  # click's Abort stands for another
        tell_interrupted(program, *map(one_line, notes))
        status = INTERRUPTED
    except NoArgsIsHelpError as error:
        error.show()
        status = ExitCode.USER
    except Exception as error:  # noqa: BLE001  the last stop: a bug is shown whole
        status = tell(error, program, also_tell)
    sys.exit(int(status))


def tell(error: Exception, program: str, also_tell: Callable[[str], None] | None = None) -> int:
    """Says on stderr what went wrong, in one line where the user can mend it; the exit code."""
    if isinstance(error, LaunchError):
        message, status = f"{program}: {error}", error.exit_code
    elif isinstance(error, click.ClickException):
        message, status = usage_message(error, program), ExitCode.USER
    elif isinstance(error, OSError) and error.errno in OF_THE_PATH and error.filename is not None:
        problem = str(error.strerror).lower()
        message = f"{program}: {error.filename}: {problem}. Check the path and its permissions."
        status = ExitCode.USER
    elif isinstance(error, FileNotFoundError) and not _has_directory():
        message = f"{program}: the current directory was removed. Go to one that is there."
        status = ExitCode.USER
    else:
        traceback.print_exception(error)
        return ExitCode.BUG
    print(one_line(message), file=sys.stderr)
    if also_tell is not None:
        also_tell(one_line(message))
    return status


def _has_directory() -> bool:
    """Whether the current directory is still there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def usage_message(error: click.ClickException, program: str) -> str:
    """What is wrong with a command line, in the words of every other message."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else program
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        known = [flag.lstrip("-") for flag in error.possibilities or ()]
        close = nearest(error.option_name.lstrip("-"), known)  # without what all flags have in common
        message = f"no flag {error.option_name}." + (f" Did you mean --{close}?" if close else "")
    stop = "" if message.endswith((".", "?")) else "."
    return f"{command}: {message}{stop} See `{command} --help`."


def one_line(text: str) -> str:
    """A message in one line: a path may hold a line break, which is then shown as it is written in Python."""
    return spelled(text)


if __name__ == "__main__":
    main()
