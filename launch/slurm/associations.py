"""What the accounting database says of this user: the association that counts, and the limits of a QOS."""

import getpass
from dataclasses import dataclass

from launch.config.schema import ResourcesConfig
from launch.errors import SchedulerError
from launch.slurm.commands import call, cluster_name, configured

TIMEOUT_S = 15.0
"""sacctmgr asks slurmdbd, which may not answer; nobody waits for it long."""


@dataclass(frozen=True, slots=True)
class Association:
    """A field of the association that counts for a job (empty where it is not set), and the job's QOS."""

    value: str
    qos: str


def limits_are_enforced() -> bool:
    """Whether the controller enforces limits of QOS and associations."""
    return configured("AccountingStorageEnforce", r"\S*(?:limits|safe|all)") is not None


def own_association(
    resources: ResourcesConfig, field: str, timeout_s: float = TIMEOUT_S, cluster: str | None = None
) -> Association | None:
    """A field, as sacctmgr names it, of this user's association; None where there is none or no answer.

    It is that of `cluster`, for whose name the controller is asked where it is not given. The one for the
    job's partition counts before the one for all. Where nothing names a QOS, slurmctld takes `normal`.
    """
    user, name = getpass.getuser(), cluster or cluster_name()
    account = resources.account
    if account is None:
        account = _first(ask_accounting("user", [f"name={user}"], "defaultaccount", timeout_s))
    where = [
        f"user={user}",
        *([f"cluster={name}"] if name else []),
        *([f"account={account}"] if account else []),
    ]
    rows = ask_accounting("associations", where, f"partition,{field},defaultqos", timeout_s)
    rows = [row for row in rows if row[0] in ("", resources.partition)]
    if not rows:
        return None
    _, value, default_qos = max(rows, key=lambda row: row[0] != "")
    return Association(value, resources.qos or default_qos or "normal")


def limit_of_qos(qos: str, field: str, timeout_s: float = TIMEOUT_S) -> str:
    """A limit of a QOS, as sacctmgr names and writes it; empty where it is not set or nobody answers."""
    return _first(ask_accounting("qos", [f"name={qos}"], field, timeout_s))


def ask_accounting(entity: str, where: list[str], fields: str, timeout_s: float) -> list[list[str]]:
    """Rows of `sacctmgr show`; none where accounting is off or does not answer."""
    words = ["sacctmgr", "--noheader", "--parsable2", "show", entity, "where", *where, f"format={fields}"]
    try:
        text = call(words, timeout_s)
    except SchedulerError:
        return []
    count = fields.count(",") + 1
    return [row for line in text.splitlines() if len(row := line.split("|")) == count]


def _first(rows: list[list[str]]) -> str:
    return rows[0][0] if rows else ""
