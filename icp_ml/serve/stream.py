"""Scores for a whole account base: parquet or csv in and out, a few batches in memory at a time."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icp_ml import parameters
from icp_ml.errors import ConfigError, TableError
from icp_ml.serve.score import InputGaps, arrow_schema, quiet_gaps, score_batch
from icp_ml.serve.scoreparts import (
    PARTITIONS,
    Format,
    Partition,
    PartWriter,
    files_of,
    hidden_files,
    part_files,
    remove,
)
from icp_ml.serve.sources import (
    ENDINGS,
    RUN_FILE,
    Source,
    count_rows,
    find_files,
    fingerprint,
    read_batches,
)

if TYPE_CHECKING:
    from icp_ml.serve.icpmodel import IcpModel
    from icp_ml.serve.scoreinput import Features

__all__ = ["ScoreRun", "find_files", "pace_text", "score_parquet"]

Progress = Callable[[int, int], None]

MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class ScoreRun:
    """What :func:`score_parquet` wrote.

    Parameters
    ----------
    rows
        Accounts scored; equal to the rows read.
    files
        Parts written, in the order of the input files.
    path
        Folder of the parts.
    gaps
        What the input lacked or had that training never saw, over all files.
    kept
        How many of the parts an earlier run had finished.
    """

    rows: int
    files: tuple[Path, ...]
    path: Path
    gaps: InputGaps
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all parts of a run."""

    model: IcpModel
    reasons: int
    batch_rows: int
    format: Format
    partition_by: Partition | None
    n_jobs: int
    facts: Mapping[str, str]


def score_parquet(
    model: IcpModel,
    source: Source,
    out: str | Path,
    *,
    reasons: int = 3,
    batch_rows: int = 16_384,
    overwrite: bool = False,
    resume: bool = False,
    format: Format = "parquet",
    partition_by: Partition | None = None,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> ScoreRun:
    """Score files of features into a folder, one part per input file.

    Memory is bounded by ``batch_rows`` and ``n_jobs``, whatever the size of the base. A part appears under
    its name only when it's complete; the file ``_scores.json`` appears last, so a folder without it is an
    unfinished run, which ``resume=True`` takes up.

    Parameters
    ----------
    model
        A trained model.
    source
        A parquet or csv file, a glob, a folder (all files below it, sorted, without scores of earlier runs),
        or a list of these. Folders such as ``region=EMEA`` are columns of the files below them. Cells of a
        csv file are read as the model knows the column, technologies split as in training, else by ``;``.
    out
        Folder for the parts ``part-00000.parquet`` ...
    reasons
        Reasons and risks per account.
    batch_rows
        Rows that a thread works on at a time.
    overwrite
        Replace the scores that are already in ``out``.
    resume
        Keep the parts in ``out`` that this model made of the same bytes with the same settings, and replace
        the others.
    format
        Of the parts: "parquet" (zstd) or "csv".
    partition_by
        "tier", "icp_match" or "applicability": parts lie in folders such as ``tier=A``, without that column.
    n_jobs
        Threads; None = all cores, at most 8. The result doesn't depend on it.
    progress
        Called after each batch with (rows done, rows in all).

    Returns
    -------
    Rows, files and the gaps of the input.

    Raises
    ------
    ConfigError
        ``out`` already holds scores and neither ``overwrite`` nor ``resume`` is given, or holds input files.
    TableError
        No file was found, a file can't be read, or a part doesn't have the rows of its input.
    InputMismatchError
        A file lacks the account column, or a column can't be read as the model knows it.

    Warns
    -----
    InputWarning
        Once for all files: absent columns, unseen levels and tools, with counts.
    """
    job = make_job(model, reasons, batch_rows, format, n_jobs, partition_by)
    inputs = find_files(source, ENDINGS)
    folder = Path(out)
    prepare_folder(folder, inputs, overwrite=overwrite, resume=resume)
    sizes = [count_rows(path) for path in inputs]
    gaps, entries, kept = InputGaps(), [], 0
    with quiet_gaps():
        for number, (path, size) in enumerate(zip(inputs, sizes, strict=True)):
            part = folder / f"part-{number:05d}.{format}"
            wanted = {**job.facts, "source": path.name, "sha256": fingerprint(path), "rows": size}
            entry = _finished(part, wanted) if resume else None
            if entry is None:
                remove(files_of(part), folder)
                own = InputGaps()
                batches = read_batches(path, model.schema, batch_rows, threads=job.n_jobs > 1)
                for batch_gaps in write_part(job, batches, part, wanted):
                    own += batch_gaps
                    if progress is not None:
                        progress(gaps.rows + own.rows, sum(sizes))
                entry = finish_part(part, wanted, own)
            else:
                kept, own = kept + 1, InputGaps(size, entry["missing"], entry["unseen"])
                if progress is not None:
                    progress(gaps.rows + own.rows, sum(sizes))
            gaps += own
            entries.append(entry)
    files = close_run(folder, job, entries)
    gaps.warn(stacklevel=2)
    return ScoreRun(gaps.rows, files, folder, gaps, kept)


def pace_text(done: int, total: int, seconds: float, things: str = "accounts") -> str:
    """Say how far a run is, how fast, and how long it still takes.

    Examples
    --------
    >>> pace_text(1_200_000, 10_000_000, 30.0)
    '1,200,000 of 10,000,000 accounts, 40,000 per second, 3 min 40 s left'
    """
    rate = done / max(seconds, 1e-9)
    left = round((total - done) / max(rate, 1e-9))
    time = f"{left // 60} min {left % 60} s" if left >= 60 else f"{left} s"
    return f"{done:,} of {total:,} {things}, {rate:,.0f} per second, {time} left"


def make_job(
    model: IcpModel,
    reasons: int,
    batch_rows: int,
    format: Format,
    n_jobs: int | None,
    partition_by: Partition | None = None,
) -> Job:
    """Check the settings of a run."""
    batch_rows = parameters.whole("batch_rows", batch_rows, 1, parameters.MOST_BATCH)
    reasons = parameters.whole("reasons", reasons, 0, parameters.MOST_REASONS)
    n_jobs = parameters.jobs(n_jobs)
    if format not in ("parquet", "csv"):
        raise ConfigError(f'expected format "parquet" or "csv", found {format!r}', format=format)
    if partition_by is not None and partition_by not in PARTITIONS:
        raise ConfigError(
            f"expected partition_by of {PARTITIONS}, found {partition_by!r}", partition_by=partition_by
        )
    facts = {
        "model_version": model.version,
        "model_sha256": _model_digest(model),
        "dataset_fingerprint": str(model.facts.get("dataset_fingerprint", "")),
        "reasons": str(reasons),
        "partition_by": partition_by or "",
    }
    threads = n_jobs or min(os.cpu_count() or 1, MOST_THREADS)
    return Job(model, reasons, batch_rows, format, partition_by, threads, facts)


def _model_digest(model: IcpModel) -> str:
    """Return what tells this model from every other: registered or not, it may have no version."""
    profile = None if model.profile is None else model.profile.to_state()
    states = {name: ensemble.to_state() for name, ensemble in model.ensembles.items()}
    content = [model.schema.to_dict(), states, model.reference.to_state(), profile]
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def write_part(
    job: Job, batches: Iterator[Features], part: Path, facts: Mapping[str, Any]
) -> Iterator[InputGaps]:
    """Score batches into one part, yielding the gaps of each; rename the part when complete."""
    schema = arrow_schema(job.reasons, {f"icp_ml.{name}": str(value) for name, value in facts.items()})
    with PartWriter(part, schema, job.format, job.partition_by) as writer:
        for table, gaps in _in_order(job, batches):
            writer.write(table)
            yield gaps
    writer.commit()


def _in_order(job: Job, batches: Iterator[Features]) -> Iterator[tuple[Any, InputGaps]]:
    """Score batches in threads while the next ones are read and the last ones written."""

    def work(batch: Features) -> tuple[Any, InputGaps]:
        return score_batch(job.model, batch, reasons=job.reasons)

    if job.n_jobs == 1:
        yield from map(work, batches)
        return
    waiting: deque[Future[tuple[Any, InputGaps]]] = deque()
    with ThreadPoolExecutor(job.n_jobs) as pool:
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) > job.n_jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def prepare_folder(folder: Path, inputs: list[Path], *, overwrite: bool, resume: bool) -> None:
    """Make the folder ready for new parts; refuse to touch scores or inputs that are in it."""
    if overwrite and resume:
        raise ConfigError("expected overwrite or resume, found both: parts are replaced or kept")
    folder.mkdir(parents=True, exist_ok=True)
    inside = [path for path in inputs if path.resolve().parent == folder.resolve()]
    if inside:
        raise ConfigError(
            f"expected an output folder apart from the input, found {len(inside)} input files in {folder}: "
            "name another folder",
            folder=str(folder),
        )
    present = part_files(folder) + sorted(folder.glob(RUN_FILE))
    if resume:
        _reopen(folder)
        return
    if present and not overwrite:
        raise ConfigError(
            f"expected a folder without scores, found {len(present)} files such as {present[0].name} in "
            f"{folder}: name another folder, or pass overwrite=True or resume=True",
            folder=str(folder),
            files=len(present),
        )
    remove([*present, *hidden_files(folder)], folder)


def _reopen(folder: Path) -> None:
    """Turn a finished run back into parts with a note each, as an unfinished one has them."""
    file = folder / RUN_FILE
    if file.exists():
        content = json.loads(file.read_text(encoding="utf-8"))
        for entry in content["parts"]:
            if "sha256" in entry:
                _write_json(_note(folder / entry["part"]), entry)
        file.unlink()


def _note(part: Path) -> Path:
    return part.with_name(f".{part.name}.json")


def _finished(part: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the note of a part that an earlier run finished, if it is the one wanted and still whole."""
    note = _note(part)
    if not note.exists():
        return None
    entry: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    same = all(entry.get(name) == value for name, value in wanted.items())
    return entry if same and entry["bytes"] == _bytes(part) else None


def _bytes(part: Path) -> int:
    return sum(path.stat().st_size for path in files_of(part))


def finish_part(part: Path, wanted: Mapping[str, Any], own: InputGaps) -> dict[str, Any]:
    """Check the rows of a part and note beside it what it was made of."""
    found = sum(count_rows(path) for path in files_of(part))
    if not wanted["rows"] == own.rows == found:
        raise TableError(
            f"expected {wanted['rows']} rows in {part.name}, scored {own.rows} and found {found}: was the "
            "input replaced meanwhile? Score it again",
            expected=wanted["rows"],
            found=found,
        )
    entry = {"part": part.name, **wanted, "bytes": _bytes(part)}
    entry |= {"missing": dict(own.missing), "unseen": dict(own.unseen)}
    _write_json(_note(part), entry)
    return entry


def close_run(folder: Path, job: Job, entries: list[dict[str, Any]]) -> tuple[Path, ...]:
    """Write the run file and clear away notes and parts that this run has no use for; return its files."""
    shared = {name: job.facts[name] for name in ("model_version", "model_sha256", "dataset_fingerprint")}
    rows = sum(entry["rows"] for entry in entries)
    _write_json(folder / RUN_FILE, {**shared, "rows": rows, "reasons": job.reasons, "parts": entries})
    files = tuple(path for entry in entries for path in files_of(folder / entry["part"]))
    kept = set(files)
    remove([path for path in [*hidden_files(folder), *part_files(folder)] if path not in kept], folder)
    return files


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
    unfinished.replace(file)
