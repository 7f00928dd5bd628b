"""Oldest and newest dependencies on each Python: install, test, record.

    make matrix                                   # all cells, tests that take less than ten seconds each
    make matrix QUICK=1                           # a few files of tests in each cell
    make matrix QUICK=1 ONLY=oldest-python3.12    # one cell; the others keep their last result

Pythons are those named in PYTHONS, else those of python3.11, python3.12 and python3.13 that are there. Each
cell gets an environment of its own in .matrix/, which is removed when the cell is done (--keep leaves it).
The last result of each cell stands in matrix.json. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SETS = {"oldest": "constraints-oldest.txt", "newest": "constraints.txt"}
PYTHONS = ("python3.11", "python3.12", "python3.13")
QUICK = (
    "tests/contract/test_code_shape.py",
    "tests/contract/test_additivity.py",
    "tests/data",
    "tests/serve/test_bundle.py",
    "tests/model/test_propensity.py",
    "tests/model/test_sklearn_checks.py",
    "tests/test_parameters.py",
    "tests/test_statistics.py",
)
NAMED = (
    "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "lightgbm", "shap", "numba", "mlflow", "click",
    "jinja2",
)  # fmt: skip
VERSIONS = f"""
import json, platform
from importlib.metadata import version
print(json.dumps({{"python": platform.python_version(), **{{n: version(n) for n in {NAMED!r}}}}}))
"""
INSTALL_SECONDS, TEST_SECONDS = 3600, 4 * 3600


def run(command: list[str], log: Path, seconds: int) -> int:
    """Run a command with its words in a log; 124 when it takes too long."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONPATH", None)
    with log.open("a", encoding="utf-8") as file:
        file.write("$ " + " ".join(command) + "\n")
        file.flush()
        try:
            return subprocess.run(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                timeout=seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return 124


def cell(
    name: str, python: str, constraints: str, folder: Path, *, quick: bool, reuse: bool
) -> dict[str, object]:
    """Install and test one combination."""
    began, log, venv = time.monotonic(), folder / f"{name}.log", folder / name
    log.unlink(missing_ok=True)
    own = str(venv / "bin" / "python")
    if not (reuse and venv.is_dir()):
        shutil.rmtree(venv, ignore_errors=True)
        extras = "[ebm,report]" if quick else "[dev]"
        for command in (
            [python, "-m", "venv", str(venv)],
            [own, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", f".{extras}",
             "pytest>=9.0.3,<9.2", "hypothesis", "-c", constraints],
        ):  # fmt: skip
            if run(command, log, INSTALL_SECONDS):
                return {"result": "not installed", "why": last_words(log), "at": now()}
    found = subprocess.run([own, "-c", VERSIONS], capture_output=True, text=True, check=False, cwd=folder)
    versions = json.loads(found.stdout) if found.returncode == 0 else {}
    tests = [own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *(QUICK if quick else ())]
    code = run(tests, log, TEST_SECONDS)
    summary = re.findall(
        r"^(?:=+ )?(\d+ (?:passed|failed|error).*?)(?: =+)?$", log.read_text("utf-8"), re.MULTILINE
    )
    return {
        "result": "green" if code == 0 else "red",
        "tests": summary[-1] if summary else f"pytest ended with {code}",
        **({} if code == 0 else {"why": failures(log)}),
        "form": "quick" if quick else "not slow",
        "seconds": round(time.monotonic() - began),
        "versions": versions,
        "at": now(),
    }


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


def last_words(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8").splitlines() if "ERROR" in line or "error" in line]
    return " ".join(lines[-3:])[:500]


def failures(log: Path) -> list[str]:
    return re.findall(r"^(?:FAILED|ERROR) .*$", log.read_text("utf-8"), re.MULTILINE)[:20]


def pythons() -> list[str]:
    named = os.environ.get("PYTHONS", "").split()
    return named or [python for python in PYTHONS if shutil.which(python)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few files of tests")
    parser.add_argument("--only", help="one cell, such as oldest-python3.12")
    parser.add_argument(
        "--keep", action="store_true", help="leave the environments, and use those that are there"
    )
    parser.add_argument("--list", action="store_true", help="print the cells and end")
    args = parser.parse_args()
    cells = {f"{kind}-{Path(python).name}": (python, kind) for kind in SETS for python in pythons()}
    if args.list or not cells or (args.only and args.only not in cells):
        print("\n".join(cells) or f"no Python among {', '.join(PYTHONS)}: set PYTHONS")
        return 0 if args.list else 2
    folder = ROOT / ".matrix"
    folder.mkdir(exist_ok=True)
    kept = HERE / "matrix.json"
    state = json.loads(kept.read_text("utf-8")) if kept.is_file() else {"cells": {}}
    red = False
    for name, (python, kind) in cells.items():
        if args.only not in (None, name):
            continue
        print(f"{name}: ", end="", flush=True)
        found = cell(name, python, SETS[kind], folder, quick=args.quick, reuse=args.keep)
        print(found["result"], found.get("tests", found.get("why", "")), flush=True)
        state["cells"][name] = found
        state["machine"] = f"{platform.system()} {platform.machine()}"
        kept.write_text(json.dumps(state, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        red |= found["result"] != "green"
        if not args.keep:
            shutil.rmtree(folder / name, ignore_errors=True)
    return int(red)


if __name__ == "__main__":
    sys.exit(main())
