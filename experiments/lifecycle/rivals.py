"""Several retrainings at once on one store: distinct versions, one champion, a whole history?"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import world


def once(store: str, jobs: int, said: Path) -> dict[str, object]:
    """Run jobs at the same time and return what the registry holds then."""
    began = time.time() + 1.0

    def job() -> int:
        time.sleep(max(began - time.time(), 0.0))
        return world.retrain_job(store, force=True)

    codes = [world.wait(child) for child in [world.start(job, said) for _ in range(jobs)]]
    answer = said.with_suffix(".state.json")
    world.wait(world.start(partial(_look, store, answer), said))
    found = json.loads(answer.read_text(encoding="utf-8"))
    return {"codes": codes, "state": found, "sound": world.sound(found), "versions": len(found["status"])}


def _look(store: str, answer: Path) -> int:
    answer.write_text(json.dumps(world.state(store)), encoding="utf-8")
    return 0


def run(jobs: int, repeats: int, folder: Path, *, cold: bool) -> dict[str, object]:
    """Repeat, on a new store each time (cold) or on one that has its tables and a champion (warm)."""
    said = folder / "said.txt"
    crashes, unsound, seconds = 0, [], []
    codes: Counter[int] = Counter()
    versions = 0
    for repeat in range(repeats):
        name = f"cold-{jobs}-{repeat}" if cold else f"warm-{jobs}"
        store = f"sqlite:///{folder / f'{name}.db'}"
        began = time.monotonic()
        found = once(store, jobs, said)
        seconds.append(time.monotonic() - began)
        expected = jobs if cold else versions + jobs
        versions = 0 if cold else expected
        codes.update(found["codes"])
        crashes += sum(code not in (0, 3) for code in found["codes"])
        if not found["sound"] or found["versions"] != expected:
            unsound.append(found)
        print(
            f"{jobs} jobs, {'cold' if cold else 'warm'}, repeat {repeat + 1}: {found['codes']}, "
            f"{found['versions']} versions, {'sound' if found['sound'] else 'NOT SOUND ' + str(found)[:800]}",
            flush=True,
        )
    if crashes:
        print(said.read_text(encoding="utf-8")[-4000:])
    return {
        "jobs": jobs,
        "store": "SQLite, cold" if cold else "SQLite, warm",
        "repeats": repeats,
        "crashes": crashes,
        "unsound": len(unsound),
        "exit_codes": {str(code): n for code, n in sorted(codes.items())},
        "longest_seconds": round(max(seconds), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one repeat of two jobs, nothing written")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--jobs", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--bundle", type=Path, help="take this model instead of training one")
    parser.add_argument(
        "--out", type=Path, default=None, help="folder for rivals.json (default: beside this)"
    )
    asked = parser.parse_args()
    world.warm_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world.use_ready_model(asked.bundle or world.ready_bundle(folder))
        cells = [(2, 1, True), (2, 1, False)] if asked.smoke else []
        cells = cells or [(jobs, asked.repeats, cold) for jobs in asked.jobs for cold in (True, False)]
        result = [run(jobs, repeats, folder, cold=cold) for jobs, repeats, cold in cells]
    print(json.dumps(result, indent=1))
    if not asked.smoke:
        target = (asked.out or Path(__file__).resolve().parent) / "rivals.json"
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["crashes"] or row["unsound"] for row in result) else 0


if __name__ == "__main__":
    sys.exit(main())
