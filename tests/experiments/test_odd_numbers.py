"""Odd numbers through every public function, in the short form of the experiment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import icp_ml as icp

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "faults" / "odd_numbers.py"


def test_every_case_is_answered_or_refused_by_name() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--smoke"],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    cases = re.search(r"^(\d+) cases", done.stdout, re.MULTILINE)
    assert cases is not None
    assert int(cases[1]) >= 250


@pytest.mark.parametrize("mode", ["default", "certified"])
def test_accounts_that_are_all_alike_have_an_empty_profile(mode: str) -> None:
    frame = pd.DataFrame({"id": [f"a{i}" for i in range(120)], "x": 1.0, "y": [0, 1] * 60})
    frame["plan"] = ["only"] * 119 + [None]
    data = icp.Dataset.from_frame(frame, account_id="id", labels={"retained": "y"})
    found = icp.build_profile(data, {}, n_permutations=20, mode=mode)  # type: ignore[arg-type]
    assert found.traits.empty
    assert found.segments.empty
    assert "nothing that holds" in found.to_text()
