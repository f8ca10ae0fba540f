"""What a machine that crashed left of compiled kernels in its scratch folder is not used.

Libraries do not fsync what they compile, and take what they find: after a crash a file may have its name and
not its bytes. So caches are of one boot of a host. A folder that several hosts share is left as it is.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.rundir.journal import read_json, write_json
from launch.rundir.process_mark import mark_process, read_mark
from launch.worker.startup.cache_layers import GRAPHS, KERNELS
from launch.worker.startup.cache_tree import MARK_PREFIX
from launch.worker.startup.node_lock import NodeLock

BOOT_MARK = f"{MARK_PREFIX}-boot"
OTHERS = "others"
"""In the mark: hosts that came after the first."""
REMOVAL_S = 120.0


def forget_earlier_boot(caches: Path) -> bool:
    """Removes layers of an earlier boot of this host, once; whether it did. StorageError where it cannot."""
    if _is_known(caches):
        return False
    with NodeLock(caches / f"{BOOT_MARK}.lock") as turn:
        if not turn.acquire(REMOVAL_S) or _is_known(caches):
            return False
        if not is_of_earlier_boot(caches):
            value = read_json(caches / BOOT_MARK) or {}
            write_json(caches / BOOT_MARK, {**value, OTHERS: [*_others(value), mark_process().host]})
            return False
        layers = [folder for layer in (KERNELS, GRAPHS) for folder in caches.glob(f"{layer}-*")]
        for folder in layers:
            shutil.rmtree(folder, ignore_errors=True)
        write_json(caches / BOOT_MARK, mark_process().as_json())
    return bool(layers)


def is_of_earlier_boot(caches: Path) -> bool:
    """Whether the next engine removes what lies there; so too where nobody wrote down of which boot it is."""
    value = read_json(caches / BOOT_MARK)
    mark, here = read_mark(value), mark_process()
    if value is None or mark is None:
        return True
    return mark.host == here.host and mark.boot != here.boot and not _others(value)


def _is_known(caches: Path) -> bool:
    """Whether this host is written down, with this boot or beside others."""
    value = read_json(caches / BOOT_MARK)
    mark = read_mark(value)
    if value is None or mark is None:
        return False
    return mark_process().host in (mark.host, *_others(value)) and not is_of_earlier_boot(caches)


def _others(value: Mapping[str, Any]) -> list[Any]:
    found = value.get(OTHERS)
    return found if isinstance(found, list) else []
