"""From a features frame to typed arrays, once: numbers, category codes and a sparse matrix of tools.

Everything here treats each row on its own, so that a batch can't change the encoding of an account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from icp_ml.data.schema import Feature, Schema
from icp_ml.data.span import within_span
from icp_ml.errors import InputMismatchError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Categories:
    """A category column as integer codes.

    Parameters
    ----------
    codes
        One code per row, -1 where the value is missing.
    levels
        The text of each code.
    """

    codes: Ints
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tools:
    """A technologies column as a sparse matrix.

    Parameters
    ----------
    uses
        Sparse matrix (rows × names) of ones; a tool listed twice counts once.
    names
        Folded tool names, see :func:`fold_tool`.
    known
        False where the stack is unknown.
    """

    uses: Any
    names: tuple[str, ...]
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Columns:
    """The feature columns of a frame as arrays.

    Parameters
    ----------
    n_rows
        Number of rows.
    numbers
        Numeric and boolean columns as float64, NaN = unknown.
    categories, tools
        The other columns.
    """

    n_rows: int
    numbers: dict[str, Floats]
    categories: dict[str, Categories]
    tools: dict[str, Tools]

    def take(self, rows: Ints | slice) -> Columns:
        """Return the given rows, in the given order; a slice copies no numbers."""
        n_rows = len(range(*rows.indices(self.n_rows))) if isinstance(rows, slice) else len(rows)
        return Columns(
            n_rows=n_rows,
            numbers={name: values[rows] for name, values in self.numbers.items()},
            categories={
                name: Categories(column.codes[rows], column.levels)
                for name, column in self.categories.items()
            },
            tools={
                name: Tools(column.uses[rows], column.names, column.known[rows])
                for name, column in self.tools.items()
            },
        )


def fold_tool(name: str) -> str:
    """Return the form in which tool names are compared: trimmed, single spaces, case folded.

    Examples
    --------
    >>> fold_tool(" Sales  Force ")
    'sales force'
    """
    return " ".join(name.split()).casefold()


def level_text(value: object) -> str:
    """Return a category value as the text by which levels are compared.

    A whole number stored as a float, as pandas does to a column with gaps, is the same level as the integer.

    Examples
    --------
    >>> level_text(52.0), level_text(52), level_text("52")
    ('52', '52', '52')
    """
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def read_columns(frame: pd.DataFrame, schema: Schema) -> Columns:
    """Convert the schema's columns of ``frame``, found by name; other columns are ignored.

    Parameters
    ----------
    frame
        A features frame; the order of its columns does not matter.
    schema
        Names and kinds of the columns to read.

    Raises
    ------
    InputMismatchError
        If columns are missing, occur twice, or can't be read as their kind.
    """
    missing = [name for name in schema.names if name not in frame.columns]
    if missing:
        raise InputMismatchError(
            f"expected {len(schema.features)} feature columns, {len(missing)} are missing: {missing[:5]}; "
            "add them (all values may be missing) or build the frame with build_features",
            missing=missing,
        )
    twice = sorted(set(schema.names) & set(frame.columns[frame.columns.duplicated()]))
    if twice:
        raise InputMismatchError(
            f"expected every feature column once, found {twice[:5]} more often: rename or drop the others",
            columns=twice,
        )
    numbers: dict[str, Floats] = {}
    categories: dict[str, Categories] = {}
    tools: dict[str, Tools] = {}
    for feature in schema.features:
        column = frame[feature.name]
        if feature.kind == "category":
            categories[feature.name] = _read_categories(column)
        elif feature.kind == "technologies":
            tools[feature.name] = tools_of(as_lists(column))[0]
        else:
            numbers[feature.name] = _read_numbers(column, feature)
    return Columns(len(frame), numbers, categories, tools)


def columns_from_matrix(matrix: Floats, schema: Schema) -> Columns:
    """Wrap a float matrix whose columns are the schema's numeric features, in order."""
    numbers = {name: np.ascontiguousarray(within_span(matrix[:, j])) for j, name in enumerate(schema.names)}
    return Columns(len(matrix), numbers, {}, {})


def infer_schema(frame: pd.DataFrame, skip: Sequence[str] = ()) -> Schema:
    """Guess the kind of each column from its values.

    Numbers become numeric, true/false boolean, lists technologies, everything else a category.

    Raises
    ------
    ValueError
        If a column holds dates or complex numbers.
    """
    features = []
    for name in frame.columns:
        if name in skip:
            continue
        features.append(Feature(str(name), _infer_kind(frame[name])))  # type: ignore[arg-type]
    return Schema(tuple(features))


def _infer_kind(column: pd.Series) -> str:
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_complex_dtype(dtype):
        raise ValueError(f"Complex data not supported: column {column.name!r} is {dtype}; give real numbers")
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        raise ValueError(
            f"expected numbers, text or lists in column {column.name!r}, found {dtype}: "
            "convert dates to ages at a stated day"
        )
    if pd.api.types.is_numeric_dtype(dtype):
        return "numeric"
    if isinstance(dtype, pd.ArrowDtype) and (
        pa.types.is_list(dtype.pyarrow_dtype) or pa.types.is_large_list(dtype.pyarrow_dtype)
    ):
        return "technologies"
    if pd.api.types.is_object_dtype(dtype):
        known = column.dropna()
        if len(known) and isinstance(known.iloc[0], (list, tuple, np.ndarray)):
            return "technologies"
        inferred = pd.api.types.infer_dtype(known)
        if inferred == "boolean":
            return "boolean"
        if inferred in {"integer", "floating", "mixed-integer-float", "decimal"}:
            return "numeric"
    return "category"


def _read_numbers(column: pd.Series, feature: Feature) -> Floats:
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        known = column.notna().to_numpy()
        values = np.full(len(column), np.nan)
        read = _as_floats(column[known])
        bad = np.isnan(read)
        if bad.any():
            examples = [str(value) for value in column[known][bad].iloc[:5]]
            raise InputMismatchError(
                f"expected {feature.kind} values in {feature.name!r}, found {int(bad.sum())} others "
                f"such as {examples}: convert the column or leave it empty where unknown",
                column=feature.name,
                n_bad=int(bad.sum()),
            )
        values[known] = read
    return np.ascontiguousarray(within_span(values))


def _as_floats(known: pd.Series) -> Floats:
    """Return values as numbers, NaN where they are none or too long for one."""
    try:
        found = pd.to_numeric(known.astype(object), errors="coerce")
        return np.asarray(found.to_numpy(dtype=np.float64, na_value=np.nan))
    except OverflowError:
        # A whole number of Python beyond 1.8e308: each on its own, which is slow and rare.
        return np.array([_as_float(value) for value in known], dtype=np.float64)


def _as_float(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _read_categories(column: pd.Series) -> Categories:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes, found = column.cat.codes.to_numpy().astype(np.int64), list(dtype.categories)
    else:
        if pd.api.types.is_object_dtype(dtype) and pd.api.types.infer_dtype(column, skipna=True) not in {
            "string",
            "empty",
        }:
            # 1, 1.0 and True are equal to a hash table but not as text
            column = column.map(level_text, na_action="ignore")
        raw, uniques = pd.factorize(column)
        codes, found = raw.astype(np.int64), list(uniques)
    texts = [level_text(value) for value in found]
    levels = sorted(set(texts))
    place = {level: code for code, level in enumerate(levels)}
    lookup = np.array([place[text] for text in texts] + [-1], dtype=np.int64)
    return Categories(lookup[codes], tuple(levels))


def tools_of(lists: Any) -> tuple[Tools, list[str]]:
    """Return arrow lists of tools as a sparse matrix, and the spellings that occur in them."""
    known = lists.is_valid().to_numpy(zero_copy_only=False).astype(bool)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    encoded = lists.flatten().dictionary_encode()
    spellings = encoded.dictionary.to_pylist()
    folded = [fold_tool(text) for text in spellings]
    names = sorted({name for name in folded if name})
    place = {name: code for code, name in enumerate(names)}
    lookup = np.array([place.get(name, -1) for name in folded] + [-1], dtype=np.int64)
    codes = lookup[pc.fill_null(encoded.indices, len(spellings)).to_numpy(zero_copy_only=False)]
    named = codes >= 0
    if not named.all():
        rows = np.repeat(np.arange(len(lists), dtype=np.int64), lengths)
        codes, lengths = codes[named], np.bincount(rows[named], minlength=len(lists))
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    uses = sparse.csr_matrix(
        (np.ones(len(codes), dtype=np.int32), codes, starts), shape=(len(lists), len(names))
    )
    uses.sum_duplicates()
    uses.data[:] = 1
    return Tools(uses, tuple(names), known), spellings


def as_lists(column: pd.Series) -> Any:
    """Return a technologies column as one arrow array of lists of text.

    Raises
    ------
    InputMismatchError
        If its cells are no lists.
    """
    try:
        lists = pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
        raise _no_lists(column, str(problem)) from problem
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    if pa.types.is_null(lists.type):
        return pa.nulls(len(column), pa.large_list(pa.string()))
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise _no_lists(column, f"values are {lists.type}")
    try:
        return lists.cast(pa.large_list(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as problem:
        raise _no_lists(column, str(problem)) from problem


def _no_lists(column: pd.Series, found: str) -> InputMismatchError:
    return InputMismatchError(
        f"expected lists of tool names in {column.name!r}, found something else ({found}): "
        "give a list per account, an empty list for none and nothing for an unknown stack",
        column=column.name,
    )
