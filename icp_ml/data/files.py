"""Find and open the files of the input tables: csv, csv.gz and parquet, one file or a folder per table."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from icp_ml.data.cells import frame_of, plain_names
from icp_ml.data.contracts import CONTRACTS
from icp_ml.data.csvfiles import check_encoding, read_csv
from icp_ml.errors import DataWarning, TableError

_ENDINGS = (".csv", ".csv.gz", ".parquet")
#: What reading a damaged file may raise.
UNREADABLE = (pa.ArrowException, UnicodeError, OSError, EOFError, zlib.error, OverflowError)

Source = str | Path | Mapping[str, "pd.DataFrame | str | Path"]


@dataclass(frozen=True, slots=True)
class Raw:
    """A table as it came in.

    Parameters
    ----------
    frame
        Its rows.
    stray
        True for rows that stood inside a quoted cell of another row; None where there are none.
    """

    frame: pd.DataFrame
    stray: npt.NDArray[np.bool_] | None = None


def open_tables(source: Source, encoding: str) -> dict[str, Raw]:
    """Return the raw tables of a folder or of a mapping from table name to frame or path.

    Raises
    ------
    TableError
        If a name is no table's, a file is missing, twice there, or can't be read.
    """
    check_encoding(encoding)
    if isinstance(source, (str, Path)):
        return _open_folder(_checked(source), encoding)
    if not isinstance(source, Mapping):
        raise TableError(
            "expected a folder of tables, or a mapping from table name to DataFrame or path, found "
            f"{_kind(source)}: name the folder, or write {{'accounts': frame, ...}}",
            found=_kind(source),
        )
    tables = {}
    for name, value in source.items():
        if name not in CONTRACTS:
            near = get_close_matches(str(name), list(CONTRACTS), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "leave it out"
            raise TableError(f"expected tables named {list(CONTRACTS)}, found {name!r}: {hint}", table=name)
        if isinstance(value, pd.DataFrame):
            tables[name] = Raw(value.reset_index(drop=True))
        elif isinstance(value, (str, Path)):
            tables[name] = _open(name, _checked(value), encoding)
        else:
            raise TableError(
                f"expected a DataFrame or a path as table {name!r}, found {_kind(value)}: make it one",
                table=name,
                found=_kind(value),
            )
    return tables


def _kind(value: object) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"


def _checked(path: str | Path) -> Path:
    if "\0" in str(path):
        raise TableError(f"expected the path of a file, found one with a zero byte: {str(path)!r}")
    return Path(path)


def _open_folder(folder: Path, encoding: str) -> dict[str, Raw]:
    if not folder.is_dir():
        raise TableError(
            f"expected a folder with accounts.csv and other tables, found no folder {str(folder)!r}",
            path=str(folder),
        )
    tables = {}
    for name in CONTRACTS:
        found = [folder / f"{name}{ending}" for ending in _ENDINGS if (folder / f"{name}{ending}").is_file()]
        found += [folder / name] if (folder / name).is_dir() else []
        if len(found) > 1:
            names = [path.name for path in found]
            raise TableError(f"expected one source of {name}, found {names}: keep one of them", table=name)
        if found:
            tables[name] = _open(name, found[0], encoding)
    _warn_of_near_names(folder, set(tables))
    return tables


def _warn_of_near_names(folder: Path, found: set[str]) -> None:
    for path in sorted(folder.iterdir()):
        stem = path.name.split(".")[0]
        near = get_close_matches(
            stem.lower(), [name for name in CONTRACTS if name not in found], n=1, cutoff=0.8
        )
        if near and stem not in CONTRACTS:
            warnings.warn(
                f"{path.name} was not read: it looks like the table {near[0]!r}, rename it if it is",
                DataWarning,
                stacklevel=4,
            )


def _open(name: str, path: Path, encoding: str) -> Raw:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.endswith(_ENDINGS))
        if not files:
            raise TableError(f"expected csv or parquet files in {str(path)!r}, found none", table=name)
        return _joined(name, {file.name: _open_file(name, file, encoding) for file in files})
    return _open_file(name, path, encoding)


def _joined(name: str, parts: Mapping[str, Raw]) -> Raw:
    """Put part files below each other; columns that only some of them have would be half empty."""
    columns = {file: _names(part.frame) for file, part in parts.items()}
    first, wanted = next(iter(columns.items()))
    for file, found in columns.items():
        if found != wanted:
            more, less = sorted(found - wanted)[:5], sorted(wanted - found)[:5]
            raise TableError(
                f"expected the same columns in all files of {name}, found that {file} has {more or 'none'} "
                f"that {first} lacks, and lacks {less or 'none'} that it has: rename or add columns, empty "
                "where nothing is known",
                table=name,
                file=file,
                more=more,
                less=less,
            )
    frames = [part.frame.set_axis(plain_names(_stripped(part.frame)), axis=1) for part in parts.values()]
    stray = [np.zeros(len(p.frame), dtype=np.bool_) if p.stray is None else p.stray for p in parts.values()]
    return Raw(pd.concat(_alike(frames), ignore_index=True), np.concatenate(stray))


def _alike(frames: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Keep every cell as it is: columns of whole numbers and floats would become floats together."""
    kinds = [frame.dtypes.to_dict() for frame in frames if frame.columns.is_unique]
    if len(kinds) < len(frames):
        return frames
    differ = [column for column in kinds[0] if len({str(kind[column]) for kind in kinds}) > 1]
    return [frame.astype(dict.fromkeys(differ, object)) for frame in frames] if differ else frames


def _stripped(frame: pd.DataFrame) -> list[str]:
    return [name.strip().lstrip("\ufeff") for name in plain_names(frame.columns)]


def _names(frame: pd.DataFrame) -> set[str]:
    return set(_stripped(frame))


def _open_file(name: str, path: Path, encoding: str) -> Raw:
    if not path.is_file() or not path.name.endswith(_ENDINGS):
        raise TableError(
            f"expected a file ending in {list(_ENDINGS)} for {name}, found {str(path)!r}",
            table=name,
            path=str(path),
        )
    try:
        if not path.name.endswith(".parquet"):
            frame, stray = read_csv(path, encoding)
            return Raw(frame, stray if stray.any() else None)
        with pq.ParquetFile(path) as file:
            return Raw(frame_of(file.read()))
    except UNREADABLE as error:
        raise TableError(
            f"expected a readable table in {str(path)!r}, found: {first_line(error)}; "
            f"check the file and its encoding (read as {encoding}, another one goes into encoding=...)",
            table=name,
            path=str(path),
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, its kind where it says nothing."""
    said = str(error).splitlines() or [type(error).__name__]
    if "straddling" in said[0]:
        return "one cell runs over more than a megabyte: is a quote not closed?"
    return said[0]
