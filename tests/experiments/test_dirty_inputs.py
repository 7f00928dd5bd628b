"""The short form of the corpus of dirty inputs: nothing but right results and named errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "faults" / "inputs.py"


def test_dirty_inputs_end_right_or_named(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:]
    result = json.loads((tmp_path / "inputs.json").read_text(encoding="utf-8"))
    assert result["of"] >= 250
    assert [result[kind] for kind in ("traceback", "silent", "hang")] == [0, 0, 0]
    assert result["named"] + result["ok"] == result["cases"]
