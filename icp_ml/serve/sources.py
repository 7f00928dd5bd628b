"""Files of an account base, parquet or csv: found, counted, and read a batch of rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from icp_ml.data import csvfiles
from icp_ml.data.files import UNREADABLE, first_line
from icp_ml.data.kinds import code_base
from icp_ml.data.schema import Schema
from icp_ml.data.values import is_arrow_text
from icp_ml.errors import TableError

Source = str | Path | Sequence[str | Path]

ENDINGS = (".parquet", ".csv", ".csv.gz")
RUN_FILE = "_scores.json"
_RUN_BATCHES = 4
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def find_files(source: Source, endings: tuple[str, ...] = (".parquet",)) -> list[Path]:
    """Return the files a source names, each once, in a fixed order.

    Parameters
    ----------
    source
        A file, a glob, a folder (all files below it, without scores of earlier runs), or a list of these.
    endings
        Which files of a folder to take.

    Raises
    ------
    TableError
        A name matches no file.
    """
    several = isinstance(source, Iterable) and not isinstance(source, bytes | Mapping)
    names = [source] if isinstance(source, str | Path) or not several else list(source)
    found: dict[Path, None] = {}
    for name in names:
        if not isinstance(name, str | Path) or not str(name).strip() or "\0" in str(name):
            raise TableError(f"expected the path of a file or folder, found {name!r}", source=repr(name))
        try:
            matches = _matches(Path(name), endings)
        except (OSError, ValueError, NotImplementedError) as error:
            raise TableError(
                f"expected a path that can be looked up, found {str(name)!r}: {first_line(error)}",
                source=str(name),
            ) from error
        if not matches:
            kinds = " or ".join(ending.lstrip(".") for ending in endings)
            raise TableError(
                f"expected {kinds} files at {name}, found none: check the path", source=str(name)
            )
        found.update(dict.fromkeys(matches))
    if not found:
        raise TableError("expected at least one file, found an empty list", source=[])
    return list(found)


def _matches(path: Path, endings: tuple[str, ...]) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if _is_input(file, endings) and file.is_file())
    root = Path(path.anchor)
    return sorted(file for file in root.glob(str(path.relative_to(root))) if file.is_file())


def _is_input(path: Path, endings: tuple[str, ...]) -> bool:
    """Leave out hidden files and the scores of an earlier run, which may lie in a folder below the input."""
    hidden = path.name.startswith(("_", "."))
    scores = any((folder / RUN_FILE).exists() for folder in (path.parent, path.parent.parent))
    return path.name.endswith(endings) and not hidden and not scores


def is_csv(path: Path) -> bool:
    """Whether a file is read as csv."""
    return path.name.endswith((".csv", ".csv.gz"))


def count_rows(path: Path) -> int:
    """Return the rows of a file.

    Raises
    ------
    TableError
        The file can't be read.
    """
    with _named(path):
        if not is_csv(path):
            return int(pq.read_metadata(path).num_rows)
        return csvfiles.count_rows(path)


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with _named(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_batches(path: Path, schema: Schema, batch_rows: int, *, threads: bool = True) -> Iterator[Any]:
    """Read the columns that a schema needs, a record batch of rows at a time.

    Categories come as arrow dictionaries; the cells of a csv file are text. Folders such as ``region=EMEA``
    on the path are columns of the files below them. ``threads`` lets arrow read columns beside each other.

    Raises
    ------
    TableError
        The file can't be read.
    """
    partition = {name: value for name, value in _partition(path).items() if is_wanted(name, schema)}
    with _named(path):
        batches = (
            _csv_batches(path, schema, threads)
            if is_csv(path)
            else _parquet_batches(path, schema, batch_rows, threads)
        )
        for batch in batches:
            for start in range(0, batch.num_rows, batch_rows):
                rows = batch.slice(start, batch_rows)
                for name, value in partition.items():
                    if name not in batch.schema.names:
                        rows = rows.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(rows)))
                yield rows


def _parquet_batches(path: Path, schema: Schema, batch_rows: int, threads: bool) -> Iterator[Any]:
    with pq.ParquetFile(path) as probe:
        arrow = probe.schema_arrow
        runs = _runs([probe.metadata.row_group(g).num_rows for g in range(probe.num_row_groups)], batch_rows)
    wanted = [name for name in arrow.names if is_wanted(name, schema)]
    texts = [
        name
        for name in wanted
        if name in schema.of_kind("category") and is_arrow_text(arrow.field(name).type)
    ]
    with pq.ParquetFile(path, read_dictionary=texts) as reader:
        for run in runs:
            yield from reader.iter_batches(
                batch_size=batch_rows, columns=wanted, row_groups=run, use_threads=threads
            )


def _runs(sizes: list[int], batch_rows: int) -> list[list[int]]:
    """Split row groups into runs of a few batches: a reader keeps the bytes of a run until its end."""
    runs: list[list[int]] = []
    rows = _RUN_BATCHES * batch_rows
    for group, size in enumerate(sizes):
        if rows >= _RUN_BATCHES * batch_rows:
            runs.append([])
            rows = 0
        runs[-1].append(group)
        rows += size
    return runs


def _csv_batches(path: Path, schema: Schema, threads: bool) -> Iterator[Any]:
    with csvfiles.open_csv(path) as probe:
        wanted = [name for name in probe.schema.names if is_wanted(name, schema)]
    twice = sorted({name for name in wanted if wanted.count(name) > 1})
    if twice:
        raise TableError(
            f"expected each column of {path} once, found {twice[:5]} more than once: drop the copies",
            path=str(path),
            columns=twice,
        )
    with csvfiles.open_csv(path, columns=wanted, threads=threads) as stream:
        yield from stream


def is_wanted(name: str, schema: Schema) -> bool:
    """Whether scoring looks at a column."""
    bases = {base[0] for base in map(code_base, schema.names) if base is not None}
    return name in {schema.account_id, "account_id", "as_of", schema.snapshot_date, *schema.names, *bases}


def _partition(path: Path) -> Mapping[str, str | None]:
    pairs = [part.split("=", 1) for part in path.parts[:-1] if "=" in part]
    return {name: None if value == _NO_VALUE else unquote(value) for name, value in pairs}


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file that can't be read."""
    try:
        yield
    except UNREADABLE as error:
        kind = "csv" if is_csv(path) else "parquet"
        raise TableError(
            f"expected a {kind} file, found {path}: {first_line(error)}", path=str(path)
        ) from error
