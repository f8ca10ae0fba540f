"""What a file system says when writing fails is told in one line."""

import errno
from pathlib import Path

import pytest

from launch.errors import StorageError, StorageTroubleError
from launch.rundir.storage_errors import storage_errors, storage_trouble


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "reports an input/output error"),
    ],
)
def test_a_disk_that_refuses_is_one_line_that_names_the_path(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught, storage_errors(tmp_path / "x"):
        raise OSError(number, "no")
    assert str(tmp_path / "x") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ESHUTDOWN]
)
def test_trouble_of_a_file_server_is_one_line_that_says_that_it_may_pass(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageTroubleError, match="That may pass") as caught, storage_errors(tmp_path / "x"):
        raise OSError(number, "no")
    assert str(tmp_path / "x") in str(caught.value) and "\n" not in str(caught.value)
    trouble = storage_trouble(OSError(number, "no", str(tmp_path / "y")))
    assert trouble is not None and str(trouble).startswith(f"{tmp_path / 'y'}: the file s")
    assert storage_trouble(FileNotFoundError(errno.ENOENT, "no")) is None
