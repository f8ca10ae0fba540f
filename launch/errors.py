"""The tree of errors a user can cause; each is shown as one line on stderr, without a traceback.

LaunchError                exit 2   the user's to mend
├── ConfigError                     a preset, cluster file, flag or --set
├── InputError                      a scenario, a dataset, a prompt file
├── CheckpointError                 a model directory: weights, tokenizer, configuration
├── RunError                        a run directory and what may be done with it now
├── SchedulerError                  Slurm said no, or is not there
├── StorageError                    a disk: full, over quota, not writable
│   └── StorageTroubleError         a file system or its network: may pass
├── NodeError                       a node: its scratch folder, its room for processes
├── EngineError                     the engine cannot run this configuration
├── QuantizeError                   llm-compressor, or the environment it runs in
└── IncompleteError        exit 3   a result is incomplete or differs; nothing was published

Everything else that is raised is a bug of ours: traceback, exit 1.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command and of a task."""

    OK = 0
    BUG = 1
    USER = 2
    INCOMPLETE = 3
    CONTINUE = 75


class LaunchError(Exception):
    """A message that says where, what was found and what to do, in one line."""

    exit_code = ExitCode.USER


class ConfigError(LaunchError):
    """A preset, a cluster file, a flag or a --set cannot be used as written."""


class InputError(LaunchError):
    """A scenario, a dataset or a prompt file cannot be used as written."""


class CheckpointError(LaunchError):
    """A model directory lacks something that generation needs."""


class RunError(LaunchError):
    """A run directory does not allow what was asked."""


class SchedulerError(LaunchError):
    """Slurm refused, or is not there."""


class StorageError(LaunchError):
    """A disk is full, over quota or not writable."""


class StorageTroubleError(StorageError):
    """A file system or its network is in trouble, which may pass or be this node's alone."""


class NodeError(LaunchError):
    """A node lacks what an engine process needs to start; another one may have it."""


class EngineError(LaunchError):
    """The engine cannot run this configuration."""


class QuantizeError(LaunchError):
    """llm-compressor's environment cannot be made or used, or it could not quantise a checkpoint."""


class IncompleteError(LaunchError):
    """A result is incomplete or differs from what was planned; nothing was published."""

    exit_code = ExitCode.INCOMPLETE
