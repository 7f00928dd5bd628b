"""A job that is killed at any moment leaves the old or the new, whole, and nothing for good."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process per moment")


@pytest.mark.parametrize(
    "job",
    [
        "bundle",
        "bundle no-exchange every=3",
        "scores every=4",
        "scores no-exchange every=5",
        "scores moved every=5",
    ],
)
def test_the_old_or_the_new_is_there_after_a_kill_at_any_moment(job: str) -> None:
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), *job.split()], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[0]) >= 10
