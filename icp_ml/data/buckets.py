"""Tables larger than memory, split on disk into buckets: each holds all rows of its accounts and fits.

What is known of an account comes from its own rows, so a bucket read, checked and described like a small base
gives what the whole base would give. Accounts are spread by a hash of their id that is the same everywhere.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from icp_ml.data.cells import column_of, frame_of
from icp_ml.data.contracts import CONTRACTS, Contract
from icp_ml.data.features import build_features
from icp_ml.data.ids import are_clean_ids, clean_ids
from icp_ml.data.kinds import code_base
from icp_ml.data.schema import Schema
from icp_ml.data.screen import Screen
from icp_ml.data.tables import Tables, screen_table
from icp_ml.data.values import TEXT_DTYPE, is_arrow_text
from icp_ml.data.windows import DateLike, shift_days, to_day, to_days
from icp_ml.errors import ConfigError, DataWarning, RelationError, TableError

Progress = Callable[[int, int], None]
Ints = npt.NDArray[np.int64]

BUCKET_ROWS = 2_000_000
"""Rows of the largest table that a bucket holds, about."""
MOST_BUCKETS = 500
_BATCH_ROWS = 1 << 19
_LONG_AGO = np.datetime64("0001-01-01")
_TYPED = {
    "date": (pa.types.is_temporal, "a date type"),
    "number": (lambda kind: pa.types.is_floating(kind) or _is_exact(kind), "a number type"),
}


def _is_exact(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


@dataclass(slots=True)
class Tally:
    """What was found over all buckets: refused rows by table and rule, and what only the whole can tell."""

    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    currencies: set[str] = field(default_factory=set)
    open_tools: int = 0
    last_seen: Any = _LONG_AGO

    def counts(self) -> pd.DataFrame:
        """Return how many rows each rule refused: ``table``, ``rule``, ``n``, most first."""
        rows = [(table, rule, n) for (table, rule), n in self.refused.items() if n]
        rows.sort(key=lambda row: (-row[2], row[0], row[1]))
        return pd.DataFrame(rows, columns=["table", "rule", "n"])


@dataclass(frozen=True, slots=True)
class Buckets:
    """The rows of a base by bucket of accounts.

    Parameters
    ----------
    folder
        Where the files of the buckets lie.
    n
        Number of buckets.
    rows_in
        Rows read, per table; always rows accepted + rows refused, over all buckets.
    tally
        What was found so far.
    """

    folder: Path
    n: int
    rows_in: Mapping[str, int]
    tally: Tally

    def tables(self) -> Iterator[Tables]:
        """Read and check bucket after bucket, as ``read_tables`` does a whole base; none without accounts.

        Raises
        ------
        TableError
            After the last bucket: no account was accepted, or amounts are in several currencies.
        RelationError
            After the last bucket: no row of a table belongs to a known account.
        """
        for number in range(self.n):
            found = self._read(number)
            if found is not None:
                yield found
        _check_whole(self)

    def features(
        self,
        schema: Schema,
        *,
        as_of: DateLike,
        technology_aliases: Mapping[str, str] | None = None,
        technology_grace_days: int = 0,
    ) -> Iterator[pd.DataFrame]:
        """Describe the accounts of bucket after bucket, see :func:`icp_ml.build_features`."""
        day = to_day(as_of)
        for tables in self.tables():
            with warnings.catch_warnings():
                # Of one bucket, all tools may be gone; what counts is the base.
                warnings.simplefilter("ignore", DataWarning)
                yield build_features(
                    tables,
                    as_of=as_of,
                    technology_aliases=technology_aliases,
                    technology_grace_days=technology_grace_days,
                    schema=schema,
                )
        last = self.tally.last_seen
        if last > _LONG_AGO and not self.tally.open_tools and last < shift_days(day, -technology_grace_days):
            warnings.warn(
                f"no tool is in use on {day}: every one was last seen on {last} or earlier; pass "
                "technology_grace_days if the source only looks now and then",
                DataWarning,
                stacklevel=2,
            )

    def _read(self, number: int) -> Tables | None:
        frames = {name: _bucket(self.folder, name, number) for name in self.rows_in}
        screens = {
            name: screen_table(frame, CONTRACTS[name], None)
            for name, frame in frames.items()
            if len(frame) or not CONTRACTS[name].filled_table
        }
        accounts = screens["accounts"].accepted() if "accounts" in screens else frames["accounts"]
        for name, screen in screens.items():
            if name != "accounts":
                ids = screen.frame["account_id"]
                stranger = ids.notna().to_numpy() & ~ids.isin(accounts["account_id"]).to_numpy()
                screen.refuse(stranger, "unknown_account", "account_id")
        kept = {name: self._accepted(name, screens.get(name), frame) for name, frame in frames.items()}
        return Tables(**kept) if len(accounts) else None

    def _accepted(self, name: str, screen: Screen | None, frame: pd.DataFrame) -> pd.DataFrame:
        if screen is None:
            return _empty(CONTRACTS[name], frame)
        tally = self.tally
        for rule, n in screen.counts().items():
            tally.refused[(name, rule)] += n
        kept = screen.accepted()
        tally.accepted[name] += len(kept)
        if "currency" in kept.columns:
            tally.currencies |= set(kept["currency"].dropna())
        if name == "technologies" and "last_seen" in kept.columns and len(kept):
            last = to_days(kept["last_seen"])
            tally.open_tools += int(np.isnat(last).sum())
            tally.last_seen = np.fmax.reduce(np.append(last, tally.last_seen))
        return kept


def split_tables(
    source: str | Path,
    folder: Path,
    *,
    names: Collection[str] = ("accounts", "technologies"),
    features: Collection[str] | None = None,
    bucket_rows: int = BUCKET_ROWS,
    progress: Progress | None = None,
) -> Buckets:
    """Split parquet tables into buckets of accounts, a batch of rows in memory at a time.

    Parameters
    ----------
    source
        Folder with ``NAME.parquet`` or a folder ``NAME/`` of parquet files per table.
    folder
        Where the buckets go; it must be there.
    names
        Tables to take, those that are there; ``accounts`` must be.
    features
        Columns of ``accounts`` to keep beside those of the contract; None keeps all.
    bucket_rows
        About how many rows of the largest table a bucket holds.
    progress
        Called after each batch with (rows done, rows in all).

    Raises
    ------
    ConfigError
        ``bucket_rows`` is below 1.
    TableError
        There are no accounts, a table isn't parquet, a column of dates or numbers is stored as text, or files
        of a table have other columns.
    """
    if bucket_rows < 1:
        raise ConfigError(f"expected bucket_rows of at least 1, found {bucket_rows}", bucket_rows=bucket_rows)
    files = {name: _files(Path(source), name) for name in CONTRACTS if name in names}
    files = {name: paths for name, paths in files.items() if paths}
    if "accounts" not in files:
        raise TableError(
            f"expected accounts.parquet or a folder accounts/ in {source}, found none: write the tables as "
            "parquet",
            missing="accounts",
        )
    rows = {name: sum(pq.read_metadata(path).num_rows for path in paths) for name, paths in files.items()}
    n = min(max(1, math.ceil(max(rows.values()) / bucket_rows)), MOST_BUCKETS)
    tally, done = Tally(), 0
    for name, paths in files.items():
        kept = None if name == "accounts" and features is None else _kept(CONTRACTS[name], features)
        for size in _split_table(name, paths, folder, n, kept, tally):
            done += size
            if progress is not None:
                progress(done, sum(rows.values()))
    return Buckets(folder, n, rows, tally)


def _files(source: Path, name: str) -> list[Path]:
    if (source / f"{name}.parquet").is_file():
        return [source / f"{name}.parquet"]
    if (source / name).is_dir():
        return sorted((source / name).rglob("*.parquet"))
    return []


def _kept(contract: Contract, features: Collection[str] | None) -> set[str]:
    names = {column.name for column in contract.columns}
    if contract.name != "accounts":
        return names
    wanted = set(features or ())
    return names | wanted | {base[0] for base in map(code_base, wanted) if base is not None}


def _split_table(
    name: str, paths: list[Path], folder: Path, n: int, kept: set[str] | None, tally: Tally
) -> Iterator[int]:
    """Write a table's rows to the files of their buckets, yielding how many rows were read."""
    schema = _schema(name, paths[0], kept)
    for path in paths[1:]:
        _check_alike(name, paths[0], path, schema, kept)
    with ExitStack() as stack:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        writers = [
            stack.enter_context(pa.ipc.new_file(_file(folder, name, number), schema, options=options))
            for number in range(n)
        ]
        for path in paths:
            with pq.ParquetFile(path) as reader:
                for batch in reader.iter_batches(batch_size=_BATCH_ROWS, columns=schema.names):
                    ids = batch.column("account_id")
                    number = _bucket_of(ids, n)
                    tally.refused[(name, "missing_account_id")] += int((number < 0).sum())
                    _spread(pa.Table.from_batches([batch]).cast(schema), number, writers)
                    yield batch.num_rows


def _schema(name: str, path: Path, kept: set[str] | None) -> Any:
    """Return the columns to keep, checked for what can't be read bucket by bucket."""
    whole = pq.read_schema(path).remove_metadata()
    if "account_id" not in whole.names:
        raise TableError(f"{name}: expected a column 'account_id', found {whole.names[:8]}", table=name)
    schema = pa.schema([column for column in whole if kept is None or column.name in kept])
    for column in CONTRACTS[name].columns:
        if column.type not in _TYPED or column.name not in schema.names:
            continue
        fits, wanted = _TYPED[column.type]
        found = schema.field(column.name).type
        if not (fits(found) or pa.types.is_null(found)):
            raise TableError(
                f"{name}.{column.name}: expected {wanted}, found {found}: how to read texts shows only in "
                "the whole column; write the file with typed columns, or read it by read_tables",
                table=name,
                column=column.name,
            )
    return schema


def _check_alike(name: str, first: Path, path: Path, schema: Any, kept: set[str] | None) -> None:
    """Refuse a file that lacks columns that the first one of its table has, or has others."""
    found = {column for column in pq.read_schema(path).names if kept is None or column in kept}
    if found != set(schema.names):
        raise TableError(
            f"expected the same columns in all files of {name}, found that {path.name} and {first.name} "
            f"differ in {sorted(found ^ set(schema.names))[:5]}: rename or add columns",
            table=name,
            file=path.name,
        )


def _bucket_of(ids: Any, n: int) -> Ints:
    """Return the bucket of each id, -1 where it is missing."""
    if pa.types.is_dictionary(ids.type):
        ids = ids.cast(ids.type.value_type)
    texts = _as_clean(ids)
    missing = pd.isna(texts)
    hashed = pd.util.hash_array(np.where(missing, "", texts), categorize=False)
    return np.where(missing, -1, (hashed % np.uint64(n)).astype(np.int64))


def _as_clean(ids: Any) -> npt.NDArray[np.object_]:
    """Return ids as ``clean_ids`` does; a batch of clean texts is taken as it is."""
    if is_arrow_text(ids.type) and are_clean_ids(ids):
        return np.asarray(ids.to_numpy(zero_copy_only=False))
    return np.asarray(clean_ids(column_of(ids)).astype(object).to_numpy())


def _spread(table: Any, number: Ints, writers: list[Any]) -> None:
    """Write each row to its bucket, in order; rows without an account go nowhere."""
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(len(writers) + 1))
    ordered = table.take(pa.array(order)).combine_chunks()
    for place, writer in enumerate(writers):
        low, high = int(ends[place]), int(ends[place + 1])
        if high > low:
            writer.write_table(ordered.slice(low, high - low))


def _file(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}-{number:04d}.arrow"


def _bucket(folder: Path, name: str, number: int) -> pd.DataFrame:
    with pa.OSFile(str(_file(folder, name, number)), "rb") as file:
        return frame_of(pa.ipc.open_file(file).read_all())


def _empty(contract: Contract, frame: pd.DataFrame) -> pd.DataFrame:
    """Return no rows of a table, typed as accepted rows are."""
    kinds = {"date": "datetime64[ns]", "number": "float64", "flag": "boolean"}
    types = {column.name: kinds.get(column.type, TEXT_DTYPE) for column in contract.columns}
    return frame.astype({name: kind for name, kind in types.items() if name in frame.columns})


def _check_whole(buckets: Buckets) -> None:
    tally = buckets.tally
    if len(tally.currencies) > 1:
        raise TableError(
            f"subscriptions.currency: expected one currency, found {len(tally.currencies)}: "
            f"{sorted(tally.currencies)[:5]}; convert to one first",
            table="subscriptions",
        )
    if not tally.accepted["accounts"]:
        raise TableError(
            f"expected rows in accounts, found that every one is refused: {dict(tally.refused)}",
            table="accounts",
        )
    for name, rows in buckets.rows_in.items():
        strangers = tally.refused[(name, "unknown_account")]
        if strangers and strangers == rows - tally.refused[(name, "missing_account_id")]:
            raise RelationError(
                f"expected accounts of {name} among the {tally.accepted['accounts']} known ones, found none "
                f"of {strangers} rows: check that both tables use the same ids",
                table=name,
                count=strangers,
            )
