"""The short form of the applicability experiment: every kind of shift, beside the false flags."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "applicability" / "run.py"


def test_strangers_are_flagged_and_customers_rarely(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["shares"]
    share = {(row["kind"], row["method"]): row["flagged"] for row in rows}
    assert all(row["low"] <= row["flagged"] <= row["high"] for row in rows)
    assert share["customers", "icp_ml"] <= 0.10
    assert share["simulated shift 1.0", "icp_ml"] >= 0.80
    assert share["customers", "ranges"] > share["customers", "icp_ml"]
