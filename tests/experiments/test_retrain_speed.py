"""The bench of a whole retraining runs in its short form and says both times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "speed" / "retrain.py"


@pytest.mark.slow
def test_a_retraining_is_timed_beside_its_training() -> None:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'train_seconds'" in done.stdout
    assert "allowed" in done.stdout
