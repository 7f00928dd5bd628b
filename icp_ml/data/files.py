"""Find and open the files of the input tables: csv, csv.gz and parquet, one file or a folder per table."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from icp_ml.data.contracts import CONTRACTS
from icp_ml.errors import DataWarning, TableError

_ENDINGS = (".csv", ".csv.gz", ".parquet")
_MARKS = (",", ";", "\t", "|")

Source = str | Path | Mapping[str, "pd.DataFrame | str | Path"]


def open_tables(source: Source, encoding: str) -> dict[str, pd.DataFrame]:
    """Return the raw tables of a folder or of a mapping from table name to frame or path.

    Raises
    ------
    TableError
        If a name is no table's, a file is missing, twice there, or can't be read.
    """
    if isinstance(source, (str, Path)):
        return _open_folder(Path(source), encoding)
    tables = {}
    for name, value in source.items():
        if name not in CONTRACTS:
            near = get_close_matches(str(name), list(CONTRACTS), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "leave it out"
            raise TableError(f"expected tables named {list(CONTRACTS)}, found {name!r}: {hint}", table=name)
        tables[name] = (
            value.reset_index(drop=True)
            if isinstance(value, pd.DataFrame)
            else _open(name, Path(value), encoding)
        )
    return tables


def _open_folder(folder: Path, encoding: str) -> dict[str, pd.DataFrame]:
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


def _open(name: str, path: Path, encoding: str) -> pd.DataFrame:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.endswith(_ENDINGS))
        if not files:
            raise TableError(f"expected csv or parquet files in {str(path)!r}, found none", table=name)
        return pd.concat([_open_file(name, file, encoding) for file in files], ignore_index=True)
    return _open_file(name, path, encoding)


def _open_file(name: str, path: Path, encoding: str) -> pd.DataFrame:
    if not path.is_file() or not path.name.endswith(_ENDINGS):
        raise TableError(
            f"expected a file ending in {list(_ENDINGS)} for {name}, found {str(path)!r}",
            table=name,
            path=str(path),
        )
    try:
        if path.name.endswith(".parquet"):
            return pd.DataFrame(pa.parquet.read_table(path).to_pandas())
        return _read_csv(path, encoding)
    except (pa.ArrowException, UnicodeError, OSError) as error:
        raise TableError(
            f"expected a readable table in {str(path)!r}, found: {str(error).splitlines()[0]}; "
            f"check the file and its encoding (read as {encoding}, another one goes into encoding=...)",
            table=name,
            path=str(path),
        ) from error


def _read_csv(path: Path, encoding: str) -> pd.DataFrame:
    """Read every column as text, so that no value is guessed at before its contract is known."""
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding=encoding, newline="") as file:
        header = file.readline()
    mark = max(_MARKS, key=header.count)
    parse = pa.csv.ParseOptions(delimiter=mark, newlines_in_values=True)
    read = pa.csv.ReadOptions(encoding=encoding)
    with pa.csv.open_csv(path, read_options=read, parse_options=parse) as stream:
        names = stream.schema.names
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    table = pa.csv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    return pd.DataFrame(table.to_pandas())
