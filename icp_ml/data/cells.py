"""The door for raw columns: whatever stands in a cell becomes a plain value, or is marked as unreadable.

Behind it no cell is a dict, a nested list, a number that no float holds or an object that can't be compared;
lists of plain values stay lists, since a column of tools is one. Columns that are clean pass as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import MAXYEAR, MINYEAR, date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.data.dates import wall_clock
from icp_ml.data.values import LISTS, Unreadable, is_arrow_list, is_arrow_text

_NUMPY = (np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
#: Types of cells that can be compared, counted and written as text without a look at the cell.
_PLAIN: frozenset[type] = frozenset(
    [str, bool, float, type(None), type(pd.NaT), type(pd.NA), date, datetime, time, timedelta, UUID]
    + [pd.Timestamp, pd.Timedelta, pd.Interval, pd.Period, Unreadable]
    + [*_NUMPY, np.float16, np.float32, np.float64, np.datetime64, np.timedelta64]
)
_OF_OBJECTS: tuple[Callable[[Any], bool], ...] = (
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary),
    *(pa.types.is_time, pa.types.is_duration),
)
_MOST_BITS, _MOST_EXPONENT = 4096, 400
_EXACT = 2**53
#: Columns in which pandas keeps the labels of rows; they are no columns of the user's.
_ROW_LABELS = "__index_level_"


def plain_frame(frame: pd.DataFrame, columns: Iterable[Any] | None = None) -> pd.DataFrame:
    """Return a frame whose columns hold plain cells, named by text without levels.

    Parameters
    ----------
    frame
        Any frame; it stays as it is.
    columns
        Names of the columns to look at, None for all.
    """
    names = plain_names(frame.columns)
    wanted = None if columns is None else set(columns)
    found = frame.set_axis(pd.Index(names, dtype=object), axis=1)
    changed = {}
    for place, name in enumerate(names):
        if wanted is None or name in wanted:
            column = frame.iloc[:, place]
            plain = plain_column(column)
            if plain is not column:
                changed[place] = plain
    if not changed:
        return found
    columns_of = [changed.get(place, frame.iloc[:, place]) for place in range(len(names))]
    result = pd.concat(columns_of, axis=1) if frame.index.is_unique else _beside(columns_of, frame.index)
    return result.set_axis(pd.Index(names, dtype=object), axis=1)


def _beside(columns: Sequence[pd.Series[Any]], index: pd.Index[Any]) -> pd.DataFrame:
    return pd.concat([column.reset_index(drop=True) for column in columns], axis=1).set_axis(index, axis=0)


def plain_names(names: Iterable[Any]) -> list[str]:
    """Return names of columns as text; those of several levels are joined, without the empty ones.

    Examples
    --------
    >>> plain_names(["a", 1, ("size", ""), ("size", "mean")])
    ['a', '1', 'size', 'size_mean']
    """
    found = []
    for name in names:
        parts = name if isinstance(name, tuple) else (name,)
        found.append("_".join(str(part) for part in parts if not (len(parts) > 1 and part in ("", None))))
    return found


def plain_column(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column with plain cells; the column itself where it is clean already."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind == "O":
            return _plain_objects(series)
        return series if dtype.kind in "biufMm" else _as_unreadable(series, str(dtype))
    if isinstance(dtype, pd.CategoricalDtype):
        levels = pd.Series(dtype.categories)
        plain = plain_column(levels)
        if plain is levels:
            return series
        padded = np.array([*plain, None], dtype=object)
        return _like(series, padded[series.cat.codes.to_numpy()])
    if isinstance(dtype, pd.ArrowDtype):
        kind = dtype.pyarrow_dtype
        if _is_scalar(kind) or _is_text_list(kind):
            return series
        found = column_of(pa.array(series.array, from_pandas=True))
        return pd.Series(found.array, index=series.index, name=series.name)
    if isinstance(dtype, pd.SparseDtype):
        return plain_column(series.astype(dtype.subtype))
    known = pd.StringDtype | pd.BooleanDtype | pd.DatetimeTZDtype | pd.PeriodDtype | pd.IntervalDtype
    if isinstance(dtype, known) or pd.api.types.is_numeric_dtype(dtype):
        return series
    return _plain_objects(series.astype(object))


def unreadable_cells(series: pd.Series[Any]) -> tuple[int, Unreadable] | None:
    """Return how many cells of a plain column are unreadable, and what the first of them is; None if none."""
    if series.dtype != object:
        return None
    odd = [cell for cell in series.to_numpy() if type(cell) is Unreadable]
    return (len(odd), odd[0]) if odd else None


def _is_scalar(kind: Any) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    return bool(number or pa.types.is_boolean(kind) or is_arrow_text(kind))


def _is_text_list(kind: Any) -> bool:
    return is_arrow_list(kind) and is_arrow_text(kind.value_type)


def _marked(mask: Any, what: str) -> Any:
    """Return cells that are unreadable where a mask is true, and missing elsewhere."""
    cells = np.full(len(mask), None, dtype=object)
    cells[np.asarray(mask, dtype=np.bool_)] = Unreadable(what)
    return cells


def _like(series: pd.Series[Any], cells: Any) -> pd.Series[Any]:
    return pd.Series(cells, index=series.index, name=series.name, dtype=object)


def _as_unreadable(series: pd.Series[Any], what: str) -> pd.Series[Any]:
    return _like(series, _marked(series.notna(), f"a {what}"))


def _plain_objects(series: pd.Series[Any]) -> pd.Series[Any]:
    cells = series.to_numpy(dtype=object)
    kinds = set(map(type, cells))
    if kinds <= _PLAIN or _are_plain_numbers(cells, kinds) or _are_plain_lists(cells, kinds):
        return series
    plain = np.empty(len(cells), dtype=object)
    for place, cell in enumerate(cells):
        plain[place] = cell if type(cell) in _PLAIN else _plain_cell(cell)
    return _like(series, plain)


def _are_plain_numbers(cells: Any, kinds: set[type]) -> bool:
    """Whether cells are plain, or whole numbers and decimals that are finite and not endlessly long."""
    if not kinds <= _PLAIN | {int, Decimal}:
        return False
    short = all(cell.bit_length() <= _MOST_BITS for cell in cells if type(cell) is int)
    return short and all(_is_plain_decimal(cell) for cell in cells if type(cell) is Decimal)


def _is_plain_decimal(cell: Decimal) -> bool:
    return cell.is_finite() and (abs(cell.adjusted()) <= _MOST_EXPONENT or cell == 0)


def _are_plain_lists(cells: Any, kinds: set[type]) -> bool:
    """Whether cells are plain or lists of text, which is what columns of tools hold."""
    if not kinds <= _PLAIN | {list, np.ndarray}:
        return False
    lists = [cell for cell in cells if type(cell) in LISTS]
    if np.ndarray in kinds and any(cell.ndim != 1 for cell in lists if type(cell) is np.ndarray):
        return False
    return set(map(type, chain.from_iterable(lists))) <= {str, type(None)}


def _plain_cell(cell: Any) -> object:
    """Return one cell as a plain value, a list of these, or the mark of an unreadable one."""
    if isinstance(cell, LISTS):
        return _plain_list(cell)
    if isinstance(cell, str):
        return str.__str__(cell)
    if isinstance(cell, bytes | bytearray):
        return _decoded(bytes(cell))
    if isinstance(cell, int):
        number = int.__index__(cell)
        return number if number.bit_length() <= _MOST_BITS else Unreadable("a number of too many digits")
    if isinstance(cell, Decimal):
        return _plain_decimal(cell)
    if isinstance(cell, float):
        return float.__float__(cell)
    if isinstance(cell, np.floating):
        return float(cell)
    if isinstance(cell, datetime):
        return datetime.combine(date(cell.year, cell.month, cell.day), datetime.time(cell))
    if isinstance(cell, date):
        return date(cell.year, cell.month, cell.day)
    return Unreadable(f"a {type(cell).__name__}")


def _plain_decimal(cell: Decimal) -> object:
    if cell.is_nan():
        return Unreadable("a signalling NaN") if cell.is_snan() else None
    if cell.is_infinite():
        return Unreadable("an infinite Decimal")
    return Decimal(cell) if _is_plain_decimal(cell) else Unreadable("a number of too many digits")


def _decoded(cell: bytes) -> object:
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError:
        return Unreadable("bytes that are no text")


def _plain_list(cell: Any) -> object:
    if isinstance(cell, np.ndarray):
        if cell.ndim != 1:
            return Unreadable(f"an array of {cell.ndim} dimensions")
        cell = list(cell)
    items = [item if type(item) in _PLAIN else _plain_cell(item) for item in cell]
    odd = [item for item in items if isinstance(item, list | Unreadable)]
    if odd:
        inner = odd[0] if isinstance(odd[0], Unreadable) else "a list"
        return Unreadable(f"a list that holds {inner}")
    return sorted(items, key=str) if isinstance(cell, set | frozenset) else items


def frame_of(table: Any) -> pd.DataFrame:
    """Return an arrow table or record batch as a frame with plain cells.

    What pandas noted of its own types in a file is not looked at: others write files with notes that lie.
    """
    kept = [place for place, name in enumerate(table.schema.names) if not name.startswith(_ROW_LABELS)]
    columns = [column_of(table.column(place)) for place in kept]
    names = pd.Index([table.schema.names[place] for place in kept], dtype=object)
    if not columns:
        return pd.DataFrame(index=pd.RangeIndex(table.num_rows))
    return pd.concat(columns, axis=1).set_axis(names, axis=1)


def column_of(cells: Any) -> pd.Series[Any]:
    """Return an arrow column with plain cells."""
    kind = cells.type
    if pa.types.is_dictionary(kind) and not _is_scalar(kind.value_type):
        return column_of(_decode(cells))
    if isinstance(kind, pa.BaseExtensionType):
        return column_of(_storage(cells))
    if _is_text_list(kind):
        return pd.Series(cells.to_pandas(types_mapper=pd.ArrowDtype))
    if pa.types.is_fixed_size_list(kind):
        return column_of(cells.cast(pa.list_(kind.value_type)))
    if pa.types.is_integer(kind):
        return _integers(cells)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _calendar(cells)
    if _is_scalar(kind) or pa.types.is_dictionary(kind):
        return pd.Series(cells.to_pandas())
    if pa.types.is_float16(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return pd.Series(cells.to_pandas())
    if kind in (pa.string_view(), pa.binary_view()):
        return column_of(cells.cast(pa.large_string() if kind == pa.string_view() else pa.large_binary()))
    if pa.types.is_run_end_encoded(kind):
        return column_of(pc.run_end_decode(cells))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return column_of(cells.cast(pa.large_list(kind.value_type)))
    return _from_objects(cells)


def _decode(cells: Any) -> Any:
    chunks = cells.chunks if isinstance(cells, pa.ChunkedArray) else [cells]
    return pa.chunked_array([chunk.dictionary_decode() for chunk in chunks], type=cells.type.value_type)


def _storage(cells: Any) -> Any:
    chunks = cells.chunks if isinstance(cells, pa.ChunkedArray) else [cells]
    return pa.chunked_array([chunk.storage for chunk in chunks], type=cells.type.storage_type)


def _integers(cells: Any) -> pd.Series[Any]:
    """Keep every digit of whole numbers; with gaps pandas would make floats of them."""
    if cells.null_count:
        ends = pc.min_max(cells).as_py()
        if max(abs(ends["min"] or 0), abs(ends["max"] or 0)) > _EXACT:
            return pd.Series(cells.to_pandas(integer_object_nulls=True))
    return pd.Series(cells.to_pandas())


def _calendar(cells: Any) -> pd.Series[Any]:
    """Return days and times as pandas has them; of years that it hasn't as datetime64 of seconds."""
    stamps, bad = wall_clock(cells)
    years = stamps.astype("datetime64[Y]").astype(np.int64)[~np.isnat(stamps)] + 1970
    inside = not len(years) or (years.min() >= MINYEAR and years.max() <= MAXYEAR)
    if bad.any():
        return pd.Series(
            np.where(bad, np.array([Unreadable("a time of an unknown zone")], dtype=object), None)
        )
    if pa.types.is_date(cells.type):
        return pd.Series(cells.to_pandas() if inside else stamps.astype("datetime64[s]"))
    return pd.Series(stamps)


def _from_objects(cells: Any) -> pd.Series[Any]:
    """Return the cells of any other type; those that hold several values by name are unreadable."""
    kind = cells.type
    for test in (*_OF_OBJECTS, is_arrow_list):
        if test(kind):
            found = pd.Series(np.full(len(cells), None, dtype=object))
            found[:] = cells.to_pylist()
            return _plain_objects(found)
    return pd.Series(_marked(cells.is_valid(), f"a {str(kind).split('<')[0]}"))
