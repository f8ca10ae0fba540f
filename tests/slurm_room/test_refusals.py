"""Slurm's own words, recorded from 22.05.8 unless said otherwise, and what is made of them."""

import pytest

from launch.slurm.refusals import MAX_LENGTH, explain

RECORDED = [
    (
        "sbatch: error: invalid partition specified: nope\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
        "invalid partition specified: nope; Batch job submission failed: Invalid partition name specified."
        " Set resources.partition or merge.partition as `sinfo` lists them.",
    ),
    (
        "sbatch: error: Invalid generic resource (gres) specification\n",
        "Invalid generic resource (gres) specification."
        " Set resources.gpu_type and gpu_request as `sinfo -o %G` shows GPUs.",
    ),
    (
        "sbatch: error: Batch job submission failed: Invalid job array specification\n",
        "Batch job submission failed: Invalid job array specification."
        " It is longer than MaxArraySize allows; set resources.max_array_size.",
    ),
    (
        "sbatch: error: Batch job submission failed: Invalid feature specification\n",
        "Batch job submission failed: Invalid feature specification."
        " Set resources.constraint to features that `sinfo -o %f` lists.",
    ),
    (
        "sbatch: error: Batch job submission failed: Requested node configuration is not available\n",
        "Batch job submission failed: Requested node configuration is not available."
        " No node has so much; lower GPUs, CPUs or memory in resources.",
    ),
    (
        "sbatch: unrecognized option '--nonsense=1'\nTry \"sbatch --help\" for more information\n",
        "unrecognized option '--nonsense=1'."
        " This Slurm does not know it: look at extra_sbatch of the cluster file.",
    ),
    (
        "sbatch: error: Batch job submission failed:"
        " Pathname of a file, directory or other parameter too long\n",
        "Batch job submission failed: Pathname of a file, directory or other parameter too long."
        " Shorten the longest value in resources.",
    ),
    (
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n",
        "Batch job submission failed: Unable to contact slurm controller (connect failure)."
        " Slurm's controller does not answer: look with `scontrol ping`, try again later, or use --cluster"
        " none.",
    ),
    (
        "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)\n",
        "Unable to contact slurm controller (connect failure). Slurm's controller does not answer: look with"
        " `scontrol ping`, try again later, or use --cluster none.",
    ),
    (
        "squeue: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
        "squeue: error: fetch_config: DNS SRV lookup failed\n"
        "squeue: error: _establish_config_source: failed to fetch config\n"
        "squeue: fatal: Could not establish a configuration source\n",
        "resolve_ctls_from_dns_srv: res_nsearch error: Unknown host; fetch_config: DNS SRV lookup failed;"
        " _establish_config_source: failed to fetch config; Could not establish a configuration source."
        " This host knows of no cluster: log in to a submit host, set SLURM_CONF, or use --cluster none.",
    ),
    (
        "sbatch: error: s_p_parse_file: cannot stat file /none: No such file or directory, retrying in 1sec\n"
        "sbatch: error: ClusterName needs to be specified\n"
        "sbatch: fatal: Unable to process configuration file\n",
        "s_p_parse_file: cannot stat file /none: No such file or directory, retrying in 1sec; ClusterName"
        " needs to be specified; Unable to process configuration file."
        " This host knows of no cluster: log in to a submit host, set SLURM_CONF, or use --cluster none.",
    ),
    (
        'sbatch: fatal: stdin: line 2: Unmatched `"` in [--x=a"b]\n',
        'stdin: line 2: Unmatched `"` in [--x=a"b].',
    ),
]
# From the documentation, not recorded: this private Slurm has no accounting limits to say them.
FROM_THE_SOURCE = [
    (
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "resources.num_tasks",
    ),
    ("Invalid account or account/partition combination specified", "resources.account"),
    ("Invalid qos specification", "resources.qos"),
    ("Requested time limit is invalid (missing or exceeds some limit)", "resources.time"),
    ("More processors requested than permitted", "lower GPUs, CPUs or memory"),
]


@pytest.mark.parametrize(("stderr", "expected"), RECORDED)
def test_words_of_slurm(stderr: str, expected: str) -> None:
    assert explain(stderr) == expected


@pytest.mark.parametrize(("reason", "advice"), FROM_THE_SOURCE)
def test_words_of_the_source(reason: str, advice: str) -> None:
    said = explain(f"sbatch: error: Batch job submission failed: {reason}\n")
    assert reason in said and advice in said


def test_words_of_a_sites_own_plugin_come_first() -> None:
    said = explain(
        "sbatch: error: =====\nsbatch: error: Project p7 has no hours left\nsbatch: warning: see the wiki\n"
        "sbatch: error: Batch job submission failed: Unspecified error\n"
    )
    assert said == "=====; Project p7 has no hours left; Batch job submission failed: Unspecified error."


def test_nothing_said() -> None:
    assert explain("\n") == "failed without a word."


def test_it_stays_one_line_of_bounded_length() -> None:
    said = explain(
        "".join(f"scancel: error: Kill job error on job id {job}: Access denied\n" for job in range(99))
    )
    assert (
        "\n" not in said
        and len(said) < MAX_LENGTH + 10
        and said.startswith("Kill job error on job id 0: Access")
    )
