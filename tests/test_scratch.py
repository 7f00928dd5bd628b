"""Temporary folders of killed jobs are swept, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from icp_ml.scratch import has_ended, scratch_folder, sweep


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from icp_ml.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "bundle").write_text("model")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_of_a_killed_job_is_swept_by_the_next(shelf: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(shelf)], check=False, timeout=120)
    (left,) = shelf.iterdir()
    assert (left / "bundle").exists()
    with scratch_folder() as folder:
        assert list(shelf.iterdir()) == [folder]
    assert not list(shelf.iterdir())


def test_only_ours_of_ended_processes_are_swept(shelf: Path) -> None:
    with scratch_folder() as mine:
        host = mine.name.split("-")[1]
        kept = ["icp_ml-notes", "tmpabc", f"icp_ml-{host}-1-bad name-x", f"icp_ml-00000000-{2**22 + 1}-5-x"]
        for name in kept:
            (shelf / name).mkdir()
        dead = shelf / f"icp_ml-{host}-{2**22 + 1}-5-x"
        dead.mkdir()
        (shelf / "data").mkdir()
        link = shelf / f"icp_ml-{host}-{2**22 + 2}-5-x"
        link.symlink_to(shelf / "data")
        old = shelf / f"icp_ml-00000000-{2**22 + 3}-5-x"
        old.mkdir()
        os.utime(old, (time.time() - 1e6, time.time() - 1e6))
        assert sweep() == 2
        assert {path.name for path in shelf.iterdir()} == {*kept, "data", link.name, mine.name}


def test_a_number_given_to_another_process_has_ended() -> None:
    assert has_ended(os.getpid(), "another time")
    assert has_ended(2**31 + 5, "")
