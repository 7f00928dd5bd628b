"""The fuzz harness runs over all four targets, and finds what it is there to find."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FAULTS = Path(__file__).resolve().parents[2] / "experiments" / "faults"


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FAULTS / "fuzz.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_bent_bundles_conditions_tables_and_settings_crash_nothing() -> None:
    done = fuzz("--smoke")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    results = json.loads(done.stdout)
    assert [result["target"] for result in results] == ["bundle", "predicates", "readers", "config"]
    assert all(result["ok"] + result["refused"] == 20 for result in results)


def test_the_same_bytes_make_the_same_change() -> None:
    sys.path.insert(0, str(FAULTS))
    try:
        from fuzzchanges import Choices, change_json, change_text
    finally:
        sys.path.remove(str(FAULTS))
    content = {"a": [1, 2, {"b": 0.5}], "c": "d"}
    made = {str(change_json(content, Choices(bytes([n, n // 3, 7, n % 5] * 3)))) for n in range(60)}
    assert len(made) > 10
    assert content == {"a": [1, 2, {"b": 0.5}], "c": "d"}
    assert change_text("a=1 2\nb=3", Choices(b"\x01\x02\x00\x03")) == change_text(
        "a=1 2\nb=3", Choices(b"\x01\x02\x00\x03")
    )


def test_a_crash_and_a_hang_are_told_from_refusals(tmp_path: Path) -> None:
    """A target that fails with a foreign error, one that ends its process and one that is never done."""
    code = f"""
import os, sys, time
sys.path.insert(0, {str(FAULTS)!r})
import fuzz
from icp_ml.errors import IcpError
def named(data): raise IcpError("no")
def foreign(data): raise KeyError("x")
fuzz.TARGETS.update(named=named, foreign=foreign, fine=lambda data: None)
print([fuzz.outcome(name, b"")[0] for name in ("named", "foreign", "fine")])
log = __import__("pathlib").Path({str(tmp_path)!r}) / "log"
log.write_text('{{"try": "00ff"}}\\n')
counts, crashes = {{"crash": 0}}, {{}}
trace = 'File "/x/icp_ml/a.py", line 7 in f'
print(fuzz._count(log, counts, crashes, 1, trace, ""), list(crashes))
print(fuzz._count(log, counts, crashes, -11, "", ""), list(crashes)[1:], counts)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.splitlines() == [
        "['refused', 'crash', 'ok']",
        "False ['hang icp_ml/a.py:7']",
        "False ['signal 11'] {'crash': 2}",
    ], done.stderr[-1000:]
