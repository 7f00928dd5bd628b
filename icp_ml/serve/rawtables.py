"""Scores from raw tables of any size: split by account on disk, described and scored bucket by bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from icp_ml.data.buckets import BUCKET_ROWS, split_tables
from icp_ml.data.contracts import CONTRACTS
from icp_ml.data.windows import DateLike, to_day
from icp_ml.serve.runfile import BUCKETS
from icp_ml.serve.score import InputGaps, quiet_gaps
from icp_ml.serve.scorefolder import open_folder
from icp_ml.serve.scoreparts import Format, Partition
from icp_ml.serve.stream import Progress, ScoreRun, close_run, finish_part, make_job, write_part
from icp_ml.writing import check_apart, make_folder

if TYPE_CHECKING:
    from icp_ml.data.schema import Schema
    from icp_ml.serve.icpmodel import IcpModel


@dataclass(frozen=True, slots=True)
class TablesRun:
    """What :func:`score_tables` wrote.

    Parameters
    ----------
    scores
        Accounts scored, and the parts: one per bucket of accounts, sorted by id within.
    rows_in
        Rows read, per table.
    rejects
        How many rows each rule refused: ``table``, ``rule``, ``n``.
    """

    scores: ScoreRun
    rows_in: Mapping[str, int]
    rejects: pd.DataFrame


def score_tables(
    model: IcpModel,
    source: str | Path,
    out: str | Path,
    *,
    as_of: DateLike,
    reasons: int = 3,
    technology_aliases: Mapping[str, str] | None = None,
    technology_grace_days: int = 0,
    bucket_rows: int = BUCKET_ROWS,
    batch_rows: int = 16_384,
    overwrite: bool = False,
    format: Format = "parquet",
    partition_by: Partition | None = None,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    splitting: Progress | None = None,
) -> TablesRun:
    """Score every account of raw parquet tables that needn't fit into memory.

    The scores are those of ``read_tables``, ``build_features`` and ``score``. Rows are first split into
    buckets of accounts, in a hidden folder inside ``out`` that is removed at the end (after a kill by the
    next run) and holds about as many bytes as the tables.

    Parameters
    ----------
    model
        A trained model.
    source
        Folder with ``NAME.parquet`` or a folder ``NAME/`` of parquet files per table: ``accounts``,
        ``technologies``; the other tables only for a model that knows post-sale features. Dates and numbers
        must be stored as such.
    out
        Folder for the parts ``part-00000.parquet`` ..., without scores of an earlier run.
    as_of
        Day to describe the accounts on.
    reasons
        Reasons and risks per account.
    technology_aliases, technology_grace_days
        As in :func:`icp_ml.build_features`.
    bucket_rows
        About how many rows of the largest table are in memory at a time.
    batch_rows, overwrite, format, partition_by, n_jobs
        As in :func:`icp_ml.score_parquet`.
    progress, splitting
        Called after each batch with (done, in all): rows of ``accounts`` scored, rows of tables split.

    Raises
    ------
    ConfigError
        ``out`` already holds scores and ``overwrite`` isn't given, or lies in, above or below ``source``.
    OutputError
        The system refuses to write, or another job writes to ``out``.
    TableError
        A table is missing, isn't parquet or holds dates or numbers as text.
    RelationError
        No row of a table belongs to a known account.

    Warns
    -----
    DataWarning
        Every tool was last seen before ``as_of``.
    InputWarning
        Levels and tools never seen in training, with counts.
    """
    day = str(to_day(as_of))
    job = make_job(model, reasons, batch_rows, format, n_jobs, partition_by)
    check_apart(Path(out), folders=[Path(source)], files=sorted(Path(source).rglob("*.parquet")))
    gaps, entries = InputGaps(), []
    with open_folder(out, format, overwrite=overwrite, resume=False, resumable=False) as folder:
        buckets = split_tables(
            source,
            make_folder(folder.stage / BUCKETS),
            names=_needed(model.schema),
            features=model.schema.names,
            bucket_rows=bucket_rows,
            progress=splitting,
        )
        described = buckets.features(
            model.schema,
            as_of=as_of,
            technology_aliases=technology_aliases,
            technology_grace_days=technology_grace_days,
        )
        with quiet_gaps():
            for number, frame in enumerate(described):
                part = folder.part(number)
                facts = {**job.facts, "source": Path(source).name, "as_of": day, "rows": len(frame)}
                own = InputGaps()
                for batch_gaps in write_part(job, _batches(frame, batch_rows), part, facts):
                    own += batch_gaps
                    if progress is not None:
                        progress(gaps.rows + own.rows, buckets.rows_in["accounts"])
                entries.append(finish_part(folder, part, facts, own))
                gaps += own
        refused = buckets.tally.counts()
        tables = {"table_rows": dict(buckets.rows_in), "refused": refused.to_dict("records")}
        files = close_run(folder, job, entries, buckets.tally.accounts, tables)
    gaps.warn(stacklevel=2)
    return TablesRun(ScoreRun(gaps.rows, files, Path(out), gaps), buckets.rows_in, refused)


def _needed(schema: Schema) -> list[str]:
    after_sale = any(feature.family == "post_sale" for feature in schema.features)
    return list(CONTRACTS) if after_sale else ["accounts", "technologies"]


def _batches(frame: pd.DataFrame, batch_rows: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(frame), batch_rows):
        yield frame.iloc[start : start + batch_rows]
