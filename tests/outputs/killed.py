"""Kill a job before and after each thing that it does to a name on disk; look at what is left each time.

Run it in a process of its own: it forks often. ``killed.py bundle|scores [no-exchange|moved] [every=N]``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from icp_ml import swapping
from icp_ml.model.bundlefiles import read_bundle
from icp_ml.model.store import write_bundle
from icp_ml.serve import scorefolder
from icp_ml.serve.runfile import digest
from icp_ml.serve.scorefolder import MOVING, open_folder
from icp_ml.serve.scoreparts import PartWriter

CALLS = ("rename", "replace", "link", "unlink", "rmdir", "mkdir", "fsync")


class Gaps:
    missing: dict = {}
    unseen: dict = {}

    def __init__(self, rows: int) -> None:
        self.rows = rows


def score(out: Path, day: str, parts: int, **how: bool) -> None:
    """Write a run whose every cell names its day."""
    schema = pa.schema([("account_id", pa.string()), ("tier", pa.string())])
    settings = {"overwrite": False, "resume": False, "resumable": True, **how}
    with open_folder(out, "parquet", **settings) as folder:
        entries = []
        for number in range(parts):
            part = folder.part(number)
            wanted = {"source": f"{number}", "sha256": day, "rows": 2, "partition_by": "tier"}
            entry = folder.kept(part, wanted)
            if entry is None:
                with PartWriter(part, schema, "parquet", "tier") as writer:
                    writer.write(
                        pa.table(
                            {"account_id": [f"{day}{number}", f"{day}x"], "tier": ["A", "B"]}, schema=schema
                        )
                    )
                entry = folder.finish(part, wanted, Gaps(2))
            entries.append(entry)
        folder.close({"model_version": day}, entries, 2 * parts)


def state_of_scores(out: Path) -> str:
    """Return the day of the run in a folder, after checking that it's whole and that nothing else is seen."""
    content = json.loads((out / "_scores.json").read_text())
    named = {name: sha for part in content["parts"] for name, sha in part["files"].items()}
    seen = {file.relative_to(out).as_posix() for file in out.rglob("*.parquet")}
    assert seen == set(named), (seen, set(named))
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == sha for name, sha in named.items())
    assert content["rows_in"] == content["rows_out"] == content["rows"] == 2 * len(content["parts"])
    return str(content["model_version"])


def state_when_moved(out: Path, old: Path) -> str:
    """Return the day where the run is whole; until then a reader sees files of one day only."""
    if (out / "_scores.json").exists() and not (out / MOVING).exists():
        return state_of_scores(out)
    before = {digest(file) for file in old.rglob("*.parquet")}
    seen = [digest(file) in before for file in out.rglob("*.parquet")]
    assert len(set(seen)) <= 1, seen
    return "moving"


def save(path: Path, day: str) -> None:
    write_bundle(path, {"model.json": {"day": day}, f"trees/{day}.txt": day})


def state_of_bundle(path: Path) -> str:
    parts = read_bundle(path)
    day = parts["model.json"]["day"]
    assert parts == {"model.json": {"day": day}, f"trees/{day}.txt": day}
    return str(day)


def die_at(moment: int) -> Callable[[], None]:
    seen = [0]

    def tick() -> None:
        seen[0] += 1
        if seen[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    for module, name in [*((os, call) for call in CALLS), (swapping, "exchange")]:
        whole = getattr(module, name)

        def twice(*args, call=whole, **more):
            tick()
            result = call(*args, **more)
            tick()
            return result

        setattr(module, name, twice)
    return tick


def killed(job: Callable[[], None], moment: int) -> bool:
    child = os.fork()
    if child == 0:
        die_at(moment)
        job()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, status
    return os.WIFSIGNALED(status)


def main(kind: str, *more: str) -> None:
    if "no-exchange" in more:
        swapping.exchange = lambda left, right: False  # type: ignore[assignment]
    if "moved" in more:
        # as of a mount: the system lets nothing of it be renamed to a name beside it
        scorefolder.fresh_name = lambda path: path / "nowhere" / "there"  # type: ignore[assignment]
    every = int(next((word.removeprefix("every=") for word in more if word.startswith("every=")), 1))
    root = Path(tempfile.mkdtemp())
    old, moment, seen = root / "old", 1 - every, set()
    if kind == "bundle":
        save(old, "yesterday")
    else:
        score(old, "yesterday", 3)
    while True:
        moment += every
        home = root / f"{moment}"
        home.mkdir()
        place = home / "out"
        shutil.copytree(old, place)
        note = place / ("notes.txt" if "moved" in more else "mine/notes.txt")
        note.parent.mkdir(exist_ok=True)
        note.write_text("precious")
        if kind == "bundle":
            dead = killed(lambda place=place: save(place, "today"), moment)
            state = state_of_bundle(place)
        else:
            dead = killed(lambda place=place: score(place, "today", 2, overwrite=True), moment)
            standing = swapping.standing(place)
            state = state_when_moved(place, old) if "moved" in more else state_of_scores(standing)
        seen.add(state)
        found = [file for file in home.rglob("notes.txt") if file.read_text() == "precious"]
        assert found, f"precious file lost at moment {moment}"
        if kind == "bundle":
            save(place, "tomorrow")
            assert state_of_bundle(place) == "tomorrow"
        else:
            score(place, "tomorrow", 1, overwrite=True)
            assert state_of_scores(place) == "tomorrow"
        assert note.read_text() == "precious"
        assert [file.name for file in home.iterdir()] == ["out"], list(home.iterdir())
        assert not list(place.glob(".*")), list(place.glob(".*"))
        if not dead:
            break
        shutil.rmtree(home)
    assert {"yesterday", "today"} <= seen
    shutil.rmtree(root)
    sys.stdout.write(f"{moment // every} moments\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
