"""What Slurm's commands say when they fail, in one line, and what to do about it where we know.

tests/slurm_room/test_refusals.py holds texts recorded from Slurm 22.05; those of accounts, QOS, submit and
time limits need an accounting database and are taken from its documentation, not recorded.
"""

import re

MAX_LENGTH = 400
_NO_CONTROLLER = (
    "Slurm's controller does not answer: look with `scontrol ping`, try again later, or use --cluster none."
)
NO_CONFIGURATION = (
    "This host knows of no cluster: log in to a submit host, set SLURM_CONF, or use --cluster none."
)
"""What is advised where the commands of Slurm are, and no cluster is configured for them."""
_TOO_MUCH = "No node has so much; lower GPUs, CPUs or memory in resources."
_ADVICE = {
    "Unable to contact slurm controller": _NO_CONTROLLER,
    "Could not establish a configuration source": NO_CONFIGURATION,
    "Unable to process configuration file": NO_CONFIGURATION,
    "Invalid job array specification": "It is longer than MaxArraySize allows; set resources.max_array_size.",
    "Invalid partition name specified": "Set resources.partition or merge.partition as `sinfo` lists them.",
    "Invalid generic resource": "Set resources.gpu_type and gpu_request as `sinfo -o %G` shows GPUs.",
    "Requested node configuration is not available": _TOO_MUCH,
    "More processors requested than permitted": _TOO_MUCH,
    "Memory specification can not be satisfied": _TOO_MUCH,
    "Invalid feature specification": "Set resources.constraint to features that `sinfo -o %f` lists.",
    "Requested time limit is invalid": "Lower resources.time to what `sinfo -o %l` shows of the partition.",
    "job submit limit": "Lower resources.num_tasks, or set resources.max_submit to that limit or below.",
    "Invalid account": "Set resources.account to one that `sacctmgr show assoc user=$USER` lists.",
    "Invalid qos": "Set resources.qos to one that you may use.",
    "unrecognized option": "This Slurm does not know it: look at extra_sbatch of the cluster file.",
    "Pathname of a file, directory or other parameter too long": "Shorten the longest value in resources.",
}


def explain(stderr: str) -> str:
    """Slurm's reasons in one line, and an advice where the table has one."""
    said = "; ".join(reasons(stderr)) or "failed without a word"
    if len(said) > MAX_LENGTH:
        said = f"{said[:MAX_LENGTH]}..."
    advice = next((advice for words, advice in _ADVICE.items() if words.lower() in stderr.lower()), "")
    return f"{said}. {advice}".rstrip()


def is_refused(stderr: str) -> bool:
    """Whether nothing can have been queued: refused with a reason of the table, or no controller is known.

    One that does not answer may have taken the job.
    """
    said = stderr.lower()
    return any(words.lower() in said for words, advice in _ADVICE.items() if advice != _NO_CONTROLLER)


def reasons(stderr: str) -> list[str]:
    """The errors of Slurm's stderr, each once, without prefixes; warnings only if there is nothing else."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Try ")]
    errors = [line for line in lines if "warning:" not in line]
    bare = [re.sub(r"^(\w+: )?([\w ]*(error|fatal): )?", "", line) for line in errors or lines]
    return list(dict.fromkeys(each.rstrip(".") for each in bare if each))
