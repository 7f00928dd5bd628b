"""Parts of a score run on disk: written unfinished, split by a column on request, counted again."""

from __future__ import annotations

import re
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
from icp_ml.writing import named, sync_file

Format = Literal["parquet", "csv"]
Partition = Literal["tier", "icp_match", "applicability"]
PARTITIONS: tuple[Partition, ...] = ("tier", "icp_match", "applicability")

#: Ends the name of a part whose run isn't finished: no reader that looks for tables takes it for one.
UNFINISHED = ".unfinished"
PART_NAME = re.compile(r"part-\d{5,}\.(parquet|csv)")
PART_PATH = re.compile(rf"((?:{'|'.join(PARTITIONS)})=[^/]+/)?{PART_NAME.pattern}")


class PartWriter:
    """Writes one part of an unfinished run.

    Parameters
    ----------
    part
        Path of the part; its files have this name and ``.unfinished``. Partitioned, they lie in folders such
        as ``tier=A`` beside it, without the column they are named for.
    schema
        Of the tables to write.
    format
        "parquet" (zstd) or "csv".
    partition_by
        Column to split rows by, None = one file.

    Raises
    ------
    OutputError
        The system refuses to write.
    """

    def __init__(self, part: Path, schema: Any, format: Format, partition_by: Partition | None) -> None:
        self._part = part
        self._format = format
        self._by = partition_by
        self._schema = schema if partition_by is None else schema.remove(schema.get_field_index(partition_by))
        self._writers: dict[Path, Any] = {}
        self._changed = 0
        if partition_by is None:
            with named(part):
                self._open(part)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with named(self._part):
            for path, writer in self._writers.items():
                writer.close()
                sync_file(unfinished(path))
        if self._changed and kind is None:
            warnings.warn(
                f"{self._changed} cells of {self._part.name} would be formulas or control characters: they "
                "are written out, a formula behind an apostrophe; icp_ml.visible.formula_read_back takes it "
                "off, and parquet holds all ids as they are",
                OutputWarning,
                stacklevel=2,
            )

    def write(self, table: Any) -> None:
        """Write rows, each to the file it belongs in; in csv no cell is a formula."""
        if self._format == "csv":
            table, changed = csv_cells(table)
            self._changed += changed
        with named(self._part):
            if self._by is None:
                self._writers[self._part].write_table(table)
                return
            column = table.column(self._by)
            rest = table.drop_columns([self._by])
            for value in sorted(pc.unique(column).to_pylist()):
                path = self._part.parent / f"{self._by}={value}" / self._part.name
                self._open(path).write_table(rest.filter(pc.equal(column, value)))

    def _open(self, path: Path) -> Any:
        if path not in self._writers:
            path.parent.mkdir(exist_ok=True)
            if self._format == "csv":
                self._writers[path] = pa.csv.CSVWriter(unfinished(path), self._schema)
            else:
                self._writers[path] = pq.ParquetWriter(unfinished(path), self._schema, compression="zstd")
        return self._writers[path]


def unfinished(path: Path) -> Path:
    """Return the name that a file of a part has until its run is finished."""
    return path.with_name(f"{path.name}{UNFINISHED}")


def staged_files(part: Path) -> list[Path]:
    """Return the files of a part of an unfinished run, in a fixed order."""
    name = unfinished(part).name
    beside = sorted(part.parent.glob(f"*=*/{name}"))
    return [path for path in (part.parent / name, *beside) if path.is_file() and not path.is_symlink()]


def rows_in(file: Path, format: Format) -> int:
    """Count the rows of a file of a part by reading it again."""
    with named(file):
        if format == "parquet":
            return int(pq.read_metadata(file).num_rows)
        parse = pa.csv.ParseOptions(newlines_in_values=True)
        with pa.csv.open_csv(file, parse_options=parse) as stream:
            texts = dict.fromkeys(stream.schema.names, pa.string())
        convert = pa.csv.ConvertOptions(column_types=texts)
        with pa.csv.open_csv(file, parse_options=parse, convert_options=convert) as stream:
            return sum(batch.num_rows for batch in stream)
