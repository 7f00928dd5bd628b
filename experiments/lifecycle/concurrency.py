"""Several retrainings at once on one store: distinct versions, one champion, a whole history?"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import server
import world

HERE = Path(__file__).resolve().parent
STORES = ("SQLite, cold", "SQLite, warm", "PostgreSQL, new model", "PostgreSQL, warm")
SMOKE = {"cold": 2, "new model": 2, "warm": 4}


@dataclass
class Place:
    """Where the jobs of one cell meet; with a mark of its own, where other cells of this mark have met."""

    kind: str
    jobs: int
    folder: Path
    address: str = ""
    mark: str = ""

    def at(self, repeat: int) -> tuple[str, str]:
        """Return store and registered model of a repeat: new ones when cold, else always the same."""
        fresh = "cold" in self.kind or "new" in self.kind
        mark = self.mark or f"{self.kind[-4:]}-{self.jobs}-{repeat if fresh else 'all'}"
        if self.address:
            return self.address, f"icp-{mark}"
        return f"sqlite:///{self.folder / f'store-{mark}.db'}", "icp"


def once(store: str, model: str, jobs: int, said: Path) -> dict[str, object]:
    """Run jobs at the same time and return their exit codes and what the registry holds then."""
    began = time.time() + 0.5

    def job() -> int:
        time.sleep(max(began - time.time(), 0.0))
        return world.retrain_job(store, force=True, model=model)

    clock = time.monotonic()
    codes = [world.wait(child, 900.0) for child in [world.start(job, said) for _ in range(jobs)]]
    seconds = time.monotonic() - clock
    answer = said.with_suffix(".state.json")
    world.wait(world.start(partial(_look, store, model, answer), said))
    return {"codes": codes, "seconds": round(seconds, 1)} | json.loads(answer.read_text(encoding="utf-8"))


def _look(store: str, model: str, answer: Path) -> int:
    answer.write_text(json.dumps(world.state(store, model)), encoding="utf-8")
    return 0


def repeats(place: Place, count: int, before: dict[str, int]) -> Iterator[dict[str, object]]:
    """Repeat, and say of each what came of it; ``before`` counts the versions of each model so far."""
    said = place.folder / "said.txt"
    for repeat in range(1, count + 1):
        store, model = place.at(repeat)
        found = once(store, model, place.jobs, said)
        versions = len(found["status"])
        new = versions - before.get(model + store, 0)
        before[model + store] = versions
        row = {
            "repeat": repeat,
            "exit_codes": found["codes"],
            "crashes": sum(code not in (0, 3) for code in found["codes"]),
            "new_versions": new,
            "promotions": len(found["history"]),
            "champion": found["champion"],
            "sound": world.sound(found) and new == place.jobs,
            "seconds": found["seconds"],
        }
        if not row["sound"] or row["crashes"]:
            row |= {"state": found, "said": said.read_text(encoding="utf-8")[-3000:]}
        print(f"{place.jobs} jobs, {place.kind}: {row}", flush=True)
        yield row


def cell(place: Place, count: int, before: dict[str, int]) -> dict[str, object]:
    """Run one cell and sum it up."""
    rows = list(repeats(place, count, before))
    return {
        "jobs": place.jobs,
        "store": place.kind,
        "repeats": len(rows),
        "crashes": sum(row["crashes"] for row in rows),
        "unsound": sum(not row["sound"] for row in rows),
        "median_seconds": statistics.median(row["seconds"] for row in rows),
        "rows": rows,
    }


def keep(result: list[dict[str, object]], folder: Path | None) -> None:
    """Write what is known so far: a run that is cut leaves its finished cells."""
    if folder is not None:
        part = folder / "concurrency.json.part"
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        part.replace(folder / "concurrency.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="once: two jobs, then four there; nothing written"
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--jobs", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--bundle", type=Path, help="take this model instead of training one")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for concurrency.json")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends too
    lacks = server.lacks()
    stores = [kind for kind in asked.stores if not (lacks and kind.startswith("PostgreSQL"))]
    count, mark = (1, "smoke") if asked.smoke else (asked.repeats, "")
    result: list[dict[str, object]] = []
    before: dict[str, int] = {}
    world.warm_up()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        world.use_ready_model(asked.bundle or world.ready_bundle(folder))
        running = None
        for kind in stores:
            if kind.startswith("PostgreSQL") and running is None:
                running = stack.enter_context(server.mlflow_server())
                os.environ.update(running.credentials())
            address = running.address if running and kind.startswith("PostgreSQL") else ""
            for number in [SMOKE[kind.partition(", ")[2]]] if asked.smoke else asked.jobs:
                result.append(cell(Place(kind, number, folder, address, mark), count, before))
                keep(result, None if asked.smoke else asked.out)
    for row in result:
        print({key: value for key, value in row.items() if key != "rows"})
    if lacks:
        print(f"PostgreSQL left out: {lacks}")
    return 1 if any(row["crashes"] or row["unsound"] for row in result) else 0


if __name__ == "__main__":
    sys.exit(main())
