"""Retrainings killed on a store: the champion loads, none is half promoted, a repeat completes."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from forked import Child, End, run, spread
from ground import Ground
from jobs import plant, tree
from trial import changed, tally

sys.path.append(str(Path(__file__).resolve().parents[1] / "lifecycle"))
import world

import icp_ml as icp

#: What others keep beside the database and among the artifacts.
FOREIGN = {"notes.md": "do not delete", "mlartifacts/notes.md": "of another team", "icp.lock": "not ours"}


class Store:
    """One store, begun with a champion (or ``cold``, with nothing), laid out anew for each try."""

    def __init__(self, ground: Ground, folder: Path, *, cold: bool = False) -> None:
        self.ground, self.cold = ground, cold
        self.template, self.root = folder / "template", folder / "try"
        self.said = folder / "said.txt"
        self.home.mkdir(parents=True)
        self.temporary.mkdir()
        end = None if cold else self.run(self.retrain("old"))
        if end is not None and end.code:
            raise SystemExit(end.said[-3000:])
        plant(self.home, FOREIGN)
        self.root.rename(self.template)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def address(self) -> str:
        return f"sqlite:///{self.home / 'mlflow.db'}"

    def fresh(self) -> None:
        """Begin again with yesterday's champion."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)

    def retrain(
        self, name: str, die_at: int | None = None, calls: Path | None = None
    ) -> Callable[[], object]:
        """Return a retraining that takes a ready model: what is tried is the registry."""

        def work() -> None:
            import icp_ml.serve.retrain as line

            ready, whole = icp.load(self.ground.folder / name), line.evaluate
            for which, quick in (
                ("train_configured", lambda *_, **__: ready),
                ("evaluate", lambda *args, **more: whole(*args, **{**more, "n_bootstrap": 10})),
            ):
                getattr(line, which)
                setattr(line, which, quick)
            if die_at is not None or calls is not None:
                world.count_calls(die_at=die_at, said=calls)
            tables, _ = icp.read_tables(self.ground.folder / "crm")
            icp.retrain(tables, self.ground.config(), world.tracker(self.address), force=True)

        return work

    def run(self, work: Callable[[], object]) -> End:
        return run(work, self.said, self.temporary)

    def state(self) -> dict[str, object]:
        """Look at the registry from a process of its own, which opens no store in this one."""
        answer = self.said.with_suffix(".state.json")
        answer.unlink(missing_ok=True)

        def work() -> None:
            found = world.state(self.address)
            champion = found["champion"]
            if champion is not None:
                rows = icp.build_features(
                    icp.read_tables(self.ground.folder / "crm")[0],
                    as_of="2025-09-30",
                    schema=icp.load(self.ground.new).schema,
                ).head(40)
                scores = world.tracker(self.address).load(str(champion)).score(rows)
                found["scores"] = (
                    scores["icp_score"].round(9).tolist() if "icp_score" in scores else len(scores)
                )
            answer.write_text(json.dumps(found), encoding="utf-8")

        end = self.run(work)
        if end.code:
            return {"champion_loads": False, "why": end.said[-300:]}
        return json.loads(answer.read_text(encoding="utf-8"))

    def strangers(self) -> list[str]:
        gone = [name for name, text in FOREIGN.items() if _text(self.home / name) != text]
        return [f"deleted_foreign: {gone}"] if gone else []


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def campaign(ground: Ground, folder: Path, kills: int, seed: int, *, cold: bool = False) -> dict[str, object]:
    """Kill retrainings by turns at a call to MLflow and at a moment; look, repeat, look again."""
    rng, began = random.Random(seed), time.monotonic()
    inputs = tree(ground.folder / "crm")
    store = Store(ground, folder, cold=cold)
    counted = folder / "calls.txt"
    store.fresh()
    store.run(store.retrain("new", calls=counted))
    calls, wanted = int(counted.read_text(encoding="utf-8")), store.state()
    store.fresh()
    length = store.run(store.retrain("new")).seconds
    at_calls = rng.sample(range(2, 2 * calls + 2), min((kills + 1) // 2, 2 * calls))
    rows: list[dict[str, object]] = []
    for at in [*at_calls, *spread(kills - len(at_calls), length)]:
        store.fresh()
        if isinstance(at, int):
            end, where = store.run(store.retrain("new", die_at=at)), f"call {at / 2} of {calls}"
        else:
            child = Child(store.retrain("new"), store.said, store.temporary)
            child.kill_after(at)
            end, where = child.wait(), f"{at:.2f} of {length:.2f} s"
        if not end.killed_in_time:
            continue
        rows.append({"at": where, **_looked_at(store, wanted, inputs)})
    problems = [text for row in rows for text in row["problems"]]  # type: ignore[attr-defined]
    states = [str(row["state"]) for row in rows]
    return {
        "kills": len(rows),
        **tally(problems),
        "undisturbed": int(not world.sound(wanted)),
        "states": {name: states.count(name) for name in sorted(set(states))},
        "events": calls,
        "seconds_of_the_job": round(length, 3),
        "seconds": round(time.monotonic() - began, 1),
        "faults": [row for row in rows if row["problems"]],
    }


def _looked_at(store: Store, wanted: dict[str, object], inputs: dict[str, str]) -> dict[str, object]:
    """Look after a kill, repeat, and look again."""
    made = (store.home / "mlflow.db").exists()
    between = store.state() if made else {"champion_loads": True}
    problems = store.strangers()
    if not between["champion_loads"] or (between.get("champion") is None and not store.cold):
        problems.append(f"lost: the champion doesn't load: {between.get('why', '')}")
    champion = str(between.get("champion"))
    if between.get("status", {}).get(champion, "approved") not in ("approved", "pending"):  # type: ignore[attr-defined]
        problems.append(f"corrupt: champion {champion} is {between['status']}")
    end = store.run(store.retrain("new"))
    if end.code:
        problems.append(f"rerun_failed: {end.said.strip()[-300:]}")
    after = store.state()
    if not world.sound(after):
        wrong = sorted(name for name, value in after.items() if value is False)
        problems.append(f"corrupt: after the repeat {wrong}")
    if after.get("scores") != wanted.get("scores"):
        problems.append("differs: the champion scores otherwise than undisturbed")
    left = sorted(tree(store.temporary)) + [str(each.name) for each in store.home.glob(".*")]
    if left:
        problems.append(f"leftovers: {left[:4]}")
    if changed(inputs, tree(store.ground.folder / "crm")):
        problems.append("input_changed: the tables")
    return {"state": f"champion {champion}", "problems": [*problems, *store.strangers()]}
