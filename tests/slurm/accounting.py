"""slurmdbd and its MariaDB for a private Slurm, so that sacct answers.

Source of the recipe: measured as root without systemd on Debian 12 (slurmdbd 22.05.8, MariaDB 10.11).
"""

import subprocess
from pathlib import Path

from tests.slurm.cluster_conf import CLUSTER_NAME, DATABASE, DATABASE_USER
from tests.slurm.daemons import Daemons

NEEDED_COMMANDS = ("mariadb-install-db", "mariadbd", "sacct", "sacctmgr", "slurmdbd")
SMALL = ("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0")
ACCOUNT = "tests"


def start_accounting(daemons: Daemons, root: Path) -> None:
    """Start MariaDB and slurmdbd; register cluster, account and root, which slurmctld wants to find.

    Needs munged and slurmdbd.conf. AssertionError with the logs when one of the two does not come up.
    """
    data, socket = root / "mariadb", root / "mariadb.sock"
    _install_database(data)
    grants = root / "grants.sql"
    grants.write_text(
        f"CREATE DATABASE {DATABASE};\n"
        f"CREATE USER {DATABASE_USER}@localhost IDENTIFIED BY '{DATABASE_USER}';\n"
        f"GRANT ALL ON {DATABASE}.* TO {DATABASE_USER}@localhost;\n"
    )
    options = [f"--datadir={data}", f"--socket={socket}", f"--init-file={grants}", "--skip-networking"]
    daemons.start("mariadbd", "mariadbd", "--no-defaults", "--user=root", *options, *SMALL)
    daemons.wait_until(socket.exists, "MariaDB made no socket")
    daemons.start("slurmdbd", "slurmdbd", "-D", env={"MYSQL_UNIX_PORT": str(socket)})
    daemons.wait_until(lambda: _sacctmgr(daemons, "list", "cluster"), "slurmdbd does not answer")
    for entity in (
        ["cluster", CLUSTER_NAME],
        ["account", ACCOUNT, "Description=tests", "Organization=tests"],
        ["user", "root", f"Account={ACCOUNT}"],
    ):
        _sacctmgr(daemons, "add", *entity)


def _install_database(data: Path) -> None:
    argv = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"]
    argv += ["--auth-root-authentication-method=normal", "--force", *SMALL]  # force: whatever DNS says
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{argv[0]}: exit {done.returncode}: {done.stdout}{done.stderr}"


def _sacctmgr(daemons: Daemons, *arguments: str) -> bool:
    """Whether sacctmgr did it."""
    argv = ["sacctmgr", "--immediate", *arguments]
    done = subprocess.run(argv, env=daemons.environment(), capture_output=True, timeout=60, check=False)
    return done.returncode == 0
