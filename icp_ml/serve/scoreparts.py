"""Parts of a score run on disk: written beside their name, renamed when whole, partitioned on request."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from icp_ml.errors import OutputWarning
from icp_ml.serve.csvcells import csv_cells

Format = Literal["parquet", "csv"]
Partition = Literal["tier", "icp_match", "applicability"]
PARTITIONS: tuple[Partition, ...] = ("tier", "icp_match", "applicability")


class PartWriter:
    """Writes one part; its files appear under their names when :meth:`commit` is called.

    Parameters
    ----------
    part
        Path of the part. Partitioned, its files lie in folders such as ``tier=A`` beside it, without the
        column they are named for.
    schema
        Of the tables to write.
    format
        "parquet" (zstd) or "csv".
    partition_by
        Column to split rows by, None = one file.
    """

    def __init__(self, part: Path, schema: Any, format: Format, partition_by: Partition | None) -> None:
        self._part = part
        self._format = format
        self._by = partition_by
        self._schema = schema if partition_by is None else schema.remove(schema.get_field_index(partition_by))
        self._writers: dict[Path, Any] = {}
        self._changed = 0
        if partition_by is None:
            self._open(part)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def write(self, table: Any) -> None:
        """Write rows, each to the file it belongs in; in csv no cell is a formula."""
        if self._format == "csv":
            table, changed = csv_cells(table)
            self._changed += changed
        if self._by is None:
            self._writers[self._part].write_table(table)
            return
        column = table.column(self._by)
        rest = table.drop_columns([self._by])
        for value in sorted(pc.unique(column).to_pylist()):
            path = self._part.parent / f"{self._by}={value}" / self._part.name
            self._open(path).write_table(rest.filter(pc.equal(column, value)))

    def commit(self) -> None:
        """Give the files their names; call it after the writer is closed."""
        for path in self._writers:
            _unfinished(path).replace(path)
        if self._changed:
            warnings.warn(
                f"{self._changed} cells of {self._part.name} would be formulas or control characters: they "
                "are written out, a formula behind an apostrophe; icp_ml.visible.formula_read_back takes it "
                "off, and parquet holds all ids as they are",
                OutputWarning,
                stacklevel=2,
            )

    def _open(self, path: Path) -> Any:
        if path not in self._writers:
            path.parent.mkdir(exist_ok=True)
            if self._format == "csv":
                self._writers[path] = pa.csv.CSVWriter(_unfinished(path), self._schema)
            else:
                self._writers[path] = pq.ParquetWriter(_unfinished(path), self._schema, compression="zstd")
        return self._writers[path]


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def files_of(part: Path) -> list[Path]:
    """Return the files of a part, in a fixed order."""
    return [path for path in (part, *sorted(part.parent.glob(f"*=*/{part.name}"))) if path.exists()]


def hidden_files(folder: Path) -> list[Path]:
    """Return what unfinished runs left, and notes."""
    return [*folder.glob(".part-*"), *folder.glob("*=*/.part-*")]


def part_files(folder: Path) -> list[Path]:
    """Return the files of all parts."""
    return [*sorted(folder.glob("part-*")), *sorted(folder.glob("*=*/part-*"))]


def remove(paths: list[Path], folder: Path) -> None:
    """Remove files, and partition folders that are empty then."""
    for path in paths:
        path.unlink()
    for inner in {path.parent for path in paths if path.parent != folder}:
        if not any(inner.iterdir()):
            inner.rmdir()
