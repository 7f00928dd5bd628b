"""Csv files: every cell as text, every line accounted for.

A quote that nobody closed makes one cell of many lines. Such a cell is told from a quoted text with line ends
(RFC 4180) by what it holds: lines that have exactly the separators of the rows they were.
"""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from icp_ml.errors import TableError

_MARKS = (",", ";", "\t", "|")
_LONGEST_HEADER = 1 << 20
_CHUNK = 1 << 22
_LINE_END = re.compile(r"\r\n|\n|\r")
#: Encodings in which a line end is more than one byte.
_WIDE = ("utf-16", "utf-32")
#: From so many whole lines inside a cell on, it isn't prose.
_SURELY = 2


@dataclass(frozen=True, slots=True)
class Swallowed:
    """A cell that holds lines which are rows.

    Parameters
    ----------
    row
        Its row, as the reader counts.
    line
        Line of the file on which the row begins.
    lines
        The cells of every line that it holds.
    """

    row: int
    line: int
    lines: list[list[str | None]]


def check_encoding(encoding: object) -> None:
    """Refuse what is no name of an encoding of text.

    Raises
    ------
    TableError
        It is none.
    """
    try:
        if isinstance(encoding, str) and "\0" not in encoding:
            "".encode(encoding)
            return
    except LookupError:
        pass
    raise TableError(
        f"expected the name of a text encoding such as 'utf-8' or 'latin-1', found {encoding!r}",
        encoding=encoding,
    )


def open_bytes(path: Path) -> IO[bytes]:
    """Open the bytes of a file, unpacked where it's a .gz."""
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")


def separator(path: Path, encoding: str) -> str:
    """Return what separates the cells of a file, judged by its first line."""
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding=encoding, newline="") as file:
        header = str(file.readline(_LONGEST_HEADER))
    return max(_MARKS, key=header.count)


def count_lines(path: Path, encoding: str) -> int | None:
    """Count the line ends of a file, None where they are more than a byte.

    Raises
    ------
    TableError
        The file holds zero bytes: it's damaged, or of another encoding.
    """
    with open_bytes(path) as file:
        found = place = 0
        wide = codecs.lookup(encoding).name.startswith(_WIDE)
        while chunk := file.read(_CHUNK):
            zero = -1 if wide else chunk.find(b"\0")
            if zero >= 0:
                raise TableError(
                    f"expected text in {str(path)!r}, found a zero byte at {place + zero}: the file is "
                    "damaged, or of another encoding, such as encoding='utf-16'",
                    path=str(path),
                    byte=place + zero,
                )
            found += chunk.count(b"\n")
            place += len(chunk)
    return None if wide else found


def open_csv(
    path: Path, encoding: str = "utf-8", columns: Sequence[str] | None = None, *, threads: bool = True
) -> Any:
    """Open a stream of record batches; all cells are text, empty ones null.

    Parameters
    ----------
    path
        The file.
    encoding
        Of its text.
    columns
        Names of the columns to read, None for all.
    threads
        Whether arrow may read columns beside each other.
    """
    return pa.csv.open_csv(path, **_options(path, encoding, columns, threads))


def _options(path: Path, encoding: str, columns: Sequence[str] | None, threads: bool) -> dict[str, Any]:
    mark = separator(path, encoding.replace("utf-8", "utf-8-sig", 1))
    parse = pa.csv.ParseOptions(delimiter=mark, newlines_in_values=True)
    reading = pa.csv.ReadOptions(use_threads=threads, encoding=encoding)
    names = columns
    if names is None:
        with pa.csv.open_csv(path, parse_options=parse, read_options=reading) as stream:
            names = list(stream.schema.names)
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    if columns is not None:
        convert.include_columns = list(columns)
    return {"parse_options": parse, "read_options": reading, "convert_options": convert}


def read_csv(path: Path, encoding: str) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """Read a whole file.

    Returns
    -------
    frame
        One row per row of the file, as text; a cell that holds rows is taken apart into them.
    stray
        True where a row was inside such a cell, whose quote is in the wrong place.
    """
    lines = count_lines(path, encoding)
    table = pa.csv.read_csv(path, **_options(path, encoding, None, True))
    frame = pd.DataFrame(table.to_pandas())
    stray = np.zeros(len(frame), dtype=np.bool_)
    if lines in (len(frame), len(frame) + 1):  # as many line ends as rows: no cell holds any
        return frame, stray
    found, _ = swallowed(table, separator(path, encoding))
    if not found:
        return frame, stray
    parts, marks, start = [], [], 0
    for cell in found:
        parts += [frame.iloc[start : cell.row], pd.DataFrame(cell.lines, columns=frame.columns, dtype=object)]
        marks += [stray[start : cell.row], np.ones(len(cell.lines), dtype=np.bool_)]
        start = cell.row + 1
    parts.append(frame.iloc[start:])
    marks.append(stray[start:])
    whole = pd.concat(parts, ignore_index=True).astype(frame.dtypes.iloc[0]) if len(frame.columns) else frame
    return whole, np.concatenate(marks)


def count_rows(path: Path, encoding: str = "utf-8") -> int:
    """Count the rows of a file, batch by batch.

    Raises
    ------
    TableError
        A cell holds rows: the reader would lose them.
    """
    lines, rows = count_lines(path, encoding), 0
    with open_csv(path, encoding) as stream:
        for batch in stream:
            rows += batch.num_rows
    if lines in (rows, rows + 1):
        return rows
    found: list[int] = []
    mark, line = separator(path, encoding), 2
    with open_csv(path, encoding) as stream:
        for batch in stream:
            cells, ends = swallowed(batch, mark)
            found += [cell.line + line - 2 for cell in cells]
            line += batch.num_rows + ends
    if found:
        raise TableError(
            f"expected one row per line in {str(path)!r}, found {len(found)} quoted cells that hold whole "
            f"rows, beginning on lines {found[:5]}: a quote is in the wrong place there; correct it",
            path=str(path),
            lines=found[:5],
        )
    return rows


def swallowed(table: Any, mark: str) -> tuple[list[Swallowed], int]:
    """Return the cells of a table that hold rows, and how many line ends all its cells hold.

    Parameters
    ----------
    table
        All columns of the file, or of a part of it, as text.
    mark
        What separates cells.
    """
    ends: dict[int, int] = {}
    suspects: list[tuple[int, int, str]] = []
    for place, column in enumerate(table.columns):
        mask = pc.fill_null(pc.match_substring_regex(column, "[\r\n]"), False)
        for row, cell in zip(
            np.flatnonzero(np.asarray(mask)).tolist(), column.filter(mask).to_pylist(), strict=True
        ):
            ends[row] = ends.get(row, 0) + len(_LINE_END.findall(cell))
            suspects.append((row, place, cell))
    found, taken = [], set()
    for row, place, cell in sorted(suspects):
        pieces = _rows_in(cell, place, table.num_columns, mark)
        if pieces and row not in taken:
            taken.add(row)
            record = [column[row].as_py() for column in table.columns]
            line = 2 + row + sum(n for earlier, n in ends.items() if earlier < row)
            found.append(Swallowed(row, line, _lines_of(record, place, pieces, mark)))
    return found, sum(ends.values())


def _rows_in(cell: str, place: int, width: int, mark: str) -> list[str]:
    """Return the lines of a cell if each has the separators that rows have, else none."""
    pieces = _LINE_END.split(cell)
    closed = pieces[-1] != ""
    pieces = pieces if closed else pieces[:-1]
    counts = [piece.count(mark) for piece in pieces]
    last = place if closed else width - 1
    if len(pieces) < 2 or counts[0] != width - 1 - place or counts[-1] != last:
        return []
    inner = counts[1:-1]
    if any(count != width - 1 for count in inner):
        return []
    prose = any(mark + " " in piece for piece in pieces) and len(inner) < _SURELY
    return [] if prose and width > 1 else pieces


def _lines_of(record: list[Any], place: int, pieces: list[str], mark: str) -> list[list[str | None]]:
    lines = [piece.split(mark) for piece in pieces]
    lines[0] = [*("" if cell is None else cell for cell in record[:place]), *lines[0]]
    if len(lines[-1]) < len(record):
        lines[-1] += ["" if cell is None else cell for cell in record[place + 1 :]]
    return [[cell.strip('"') or None for cell in line] for line in lines]
