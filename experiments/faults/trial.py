"""One try of a job: laid out anew, disturbed, looked at, run again, and looked at once more."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
from forked import Child, End, Points, run
from jobs import Job, Place, Tree, plant, tree

#: What is counted over the tries of a job; each bar is 0.
FAULTS = (
    "corrupt",
    "lost",
    "doubled",
    "deleted_foreign",
    "input_changed",
    "rerun_failed",
    "differs",
    "leftovers",
)


@dataclass
class Stand:
    """A job with what it leaves when nothing disturbs it.

    Parameters
    ----------
    job
        The job.
    folder
        Holds ``template`` (how a try begins) and ``try`` (the present one).
    before, after
        Files of ``home`` at the begin of a try and at its undisturbed end.
    inputs
        Files of the inputs.
    moments
        Names of the file events of an undisturbed run.
    seconds
        How long that takes.
    problems
        What is wrong without any disturbance.
    """

    job: Job
    folder: Path
    before: Tree = field(default_factory=dict)
    after: Tree = field(default_factory=dict)
    inputs: Tree = field(default_factory=dict)
    moments: list[str] = field(default_factory=list)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def place(self) -> Place:
        return Place(self.folder / "try")

    @property
    def said(self) -> Path:
        return self.folder / "said.txt"

    def fresh(self) -> Place:
        """Lay the folder of a try out as at the begin."""
        place = self.place
        place.root.mkdir(exist_ok=True)
        for old in place.root.iterdir():  # the folder itself may be a mount
            shutil.rmtree(old)
        shutil.copytree(self.folder / "template", place.root, symlinks=True, dirs_exist_ok=True)
        return place

    def run(self, work: Callable[[Place], object] | None = None) -> End:
        """Run the job, or another one in its folder, to its end."""
        chosen = work or self.job.run
        return run(lambda: chosen(self.place), self.said, self.place.temporary)

    def child(self, act: Callable[[int], None], also: Callable[[Points], object] | None = None) -> Child:
        """Begin the job, with something that happens at its file events."""

        def work() -> None:
            points = Points((self.place.home, self.place.temporary), act)
            self.job.watch(points)
            points.watch()
            if also is not None:
                also(points)
            self.job.run(self.place)
            points.off = True

        return Child(work, self.said, self.place.temporary)


def stand_of(job: Job, folder: Path) -> Stand:
    """Lay a job out, run it twice undisturbed, and note what it leaves."""
    stand = Stand(job, folder)
    place = stand.place
    for each in (place.inputs, place.home, place.temporary):
        each.mkdir(parents=True)
    end = stand.run(job.lay)
    if end.code:
        raise SystemExit(f"{job.name} can't be laid out: {end.said[-2000:]}")
    plant(place.out if place.out.is_dir() and job.kind == "scores" else place.home, job.foreign)
    shutil.rmtree(place.temporary)
    place.temporary.mkdir()
    place.root.rename(folder / "template")
    stand.fresh()
    stand.before, stand.inputs = tree(place.home), tree(place.inputs)
    noted = folder / "moments.json"

    def noting(points: Points) -> None:
        def act(_: int) -> None:
            points.off = True
            note_down(points.names, noted)
            points.off = False

        points.act = act

    end = stand.child(lambda _: None, noting).wait()
    stand.moments = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else []
    if end.code:
        stand.problems.append(f"undisturbed: {end.said[-500:]}")
    stand.after = tree(place.home)
    stand.problems += [f"undisturbed: {text}" for text in (*strangers(stand), *temporary_left(stand))]
    stand.fresh()
    stand.seconds = stand.run().seconds
    if tree(place.home) != stand.after:
        stand.problems.append(f"undisturbed: two runs differ in {changed(stand.after, tree(place.home))}")
    return stand


def note_down(names: list[str], file: Path) -> None:
    """Keep the names of the events so far."""
    file.write_text(json.dumps(names), encoding="utf-8")


def changed(one: Tree, other: Tree) -> list[str]:
    """Return the names whose content differs or that only one has."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))[:6]


def strangers(stand: Stand) -> list[str]:
    """Return what happened to strangers' files and to the inputs."""
    found = tree(stand.place.home)
    ours = stand.place.out.relative_to(stand.place.home).as_posix()
    at = f"{ours}/" if f"{ours}/notes.md" in stand.before else ""
    gone = [name for name in stand.job.foreign if found.get(at + name) != stand.before.get(at + name)]
    texts = [f"deleted_foreign: {gone}"] if gone else []
    moved = changed(stand.inputs, tree(stand.place.inputs))
    return texts + ([f"input_changed: {moved}"] if moved else [])


def temporary_left(stand: Stand) -> list[str]:
    left = sorted(tree(stand.place.temporary))
    return [f"leftovers: {left[:4]} in the folder of temporary files"] if left else []


def outputs(stand: Stand, whole: Tree) -> Tree:
    """Return what a reader sees of the output: no hidden files, none of strangers."""
    ours = stand.place.out.relative_to(stand.place.home).as_posix()
    foreign = {f"{ours}/{name}" for name in stand.job.foreign}
    return {
        name: digest
        for name, digest in whole.items()
        if (name == ours or name.startswith(f"{ours}/"))
        and name not in foreign
        and not name.endswith("/")
        and not any(part.startswith(".") for part in Path(name).parts)
    }


def seen(stand: Stand) -> tuple[str, list[str]]:
    """Return what a reader finds after a disturbance (old, new, nothing, unfinished), and what is wrong."""
    now = outputs(stand, tree(stand.place.home))
    old, new = outputs(stand, stand.before), outputs(stand, stand.after)
    if now == new:
        return "new", []
    if now == old:
        return "old" if old else "nothing", []
    ours = stand.place.out.relative_to(stand.place.home).as_posix()
    run_file = f"{ours}/_scores.json"
    if stand.job.kind != "scores":
        return (
            ("lost", ["lost: neither old nor new"])
            if not now
            else ("corrupt", [f"corrupt: {changed(new, now)}"])
        )
    if run_file in now:
        return "corrupt", [f"corrupt: a run file over {changed(new, now)}"]
    if run_file in old or (old and f"{ours}/scores.parquet" in old):
        return "lost", [f"lost: yesterday's scores, before today's were whole; there are {sorted(now)[:4]}"]
    halves = [name for name, digest in now.items() if new.get(name) != digest and old.get(name) != digest]
    return "unfinished", [f"corrupt: {halves[:4]}"] if halves else []


def rows_of(stand: Stand) -> list[str]:
    """Check that every account of the inputs is in the scores exactly once."""
    out = stand.place.out
    if not out.is_dir():
        return []
    ours = {file.name for file in out.rglob("*") if file.name.startswith(("part-0", "scores.parquet"))}
    foreign = {(out / name).resolve() for name in stand.job.foreign}
    ids: Counter[str] = Counter()
    for file in sorted(out.rglob("*")):
        if file.name not in ours or not file.is_file() or file.resolve() in foreign:
            continue
        table = pyarrow.csv.read_csv(file) if file.suffix == ".csv" else pq.ParquetFile(file).read()
        ids.update(table["account_id"].to_pylist())
    doubled = [name for name, n in ids.items() if n > 1]
    return [f"doubled: {len(doubled)} accounts such as {doubled[:3]}"] if doubled else []


def finish(stand: Stand, number: int) -> list[str]:
    """Run the job again and hold the result against the undisturbed one."""
    again = stand.job.again[number % len(stand.job.again)]
    end = stand.run(again)
    if end.code:
        return [f"rerun_failed: {end.said.strip()[-300:]}", *strangers(stand)]
    found = tree(stand.place.home)
    extra = sorted(set(found) - set(stand.after))
    other = [name for name in stand.after if found.get(name) != stand.after[name]]
    problems = [f"leftovers: {extra[:4]}"] if extra else []
    problems += [f"differs: {other[:4]}"] if other else []
    return [*problems, *rows_of(stand), *strangers(stand), *temporary_left(stand)]


def tally(problems: list[str]) -> dict[str, int]:
    """Count problems by what they begin with."""
    counts = Counter(text.removeprefix("undisturbed: ").partition(":")[0] for text in problems)
    return {name: counts.get(name, 0) for name in FAULTS}
