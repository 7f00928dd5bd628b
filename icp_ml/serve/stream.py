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
from icp_ml.serve.scorefolder import ScoreFolder, open_folder
from icp_ml.serve.scoreparts import PARTITIONS, Format, Partition, PartWriter
from icp_ml.serve.sources import (
    ENDINGS,
    RUN_FILE,
    Source,
    check_source_apart,
    count_rows,
    find_files,
    fingerprint,
    read_batches,
)

if TYPE_CHECKING:
    from icp_ml.serve.icpmodel import IcpModel
    from icp_ml.serve.scoreinput import Features

__all__ = ["RUN_FILE", "ScoreRun", "find_files", "pace_text", "score_parquet"]

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

    Memory is bounded by ``batch_rows`` and ``n_jobs``, whatever the size of the base. Parts and the file
    ``_scores.json``, which names them, appear all at once when the last one is complete; the scores of an
    earlier run stay until then. ``resume=True`` takes up a run that was interrupted.

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
        Replace the scores of an earlier run in ``out``. Files of others stay.
    resume
        Keep the parts, of an interrupted run or of the last one, that this model made of the same bytes with
        the same settings and that still have the bytes they had; make the others anew.
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
        ``out`` already holds scores and neither ``overwrite`` nor ``resume`` is given, holds tables of
        others, or lies in, above or below an input.
    OutputError
        The system refuses to write, or another job writes to ``out``.
    TableError
        No file was found, a file can't be read, it changed meanwhile, or a part doesn't have its rows.
    InputMismatchError
        A file lacks the account column, or a column can't be read as the model knows it.

    Warns
    -----
    InputWarning
        Once for all files: absent columns, unseen levels and tools, with counts.
    """
    job = make_job(model, reasons, batch_rows, format, n_jobs, partition_by)
    inputs = find_files(source, ENDINGS)
    check_source_apart(source, inputs, Path(out))
    with open_folder(out, format, overwrite=overwrite, resume=resume, resumable=True) as folder:
        sizes = [count_rows(path) for path in inputs]
        gaps, entries, kept = InputGaps(), [], 0
        with quiet_gaps():
            for number, (path, size) in enumerate(zip(inputs, sizes, strict=True)):
                part, before = folder.part(number), _stamp(path)
                wanted = {**job.facts, "source": path.name, "sha256": fingerprint(path), "rows": size}
                entry = folder.kept(part, wanted)
                if entry is None:
                    own = InputGaps()
                    batches = read_batches(path, model.schema, batch_rows, threads=job.n_jobs > 1)
                    for batch_gaps in write_part(job, batches, part, wanted):
                        own += batch_gaps
                        if progress is not None:
                            progress(gaps.rows + own.rows, sum(sizes))
                    _check_unchanged(path, before)
                    entry = finish_part(folder, part, wanted, own)
                else:
                    kept, own = kept + 1, InputGaps(size, entry["missing"], entry["unseen"])
                    if progress is not None:
                        progress(gaps.rows + own.rows, sum(sizes))
                gaps += own
                entries.append(entry)
        files = close_run(folder, job, entries, sum(sizes))
    gaps.warn(stacklevel=2)
    return ScoreRun(gaps.rows, files, Path(out), gaps, kept)


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
    """Score batches into one part, yielding the gaps of each."""
    schema = arrow_schema(job.reasons, {f"icp_ml.{name}": str(value) for name, value in facts.items()})
    with PartWriter(part, schema, job.format, job.partition_by) as writer:
        for table, gaps in _in_order(job, batches):
            writer.write(table)
            yield gaps


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


def finish_part(folder: ScoreFolder, part: Path, wanted: Mapping[str, Any], own: InputGaps) -> dict[str, Any]:
    """Check the rows of a part and note beside it what it was made of."""
    return folder.finish(part, wanted, own)


def close_run(
    folder: ScoreFolder,
    job: Job,
    entries: list[dict[str, Any]],
    rows_read: int,
    more: Mapping[str, Any] | None = None,
) -> tuple[Path, ...]:
    """Check the rows of the run and give its parts their names; return them."""
    shared = {name: job.facts[name] for name in ("model_version", "model_sha256", "dataset_fingerprint")}
    facts = {**shared, "reasons": job.reasons, "format": job.format, **(more or {})}
    return folder.close(facts, entries, rows_read)


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is written to or replaced."""
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _check_unchanged(path: Path, before: tuple[int, int, int]) -> None:
    if not path.exists() or _stamp(path) != before:
        raise TableError(
            f"expected {path.name} to stay as it is while it's scored, found it changed: score it again",
            path=str(path),
        )
