"""Jobs at once, in processes of their own: what the long form of the experiment counts, in its short form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "lifecycle" / "concurrency.py"


@pytest.mark.slow
def test_two_and_four_jobs_at_once_leave_one_champion_and_a_whole_history() -> None:
    """On SQLite, cold and warm, and on a server with PostgreSQL where there is one."""
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.count("'crashes': 0, 'unsound': 0") >= 2
    assert "2 jobs, SQLite, cold" in done.stdout
    assert "4 jobs, SQLite, warm" in done.stdout
