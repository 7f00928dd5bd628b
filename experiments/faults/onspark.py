"""Scoring on Spark, killed with all its processes or the driver alone: no run that looks whole and isn't."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from forked import Child, End, run, spread
from ground import PARTS, ROWS, Ground
from jobs import Tree, plant, tree
from trial import changed, tally

sys.path.append(str(Path(__file__).resolve().parents[1]))
from local_spark import SHORT, local_spark, missing_spark

FOREIGN = {"notes.md": "do not delete", "out-notes/part-00000.parquet": "a base written by Spark"}


def _score(ground: Ground, root: Path) -> None:
    """Score a base and write it as a user would: over what an earlier try left."""
    from icp_ml.adapters.spark import score_spark

    settings = {**SHORT, "spark.local.dir": str(root / "spark")}
    with local_spark(settings, memory="512m") as spark:
        df = spark.read.parquet(str(root / "in"))
        score_spark(df, ground.new).write.mode("overwrite").parquet(str(root / "home" / "out"))


def _rows(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what a finished run holds, by account."""
    table = pq.read_table(root / "home" / "out").to_pylist()
    found = {str(row["account_id"]): tuple(map(str, row.values())) for row in table}
    if len(found) != len(table):
        raise ValueError(f"doubled: {len(table) - len(found)} accounts")
    return found


def _lay(ground: Ground, root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for name in ("home", "tmp", "spark"):
        (root / name).mkdir(parents=True)
    shutil.copytree(ground.folder / "base", root / "in")
    plant(root / "home", FOREIGN)


def campaign(ground: Ground, folder: Path, kills: int) -> dict[str, object]:
    """Kill at even moments, the driver alone and its whole group by turns; look, repeat, look again."""
    if missing_spark():
        return {
            "kills": 0,
            **tally([]),
            "states": {},
            "seconds": 0.0,
            "faults": [],
            "skipped": missing_spark(),
        }
    root, said, began = folder / "try", folder / "said.txt", time.monotonic()
    folder.mkdir(parents=True)

    def once() -> End:
        return run(lambda: _score(ground, root), said, root / "tmp", 300.0)

    _lay(ground, root)
    end = once()
    if end.code:
        raise SystemExit(end.said[-3000:])
    wanted, inputs, length = _rows(root), tree(root / "in"), end.seconds
    rows: list[dict[str, object]] = []
    for number, at in enumerate(spread(kills, length)):
        _lay(ground, root)
        child = Child(lambda: _score(ground, root), said, root / "tmp")
        child.kill_after(at, group=bool(number % 2))
        if not child.wait().killed_in_time:
            continue
        whole = (root / "home" / "out" / "_SUCCESS").exists()
        problems = [] if not whole or _rows(root) == wanted else ["corrupt: _SUCCESS over other rows"]
        again = once()
        problems += _after(root, wanted, inputs) if not again.code else [f"rerun_failed: {again.said[-300:]}"]
        how = "all" if number % 2 else "driver"
        rows.append(
            {
                "at": f"{at:.2f} of {length:.2f} s, {how}",
                "state": "new" if whole else "unfinished",
                "problems": problems,
            }
        )
    states = [str(row["state"]) for row in rows]
    return {
        "kills": len(rows),
        **tally([text for row in rows for text in row["problems"]]),  # type: ignore[attr-defined]
        "undisturbed": int(len(wanted) != PARTS * ROWS),
        "states": {name: states.count(name) for name in sorted(set(states))},
        "events": 0,
        "seconds_of_the_job": round(length, 3),
        "seconds": round(time.monotonic() - began, 1),
        "faults": [row for row in rows if row["problems"]],
    }


def _after(root: Path, wanted: dict[str, tuple[object, ...]], inputs: Tree) -> list[str]:
    problems = []
    try:
        if _rows(root) != wanted:
            problems.append("differs: the repeat has other rows")
    except ValueError as error:
        problems.append(str(error))
    if changed(inputs, tree(root / "in")):
        problems.append("input_changed: the base")
    gone = [
        name for name, text in FOREIGN.items() if (root / "home" / name).read_text(encoding="utf-8") != text
    ]
    left = [
        name
        for name in tree(root / "tmp")
        if "spark" not in name and "pyspark" not in name and "hsperf" not in name
    ]
    return problems + [f"deleted_foreign: {gone}"] * bool(gone) + [f"leftovers: {left[:4]}"] * bool(left)
