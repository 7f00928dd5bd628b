"""Retrainings killed at random moments: does the champion always load, does a repeat complete?"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import world


def settle_time(store: str, said: Path, *, force: bool) -> float:
    """Run one job undisturbed and return how long it takes."""
    began = time.monotonic()
    code = world.wait(world.start(lambda: world.retrain_job(store, force=force), said))
    if code not in (0, 3):
        raise SystemExit(said.read_text(encoding="utf-8")[-3000:])
    return time.monotonic() - began


def inspected(store: str, said: Path) -> dict[str, object]:
    """Look at the registry from a process of its own, as the present one must open no store before forks."""
    answer = said.with_suffix(".state.json")
    world.wait(world.start(lambda: answer.write_text(json.dumps(world.state(store))) * 0, said))
    return json.loads(answer.read_text(encoding="utf-8"))


def calls_of(store: str, said: Path) -> int:
    """Run one job undisturbed and return how often it calls MLflow."""
    answer = said.with_suffix(".calls")

    def job() -> int:
        world.count_calls(said=answer)
        return world.retrain_job(store, force=True)

    world.wait(world.start(job, said))
    return int(answer.read_text(encoding="utf-8"))


def killed_at_call(store: str, said: Path, point: int) -> int:
    """Run a job that is killed at one of its calls to MLflow."""

    def job() -> int:
        world.count_calls(die_at=point)
        return world.retrain_job(store, force=True)

    return world.wait(world.start(job, said))


def killed_at_time(store: str, said: Path, moment: float) -> int:
    """Run a job that is killed after some seconds."""
    child = world.start(partial(world.retrain_job, store, force=True), said)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    return world.wait(child)


def run(kills: int, folder: Path, seed: int, *, by_time: float, cold: bool) -> dict[str, object]:
    """Kill jobs at random moments; after each, look, repeat to the end, and look again."""
    rng = random.Random(seed)
    said = folder / "said.txt"
    store = f"sqlite:///{folder / 'mlflow.db'}"
    settle_time(store, said, force=True)
    length, calls = settle_time(store, said, force=True), calls_of(store, said)
    problems, rows = [], []
    while len(rows) < kills:
        if cold and len(rows) % 6 == 5:
            store = f"sqlite:///{folder / f'cold-{len(rows)}.db'}"
        if rng.random() < by_time:
            moment = rng.uniform(0.0, length)
            at, ended = f"{moment:.2f} of {length:.2f} s", killed_at_time(store, said, moment)
        else:
            point = rng.randrange(2, 2 * calls + 2)
            at, ended = f"call {point / 2} of {calls}", killed_at_call(store, said, point)
        if ended != -signal.SIGKILL:
            continue
        between = inspected(store, said)
        again = world.wait(world.start(partial(world.retrain_job, store, force=True), said))
        after = inspected(store, said)
        left = sorted(name for name, value in between.items() if value is False)
        row = {"at": at, "left_by_the_kill": left, "repeat": again, "sound": world.sound(after)}
        rows.append(row)
        if not between["champion_loads"] or again not in (0, 3) or not world.sound(after):
            problems.append({**row, "between": between, "after": after})
        print(f"kill {len(rows)}: {row}", flush=True)
    return {
        "kills": len(rows),
        "seconds_of_a_job": round(length, 2),
        "calls": calls,
        "problems": problems,
        "rows": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="ten kills, nothing written")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by-time", type=float, default=0.5, help="share killed by time, not at a call")
    parser.add_argument("--bundle", type=Path, help="take this model instead of training one")
    parser.add_argument("--out", type=Path, default=None, help="folder for kills.json (default: beside this)")
    asked = parser.parse_args()
    world.warm_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = asked.bundle or world.ready_bundle(folder)
        world.use_ready_model(bundle)
        kills = 10 if asked.smoke else asked.kills
        result = run(kills, folder, asked.seed, by_time=asked.by_time, cold=not asked.smoke)
    print(f"{result['kills']} kills, {len(result['problems'])} problems")
    if not asked.smoke:
        target = (asked.out or Path(__file__).resolve().parent) / "kills.json"
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
