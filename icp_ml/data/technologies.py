"""Lists of tools as a column: flatten, clean, merge and assemble them without a loop over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.data.values import LISTS, TEXT_DTYPE, by_distinct, is_arrow_list, is_arrow_text, text_of

#: dtype of every technologies column: a cell is a list of text, or NA where the stack is unknown.
LIST_DTYPE = pd.ArrowDtype(pa.list_(pa.string()))

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ROWS_PER_CHUNK = 250_000
_DELIMITERS = (";", "|", ",")


def cells_of(series: pd.Series[Any], kind: type | tuple[type, ...]) -> Bools:
    """Whether each cell of a column is of a type; columns of text are told by their dtype."""
    dtype = series.dtype
    if isinstance(dtype, pd.ArrowDtype):
        is_kind = (kind is str and is_arrow_text(dtype.pyarrow_dtype)) or (
            kind is not str and is_arrow_list(dtype.pyarrow_dtype)
        )
        return series.notna().to_numpy() if is_kind else np.zeros(len(series), dtype=np.bool_)
    if isinstance(dtype, pd.StringDtype):
        return series.notna().to_numpy() & (kind is str)
    if isinstance(dtype, pd.CategoricalDtype):
        levels = [*(isinstance(level, kind) for level in dtype.categories), False]
        return np.array(levels, dtype=np.bool_)[series.cat.codes.to_numpy()]
    if series.dtype.kind != "O":
        return np.zeros(len(series), dtype=np.bool_)
    return np.fromiter((isinstance(cell, kind) for cell in series.to_numpy()), np.bool_, len(series))


def are_lists(series: pd.Series[Any]) -> Bools:
    """Whether each cell of a column holds several values."""
    return cells_of(series, LISTS)


def flatten(series: pd.Series[Any]) -> tuple[Ints, pd.Series[Any], Bools]:
    """Take a technologies column apart.

    Parameters
    ----------
    series
        Cells are lists, tuples, sets, arrays or arrow lists; anything missing is an unknown stack.

    Returns
    -------
    rows
        Row position of every tool.
    tools
        The tools as text, in the order of the cells.
    known
        One per row: False where the stack is unknown.

    Examples
    --------
    >>> rows, tools, known = flatten(pd.Series([["a", "b"], None, []]))
    >>> rows.tolist(), tools.tolist(), known.tolist()
    ([0, 0], ['a', 'b'], [True, False, True])
    """
    if isinstance(series.dtype, pd.ArrowDtype) and is_arrow_list(series.dtype.pyarrow_dtype):
        return _flatten_arrow(series)
    cells = series.to_numpy(dtype=object)
    known = are_lists(series)
    lists = [sorted(cell, key=str) if isinstance(cell, (set, frozenset)) else cell for cell in cells[known]]
    sizes = np.array([len(cell) for cell in lists], dtype=np.int64)
    flat = pd.Series(list(chain.from_iterable(lists)), dtype=object)
    return np.repeat(np.flatnonzero(known), sizes), flat, known


def _flatten_arrow(series: pd.Series[Any]) -> tuple[Ints, pd.Series[Any], Bools]:
    found = pa.array(series.array)
    chunks = found.chunks if isinstance(found, pa.ChunkedArray) else [found]
    rows, tools, known, start = [], [], [], 0
    for chunk in chunks:
        rows.append(pc.list_parent_indices(chunk).to_numpy(zero_copy_only=False).astype(np.int64) + start)
        tools.append(pc.list_flatten(chunk))
        known.append(pc.is_valid(chunk).to_numpy(zero_copy_only=False))
        start += len(chunk)
    values = pa.chunked_array([pc.cast(tool, pa.string()) for tool in tools], type=pa.string())
    flat = pd.Series(pd.arrays.ArrowExtensionArray(values))
    empty_rows, empty_known = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_)
    return np.concatenate([empty_rows, *rows]), flat, np.concatenate([empty_known, *known])


def encode(tools: pd.Series[Any]) -> tuple[Ints, list[Any]]:
    """Return codes (-1 = missing) and the distinct tools."""
    codes, distinct = by_distinct(tools)
    return codes.astype(np.int64), distinct


def tool_lists(
    rows: Ints,
    codes: Ints,
    distinct: Sequence[object],
    known: Bools,
    aliases: Mapping[str, str] | None = None,
) -> pd.Series[Any]:
    """Assemble a technologies column: per row the sorted distinct tools.

    Spellings of one tool that differ only by case are merged within a row (the first in sort order stays).

    Parameters
    ----------
    rows, codes
        Row position and tool code of every entry; code -1 is no tool.
    distinct
        Tool of each code.
    known
        One per row of the result; False gives NA, True with no entry an empty list.
    aliases
        Spelling → name to use instead; compared without case.
    """
    names = canonical_names(distinct, aliases)
    ordered = sorted({name for name in names if name is not None}, key=lambda name: (name.casefold(), name))
    place = {name: position for position, name in enumerate(ordered)}
    positions = np.array([-1 if name is None else place[name] for name in names] + [-1], dtype=np.int64)
    folded = np.array([name.casefold() for name in ordered], dtype=object)
    fold = np.cumsum(np.r_[False, folded[1:] != folded[:-1]]) if len(ordered) else np.empty(0, dtype=np.int64)
    position = positions[codes]
    keep = position >= 0
    width = max(len(ordered), 1)
    key = rows[keep] * width + position[keep]
    del position, keep
    key.sort()
    row, position = key // width, key % width
    del key
    same = np.zeros(len(row), dtype=np.bool_)
    if len(row):
        folds = fold[position]
        same[1:] = (row[1:] == row[:-1]) & (folds[1:] == folds[:-1])
    return _list_series(row[~same], position[~same], ordered, known)


def _list_series(row: Ints, position: Ints, ordered: list[str], known: Bools) -> pd.Series[Any]:
    names = pa.array(ordered, type=pa.string())
    ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(known)))])
    chunks = []
    for start in range(0, len(known), _ROWS_PER_CHUNK):
        stop = min(start + _ROWS_PER_CHUNK, len(known))
        values = names.take(pa.array(position[ends[start] : ends[stop]]))
        offsets = pa.array((ends[start : stop + 1] - ends[start]).astype(np.int32))
        mask = pa.array(~known[start:stop])
        chunks.append(pa.ListArray.from_arrays(offsets, values, mask=mask))
    found = pa.chunked_array(chunks, type=pa.list_(pa.string()))
    return pd.Series(pd.arrays.ArrowExtensionArray(found))


def canonical_names(distinct: Sequence[object], aliases: Mapping[str, str] | None = None) -> list[str | None]:
    """Return each tool's name: stripped text, replaced by its alias; None for what is no tool."""
    table = {key.strip().casefold(): value.strip() for key, value in (aliases or {}).items()}
    texts = [text_of(value) for value in distinct]
    return [None if text is None else table.get(text.casefold(), text) for text in texts]


def sniff_delimiter(series: pd.Series[Any]) -> str:
    """Return the delimiter of a text column of tools: the one of ``; | ,`` found in most rows."""
    texts = series.dropna().astype(TEXT_DTYPE)
    counts = [int(texts.str.contains(mark, regex=False).sum()) for mark in _DELIMITERS]
    return _DELIMITERS[int(np.argmax(counts))] if any(counts) else ";"


def to_lists(series: pd.Series[Any], delimiter: str | None = None) -> pd.Series[Any]:
    """Return any technologies column in the list dtype, cleaned row by row.

    Parameters
    ----------
    series
        Lists of any sort, or text.
    delimiter
        Splits text cells; square brackets and quotes around tools are dropped.

    Examples
    --------
    >>> to_lists(pd.Series(["Slack; Jira;slack", None]), ";").tolist()
    [['Jira', 'Slack'], <NA>]
    """
    if delimiter is not None and not are_lists(series).all():
        series = series.astype(object)
        codes, distinct = pd.factorize(series.map(lambda cell: cell if isinstance(cell, str) else None))
        split = [_split(text, delimiter) for text in distinct] + [None]
        cells = np.empty(len(split), dtype=object)
        cells[:] = split
        texts = pd.Series(cells[codes], dtype=object)
        series = texts.where(pd.Series(codes >= 0), series.reset_index(drop=True).astype(object))
    rows, tools, known = flatten(series)
    tool_codes, tool_names = encode(tools)
    return tool_lists(rows, tool_codes, tool_names, known)


def _split(text: str, delimiter: str) -> list[str] | None:
    if text_of(text) is None:
        return None
    inner = text.strip().removeprefix("[").removesuffix("]")
    return [part.strip().strip("'\"") for part in inner.split(delimiter) if part.strip().strip("'\"")]


def list_sizes(series: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Return how many tools each row of a list column holds; NaN where the stack is unknown."""
    sizes = pc.list_value_length(pa.array(series.array, type=pa.list_(pa.string())))
    return np.asarray(pc.cast(sizes, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
