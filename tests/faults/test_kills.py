"""Killed at every kind of moment: every output is the old or the new one, and a repeat completes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest

Asked = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("faults"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="jobs are forked"),
]


def jobs(*names: str) -> list[str]:
    return [word for name in names for word in ("--job", name)]


def total(said: str) -> dict[str, int]:
    return json.loads(said.splitlines()[-1])


def test_killed_jobs_leave_the_old_or_the_new_and_a_repeat_completes(smoke: Asked) -> None:
    done = smoke("kills.py", *jobs("save-over", "score-parquet-partitioned-overwrite"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    found = total(done.stdout)
    assert found.pop("kills") >= 12
    assert set(found.values()) == {0}


def test_disturbed_jobs_end_with_a_name_and_leave_the_old_or_the_new(smoke: Asked) -> None:
    done = smoke("disk.py", *jobs("save-over", "score-csv-overwrite"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    found = total(done.stdout)
    assert found.pop("tries") >= 25
    assert set(found.values()) == {0}
