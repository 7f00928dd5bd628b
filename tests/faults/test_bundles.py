"""Bent bundles in child processes: refused by name or scored soundly, every index in range."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "faults" / "bundles.py"
SOUND = {"BundleError", "the same scores", "other finite scores", "another named error"}


@pytest.fixture(scope="module")
def base(script: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    made: tuple[Path, Path] = script("faults/bundles.py").make_base(tmp_path_factory.mktemp("base"))
    return made


def ran(base: tuple[Path, Path], *options: str) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), "--bundle", str(base[0]), "--rows", str(base[1]), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1_800)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_bent_bundles_are_refused_or_scored_soundly(base: tuple[Path, Path]) -> None:
    found = ran(base, "--smoke")
    assert found["faults"] == []
    assert found["of"] >= 500
    assert set(found["counts"]) <= SOUND
    assert found["counts"]["BundleError"] >= found["mutations"] / 2


def test_compiled_code_stays_inside_its_arrays(base: tuple[Path, Path]) -> None:
    """The rows are as many as compiled code is used for; the first mutation changes nothing."""
    found = ran(base, "--bounds", "--most", "16")
    assert found["bounds_checked"]
    assert found["faults"] == []
    assert found["counts"]["the same scores"] >= 1
