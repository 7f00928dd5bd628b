"""Jobs killed by SIGKILL: is every output the old or the new one, nothing gone, does a repeat complete?"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import ground as grounds
import onspark
import registry
from forked import kill_at, spread
from jobs import by_name, refusals, tree
from trial import FAULTS, Stand, changed, finish, seen, stand_of, strangers, tally

#: A job on Spark takes seconds to begin.
MOST_ON_SPARK = 16


def points_of(stand: Stand, count: int, rng: random.Random) -> list[int]:
    """Return file events to kill at: all when there are few, else the first, the last and some between."""
    every = list(range(1, len(stand.moments) + 1))
    if len(every) <= count:
        return every
    return sorted({*every[:2], *every[-4:], *rng.sample(every, max(0, count - 6))})


def campaign(stand: Stand, kills: int, seed: int) -> dict[str, object]:
    """Kill one job at file events and at even moments; after each look, repeat, and look again."""
    rng = random.Random(seed)
    points = points_of(stand, max(1, round(kills * 0.6)), rng)
    moments = list(spread(max(1, kills - len(points)), stand.seconds))
    rows: list[dict[str, object]] = []
    began = time.monotonic()
    for number, at in enumerate([*points, *moments]):
        stand.fresh()
        if isinstance(at, int):
            end, where = stand.child(kill_at(at)).wait(), f"event {at}: {stand.moments[at - 1]}"
        else:
            child = stand.child(lambda _: None)
            child.kill_after(at)
            end, where = child.wait(), f"{at:.3f} of {stand.seconds:.3f} s"
        if not end.killed_in_time:
            continue
        state, problems = seen(stand)
        problems += strangers(stand)
        problems += finish(stand, number)
        rows.append({"at": where, "state": state, "problems": problems})
    return report(stand, rows, time.monotonic() - began)


def refused(stand: Stand) -> list[str]:
    """Hold a run that had to refuse against what was there before it."""
    problems = [] if stand.problems else [f"deleted_foreign: {stand.job.name} wrote among tables of others"]
    now = tree(stand.place.home)
    moved = changed(stand.before, {name: digest for name, digest in now.items() if not name.endswith("/")})
    return problems + ([f"deleted_foreign: a refusal changed {moved}"] if moved else [])


def report(stand: Stand, rows: list[dict[str, object]], seconds: float) -> dict[str, object]:
    """Sum up one job."""
    problems = [*stand.problems, *(text for row in rows for text in row["problems"])]  # type: ignore[attr-defined]
    states = [str(row["state"]) for row in rows]
    return {
        "kills": len(rows),
        **tally(problems),
        "undisturbed": len(stand.problems),
        "states": {name: states.count(name) for name in sorted(set(states))},
        "events": len(stand.moments),
        "seconds_of_the_job": round(stand.seconds, 3),
        "seconds": round(seconds, 1),
        "faults": [{"at": "undisturbed", "problems": stand.problems}] * bool(stand.problems)
        + [row for row in rows if row["problems"]],
    }


def line(name: str, found: dict[str, object]) -> str:
    """Write one job as a line of the table."""
    counts = "  ".join(f"{key} {found[key]}" for key in ("kills", *FAULTS))
    return f"{name:36}  {counts}  {found['states']}  {found['seconds']} s"


def run(
    names: list[str], folder: Path, kills: int, seed: int, *, small: bool, keep: Path | None
) -> dict[str, dict[str, object]]:
    """Kill every job asked for."""
    ground = grounds.lay(keep or folder / "ground", small=small)
    grounds.warm(ground)
    found: dict[str, dict[str, object]] = {}

    def tell(name: str, result: dict[str, object]) -> None:
        found[name] = result
        print(line(name, result), flush=True)
        for fault in result["faults"][:3]:  # type: ignore[index]
            print(f"    {fault['at']}: {fault['problems'][:3]}", flush=True)

    for job in by_name(ground, names):
        tell(job.name, campaign(stand_of(job, folder / job.name), kills, seed))
    if not names or "among-tables" in names:
        problems = [text for job in refusals(ground) for text in refused(stand_of(job, folder / job.name))]
        rows = [{"at": "among tables of others", "problems": problems}] * bool(problems)
        more = {"kills": 0, "states": {}, "seconds": 0.0, "faults": rows}
        tell("among-tables", {**tally(problems), **more})
    if not names or "retrain" in names:
        tell("retrain", registry.campaign(ground, folder / "retrain", kills, seed))
    if not names or "retrain-cold" in names:
        tell("retrain-cold", registry.campaign(ground, folder / "cold", max(3, kills // 2), seed, cold=True))
    if not names or "spark" in names:
        tell("spark", onspark.campaign(ground, folder / "spark", min(kills, MOST_ON_SPARK)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few kills on a small model, nothing written")
    parser.add_argument("--kills", type=int, default=30, help="a job")
    parser.add_argument("--job", action="append", default=[], help="jobs whose name begins so; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ground", type=Path, help="folder to keep models and inputs in, for the next run")
    parser.add_argument("--out", type=Path, default=None, help="folder for kills.json (default: beside this)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        kills = 6 if asked.smoke else asked.kills
        found = run(asked.job, Path(name), kills, asked.seed, small=asked.smoke, keep=asked.ground)
    total = {key: sum(int(each[key]) for each in found.values()) for key in ("kills", *FAULTS)}  # type: ignore[call-overload]
    print(json.dumps(total))
    if not asked.smoke:
        target = (asked.out or Path(__file__).resolve().parent) / "kills.json"
        target.write_text(json.dumps({"seed": asked.seed, "total": total, "jobs": found}, indent=1) + "\n")
    return 1 if any(total[key] for key in FAULTS) else 0


if __name__ == "__main__":
    sys.exit(main())
