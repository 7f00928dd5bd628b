"""A disk that gives out at a flush: an error with a name, the older bundle whole, nothing left beside it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from icp_ml.errors import OutputError
from icp_ml.model.bundlefiles import read_bundle
from icp_ml.model.store import write_bundle
from icp_ml.writing import claimed

OLD, NEW = {"model.json": {"a": 1}, "tree.txt": "old"}, {"model.json": {"a": 2}, "tree.txt": "new"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("point", range(1, 9))
def test_a_flush_that_fails_costs_the_new_bundle_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int, code: int
) -> None:
    write_bundle(tmp_path / "bundle", OLD)
    flush, count = os.fsync, [0]

    def failing(handle: int) -> None:
        count[0] += 1
        if count[0] == point:
            raise OSError(code, os.strerror(code))
        flush(handle)

    monkeypatch.setattr(os, "fsync", failing)
    refusal = None
    try:
        write_bundle(tmp_path / "bundle", NEW)
    except OutputError as error:
        refusal = error
    monkeypatch.undo()
    assert count[0] < point if refusal is None else refusal.facts["errno"] == code
    assert read_bundle(tmp_path / "bundle") in (OLD, NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_error_of_the_system_leaves_a_held_name(tmp_path: Path) -> None:
    def work() -> None:
        with claimed(tmp_path) as free:
            assert free
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        work()


def test_a_strangers_folder_keeps_its_files_and_rights_when_folders_change_names(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", OLD)
    mine = tmp_path / "bundle" / "mine" / "inner"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("precious")
    mine.chmod(0o700)
    os.utime(mine, (1_000_000_000, 1_000_000_000))
    write_bundle(tmp_path / "bundle", NEW)
    assert read_bundle(tmp_path / "bundle") == NEW
    assert (mine / "notes.txt").read_text() == "precious"
    facts = mine.stat()
    assert (facts.st_mode & 0o777, facts.st_mtime) == (0o700, 1_000_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
