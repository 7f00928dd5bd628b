"""One small model and its inputs for all scripts of experiments/faults that kill and disturb jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Asked = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Runs a script in its short form, in a process of its own: it forks, and this one has threads."""
    ground = tmp_path_factory.mktemp("faults") / "ground"

    def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "experiments" / "faults" / script), "--smoke"]
        command += ["--ground", str(ground), *words]
        settings = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=settings)

    return run
