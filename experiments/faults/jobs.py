"""The jobs that are killed and disturbed: how their folder is laid out, what they run, what may be left."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forked import Points
from ground import AS_OF, PARTS, Ground

import icp_ml as icp

Tree = dict[str, str]

#: What others keep in a folder of scores; none of it may ever go.
FOREIGN = {
    "notes.md": "do not delete",
    "part-list.xlsx": "spare parts of the workshop",
    "region=EMEA/part-00000.txt": "beside a base written by Spark",
    "manifest.json": '{"name": "a web app", "files": {"part-list.xlsx": "00"}}',
    ".part-of-mine.json": '{"part": "of another program"}',
    "tier=A/readme.txt": "what A means",
}
#: Tables of strangers: a job that finds one refuses, as it can't tell a base from scores.
TABLES = {"region=EMEA/part-00000.parquet": "a base written by Spark", "part-00000.csv": "account_id\na\n"}
#: What others keep beside a bundle or a report, under names like those of our temporary ones.
BESIDE = {
    "notes.md": "do not delete",
    ".out.notes/readme.md": "hidden, begins with the name of the output",
    ".out.old.mine/readme.md": "hidden as well",
    "manifest.json": '{"name": "a web app"}',
}


class RefusedError(Exception):
    """The command line ended with a sentence and a code other than 0 and 3."""


@dataclass(frozen=True)
class Place:
    """The folder of one try.

    Parameters
    ----------
    root
        Laid out anew for each try, always under the same name.
    """

    root: Path

    @property
    def inputs(self) -> Path:
        return self.root / "in"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def out(self) -> Path:
        return self.home / "out"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"


@dataclass(frozen=True)
class Job:
    """One job.

    Parameters
    ----------
    name
        Also of a variant, such as ``score-parquet-overwrite``.
    run
        What is killed.
    again
        What completes after a kill; each try takes the next of them.
    lay
        Makes what was there before, such as yesterday's scores.
    foreign
        Files of strangers in ``home``, path → content.
    points
        Functions whose calls count as moments too: module and name.
    kind
        "folder", "file" or "scores": what ``out`` is, and so what may be seen after a kill.
    """

    name: str
    run: Callable[[Place], object]
    again: tuple[Callable[[Place], object], ...]
    lay: Callable[[Place], object] = lambda _: None
    foreign: Mapping[str, str] = field(default_factory=dict)
    points: tuple[tuple[str, str], ...] = ()
    kind: str = "scores"

    def watch(self, points: Points) -> None:
        """Count calls of the job's own functions in this process too."""
        from importlib import import_module

        for where, name in self.points:
            module, _, holder = where.partition(":")
            place = import_module(module)
            place = getattr(place, holder) if holder else place
            setattr(place, name, points.counted(getattr(place, name), name))


def command(*words: object) -> None:
    """Run the command line in this process; an error of ours is a refusal, any other one goes on."""
    from icp_ml.cli import main

    code = main([str(word) for word in words], standalone_mode=False)
    if code not in (None, 0, 3):
        raise RefusedError(f"exit code {code}")


def tree(folder: Path, *, hidden: bool = True) -> Tree:
    """Return the files below a folder with their SHA-256, and empty folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not hidden and any(part.startswith(".") for part in Path(name).parts):
            continue
        if path.is_symlink() or path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not any(path.iterdir()):
            found[f"{name}/"] = "empty"
    return found


def plant(folder: Path, files: Mapping[str, str]) -> None:
    """Write files of strangers."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def jobs(ground: Ground) -> list[Job]:
    """Return every job."""
    return [*_bundles(ground), *_scores(ground), *_tables(ground)]


def by_name(ground: Ground, names: Iterable[str]) -> list[Job]:
    """Return the jobs whose names begin with one of those given; all, when none is."""
    wanted = tuple(names)
    return [job for job in jobs(ground) if not wanted or job.name.startswith(wanted)]


def _bundles(ground: Ground) -> list[Job]:
    def save_new(place: Place) -> None:
        icp.save(icp.load(ground.new), place.out)

    def train(place: Place) -> None:
        quick_training(ground)
        command("train", "--config", place.inputs / "icp.toml", "--out", place.out, "--jobs", 1)

    def report(place: Place) -> None:
        command("report", "--model", ground.new, "--out", place.out)

    def old_bundle(place: Place) -> None:
        shutil.copytree(ground.old, place.out)

    def settings(place: Place) -> None:
        shutil.copy(ground.settings, place.inputs / "icp.toml")
        shutil.copytree(ground.folder / "crm", place.inputs / "crm")

    def trained_before(place: Place) -> None:
        settings(place)
        old_bundle(place)

    def old_report(place: Place) -> None:
        place.out.write_text("<html>yesterday's</html>", encoding="utf-8")

    return [
        Job("train-first", train, (train,), settings, BESIDE, kind="folder"),
        Job("train-over", train, (train,), trained_before, BESIDE, kind="folder"),
        Job("save-first", save_new, (save_new,), foreign=BESIDE, kind="folder"),
        Job("save-over", save_new, (save_new,), old_bundle, BESIDE, kind="folder"),
        Job("report-first", report, (report,), foreign=BESIDE, kind="file"),
        Job("report-over", report, (report,), old_report, BESIDE, kind="file"),
    ]


def quick_training(ground: Ground) -> None:
    """Let a training take a model that is ready: what is tried is what happens to files."""
    import icp_ml.model.evaluation as measuring
    import icp_ml.serve.configured as training

    ready, whole = icp.load(ground.new), measuring.evaluate
    for holder, name, quick in (
        (training, "train_configured", lambda *_, **__: ready),
        (measuring, "evaluate", lambda *args, **more: whole(*args, **{**more, "n_bootstrap": 10})),
    ):
        getattr(holder, name)
        setattr(holder, name, quick)


def _scores(ground: Ground) -> list[Job]:
    def scoring(kind: str, *more: object, model: Path = ground.new) -> Callable[[Place], None]:
        pattern = "*.csv" if kind == "csv" else "*.parquet"
        asked = ("--format", kind, *more)

        def work(place: Place) -> None:
            few_rows_a_batch()
            command(
                "score", "--model", model, "--features", place.inputs / pattern, "--out", place.out, *asked
            )

        return work

    def base(place: Place) -> None:
        for file in (*(ground.folder / "base").iterdir(), *(ground.folder / "base_csv").iterdir()):
            shutil.copy(file, place.inputs / file.name)

    def yesterday(kind: str, *more: object) -> Callable[[Place], None]:
        def lay(place: Place) -> None:
            base(place)
            scoring(kind, *more, model=ground.old)(place)

        return lay

    def half_done(place: Place) -> None:
        base(place)
        hidden = [place.inputs / f"accounts-{number}.parquet" for number in range(1, PARTS)]
        for file in hidden:
            file.rename(file.with_suffix(".away"))
        scoring("parquet")(place)
        for file in hidden:
            file.with_suffix(".away").rename(file)

    tier = ("--partition-by", "tier")
    inner = (("icp_ml.serve.scoreparts:PartWriter", "write"),)
    made = []
    for kind in ("csv", "parquet"):
        made += [
            Job(
                f"score-{kind}",
                scoring(kind),
                (scoring(kind, "--resume"), scoring(kind, "--overwrite")),
                base,
            ),
            Job(
                f"score-{kind}-overwrite",
                scoring(kind, "--overwrite"),
                (scoring(kind, "--overwrite"), scoring(kind, "--resume")),
                yesterday(kind),
                FOREIGN,
            ),
        ]
    made += [
        Job(
            "score-parquet-partitioned",
            scoring("parquet", *tier),
            (scoring("parquet", *tier, "--resume"), scoring("parquet", *tier, "--overwrite")),
            base,
        ),
        Job(
            "score-parquet-partitioned-overwrite",
            scoring("parquet", *tier, "--overwrite"),
            (scoring("parquet", *tier, "--overwrite"), scoring("parquet", *tier, "--resume")),
            yesterday("parquet", *tier),
            FOREIGN,
        ),
        Job(
            "score-parquet-resume",
            scoring("parquet", "--resume"),
            (scoring("parquet", "--resume"),),
            half_done,
            FOREIGN,
        ),
    ]
    return [Job(**{**vars(job), "points": inner}) for job in made]


def few_rows_a_batch() -> None:
    """Score twenty rows at a time in one thread, so that a part takes several writes."""
    import icp_ml.serve.rawtables as large
    import icp_ml.serve.stream as stream

    for module, name in ((stream, "score_parquet"), (large, "score_tables")):
        whole = getattr(module, name)
        if not hasattr(whole, "whole"):
            setattr(module, name, _with(whole, {"batch_rows": 20, "n_jobs": 1}))


def _with(whole: Callable[..., object], settings: Mapping[str, object]) -> Callable[..., object]:
    def fewer(*args: object, **more: object) -> object:
        rows = {"bucket_rows": 80} if whole.__name__ == "score_tables" else {}
        return whole(*args, **{**more, **settings, **rows})

    fewer.whole = whole  # type: ignore[attr-defined]
    return fewer


def _tables(ground: Ground) -> list[Job]:
    def scoring(*more: object, model: Path = ground.new) -> Callable[[Place], None]:
        def work(place: Place) -> None:
            few_rows_a_batch()
            source = ("--tables", place.inputs, "--as-of", AS_OF)
            command("score", "--model", model, *source, "--out", place.out, *more)

        return work

    def data(*more: object, model: Path = ground.new) -> Callable[[Place], None]:
        def work(place: Place) -> None:
            source = ("--data", place.inputs, "--as-of", AS_OF)
            command("score", "--model", model, *source, "--out", place.out, *more)

        return work

    def warehouse(place: Place) -> None:
        shutil.copytree(ground.folder / "warehouse", place.inputs, dirs_exist_ok=True)

    def yesterday(work: Callable[..., Callable[[Place], None]]) -> Callable[[Place], None]:
        def lay(place: Place) -> None:
            warehouse(place)
            work(model=ground.old)(place)

        return lay

    inner = (("icp_ml.serve.scoreparts:PartWriter", "write"),)
    over = scoring("--overwrite")
    return [
        Job("score-tables", scoring(), (over,), warehouse, points=inner),
        Job("score-tables-overwrite", over, (over,), yesterday(scoring), FOREIGN, inner),
        Job("score-data-overwrite", data("--overwrite"), (data("--overwrite"),), yesterday(data), FOREIGN),
    ]


def refusals(ground: Ground) -> list[Job]:
    """Return jobs that have to refuse, and leave everything as it is."""
    apart = [
        job
        for job in _scores(ground)
        if job.name in ("score-csv", "score-parquet", "score-parquet-partitioned")
    ]

    def beside(lay: Callable[[Place], object]) -> Callable[[Place], None]:
        def laid(place: Place) -> None:
            lay(place)
            # the tables are planted in the output folder where there is one
            place.out.mkdir(exist_ok=True)

        return laid

    return [
        Job(f"{job.name}-among-tables{number}", work, (), beside(job.lay), TABLES)
        for job in [*apart, next(job for job in _tables(ground) if job.name == "score-tables")]
        for number, work in enumerate((job.run, *job.again))
    ]
