"""Reading feature columns: numbers, texts and tool lists, each with what is unknown kept apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from icp_ml.data.span import within_span

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tools:
    """A technologies column taken apart.

    Parameters
    ----------
    known
        True where the stack is known, shape (n,); an empty stack is known.
    row, tool
        One entry per row and tool: row position and the tool's name as written.
    """

    known: npt.NDArray[np.bool_]
    row: npt.NDArray[np.int64]
    tool: npt.NDArray[np.object_]


def numbers(column: pd.Series[Any]) -> Array:
    """Return a numeric or boolean column as float64, unknown as NaN."""
    found = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return within_span(np.asarray(found))


def texts(column: pd.Series[Any]) -> npt.NDArray[np.object_]:
    """Return a category column as python strings, unknown as None."""
    unknown = column.isna().to_numpy(dtype=bool)
    out = column.astype(object).to_numpy(dtype=object, copy=True)
    out[unknown] = None
    flat = [None if value is None else value if isinstance(value, str) else str(value) for value in out]
    return np.array(flat, dtype=object)


def tools(column: pd.Series[Any]) -> Tools:
    """Take a column of tool lists apart; lists may be python lists, arrays or arrow lists."""
    if isinstance(column.dtype, pd.ArrowDtype):
        column = column.astype(object)
    values = column.to_numpy(dtype=object)
    known = np.fromiter((_is_list(value) for value in values), dtype=bool, count=len(values))
    lists = [value if ok else () for value, ok in zip(values, known, strict=True)]
    lengths = np.fromiter((len(value) for value in lists), dtype=np.int64, count=len(lists))
    flat = np.empty(int(lengths.sum()), dtype=object)
    flat[:] = [str(tool) for tool in chain.from_iterable(lists)]
    return Tools(known, np.repeat(np.arange(len(lists)), lengths), flat)


def coded_tools(
    column: pd.Series[Any],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.int64], list[str]]:
    """Return which stacks are known, row and code of every tool, and the tool of each code."""
    if isinstance(column.dtype, pd.ArrowDtype):
        lists = pa.array(column.array)
        lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
        sizes = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        flat = lists.flatten().dictionary_encode(null_encoding="encode")
        known = lists.is_valid().to_numpy(zero_copy_only=False)
        rows = np.repeat(np.arange(len(lists)), sizes)
        codes = flat.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return known, rows, codes, [str(tool) for tool in flat.dictionary.to_pylist()]
    parts = tools(column)
    found, distinct = pd.factorize(parts.tool)
    return parts.known, parts.row, found.astype(np.int64), [str(tool) for tool in distinct]


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray | set | frozenset)


def codes(values: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_]]:
    """Return a number for each text (-1 = unknown) and the sorted distinct texts."""
    code, levels = pd.factorize(values, sort=True)
    return np.asarray(code, dtype=np.int64), np.asarray(levels, dtype=object)
