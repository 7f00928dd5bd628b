"""Accounts as scoring reads them: what ``conform`` makes of a frame, without reading again what is clean.

Columns that are clean are taken from arrow as they are, so that threads that score a base don't wait for each
other; only the rest goes through :func:`icp_ml.data.conform.conform`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from icp_ml.data.cells import frame_of, plain_names
from icp_ml.data.conform import conform
from icp_ml.data.ids import are_clean_ids
from icp_ml.data.kinds import code_base
from icp_ml.data.schema import Feature, Schema
from icp_ml.data.span import within_span
from icp_ml.data.values import TEXT_DTYPE, is_arrow_list, is_arrow_text, text_of
from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Categories, Columns, Tools, as_lists, read_columns, tools_of

Features = Any
"""A features frame, or a record batch of arrow."""
_WIDEST = 8
"""Bytes of the widest number that arrow knows."""
Reading = npt.NDArray[np.float64] | Categories | tuple[Tools, Any]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The rows to score.

    Parameters
    ----------
    ids
        Account of each row: texts, an arrow array or a column.
    as_of
        Day of each row in microseconds, NaT where it's unknown.
    columns
        The features.
    lists
        Technologies column → tools of each row as arrow lists, spelled as in the input; null where unknown.
    """

    ids: Any
    as_of: npt.NDArray[np.datetime64]
    columns: Columns
    lists: Mapping[str, Any]

    def frame(self, names: Sequence[str]) -> pd.DataFrame:
        """Return some features as a frame."""
        found = {name: self._column(name) for name in names}
        return pd.DataFrame(found, index=pd.RangeIndex(self.columns.n_rows), copy=False)

    def _column(self, name: str) -> Any:
        if name in self.columns.numbers:
            return self.columns.numbers[name]
        if name in self.columns.categories:
            column = self.columns.categories[name]
            return pd.Categorical.from_codes(
                column.codes, categories=pd.Index(column.levels, dtype=TEXT_DTYPE)
            )
        return pd.array(self.lists[name], dtype=pd.ArrowDtype(self.lists[name].type))


def as_input(features: object) -> Features:
    """Return a frame or a record batch whose columns are named by text.

    Raises
    ------
    InputMismatchError
        It's neither a DataFrame nor a table of arrow.
    """
    if isinstance(features, pd.DataFrame):
        plain = not isinstance(features.columns, pd.MultiIndex) and set(map(type, features.columns)) <= {str}
        return features if plain else features.set_axis(pd.Index(plain_names(features.columns)), axis=1)
    if isinstance(features, pa.Table):
        whole = features.combine_chunks().to_batches()
        return whole[0] if whole else pa.RecordBatch.from_pylist([], schema=features.schema)
    if isinstance(features, pa.RecordBatch):
        return features
    raise InputMismatchError(
        f"expected a DataFrame of accounts to score, found {type(features).__name__}: make it one, such "
        "as by pandas.DataFrame(...)",
        found=type(features).__name__,
    )


def read_input(features: Features, schema: Schema) -> Accounts:
    """Read a features frame, or a record batch, as :func:`icp_ml.data.conform.conform` does.

    Tools that an account has may come in another order.

    Raises
    ------
    InputMismatchError
        Where ``conform`` does.
    """
    names = [str(name) for name in column_names(features)]
    single = len(set(names)) == len(names)
    plain = {
        feature.name: reading
        for feature in schema.features
        if single and (reading := _plain(features, feature, names)) is not None
    }
    account = schema.account_id if schema.account_id in names else "account_id"
    ids = _plain_ids(_arrow(features, account)) if single and account in names else None
    rest = tuple(feature for feature in schema.features if feature.name not in plain)
    dated = bool({schema.snapshot_date, "as_of"} & set(names))
    unknown = not any(name in names for name in plain)
    as_of = np.full(_n_rows(features), "NaT", dtype="datetime64[us]")
    if rest or dated or unknown or ids is None:
        found = _conformed(features, schema, () if unknown else tuple(plain), account, ids)
        as_of = pd.to_datetime(found["as_of"]).astype("datetime64[us]").to_numpy()
        ids = found["account_id"] if ids is None else ids
        plain |= _readings(found, replace(schema, features=schema.features if unknown else rest))
    return _accounts(ids, as_of, plain, schema)


def _accounts(ids: Any, as_of: Any, readings: Mapping[str, Reading], schema: Schema) -> Accounts:
    numbers, categories, tools, lists = {}, {}, {}, {}
    for name in schema.names:
        reading = readings[name]
        if isinstance(reading, Categories):
            categories[name] = reading
        elif isinstance(reading, tuple):
            tools[name], lists[name] = reading
        else:
            numbers[name] = reading
    return Accounts(ids, as_of, Columns(len(as_of), numbers, categories, tools), lists)


def _readings(found: pd.DataFrame, schema: Schema) -> dict[str, Reading]:
    read = read_columns(found, schema)
    tools = {name: (stack, as_lists(found[name])) for name, stack in read.tools.items()}
    return {**read.numbers, **read.categories, **tools}


def _conformed(
    features: Features, schema: Schema, plain: Sequence[str], account: str, ids: Any
) -> pd.DataFrame:
    """Return what ``conform`` makes of all but plain columns; of everything where something is wrong.

    Only then its messages are about the whole input.
    """
    rest = replace(schema, features=tuple(f for f in schema.features if f.name not in plain))
    bases = {base[0] for base in map(code_base, rest.names) if base is not None}
    skipped = [*(set(plain) - bases), *([] if ids is None else [account])]
    try:
        frame = _frame(features, without=skipped)
        if ids is not None:
            one = pd.Series(["account"], dtype="category").repeat(len(frame))
            frame = frame.assign(**{account: one.set_axis(frame.index)})
        return conform(frame, rest)
    except InputMismatchError:
        return conform(_frame(features, without=[]), schema)


def _frame(features: Features, *, without: Sequence[str]) -> pd.DataFrame:
    if isinstance(features, pd.DataFrame):
        return features.drop(columns=list(without), errors="ignore")
    kept = [name for name in features.schema.names if name not in without]
    if not kept:
        return pd.DataFrame(index=pd.RangeIndex(features.num_rows))
    return frame_of(features.select(kept))


def column_names(features: Features) -> Sequence[Any]:
    """Return the names of the columns."""
    return list(features.columns) if isinstance(features, pd.DataFrame) else list(features.schema.names)


def _n_rows(features: Features) -> int:
    return len(features) if isinstance(features, pd.DataFrame) else int(features.num_rows)


def _arrow(features: Features, name: str) -> Any:
    """Return a column as an arrow array if that takes no guess at what its cells are, else None."""
    if not isinstance(features, pd.DataFrame):
        return features.column(name)
    if name not in features.columns:
        return None
    column = features[name]
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return pa.array(column.to_numpy()) if dtype.kind in "fiub" and dtype.itemsize <= _WIDEST else None
    arrow_text = isinstance(dtype, pd.StringDtype) and dtype.storage == "pyarrow"
    if not arrow_text and not isinstance(dtype, pd.CategoricalDtype | pd.ArrowDtype):
        return None
    try:
        found = pa.array(column.array, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None  # levels of several types
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _plain(features: Features, feature: Feature, names: Sequence[str]) -> Reading | None:
    """Return a feature that needs no cleaning, None if it does; without a column all of it is unknown."""
    if feature.name not in names:
        base = code_base(feature.name)
        return _unknown(feature, _n_rows(features)) if base is None or base[0] not in names else None
    column = _arrow(features, feature.name)
    if column is None:
        return None
    if feature.kind == "category":
        return _categories(column)
    return _tools(column) if feature.kind == "technologies" else _numbers(column, feature)


def _unknown(feature: Feature, n: int) -> Reading:
    if feature.kind == "category":
        return Categories(np.full(n, -1, dtype=np.int64), ())
    if feature.kind == "technologies":
        lists = pa.nulls(n, pa.large_list(pa.string()))
        return tools_of(lists)[0], lists
    return np.full(n, np.nan)


def _numbers(column: Any, feature: Feature) -> Reading | None:
    """Return numbers, and true/false that may be there as 0 and 1."""
    kind, is_flag = column.type, feature.kind == "boolean"
    is_number = pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    if not is_number and not (is_flag and pa.types.is_boolean(kind)):
        return None
    column = column.cast(pa.float64(), safe=False)
    values = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
    if is_flag:
        fits = bool(((values == 0.0) | (values == 1.0) | np.isnan(values)).all())
    else:
        fits = not bool(np.isinf(values).any())
        values = within_span(values)
    return values if fits else None


def _categories(column: Any) -> Reading | None:
    kind = column.type
    if is_arrow_text(kind):
        column = column.dictionary_encode()
    elif not pa.types.is_dictionary(kind) or not _is_level(kind.value_type):
        return None
    elif len(column.dictionary) > len(column):
        column = column.dictionary_decode().dictionary_encode()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    place, levels = _clean_levels(str(column.dictionary.type), tuple(column.dictionary.to_pylist()))
    return Categories(place[codes], levels)


def _is_level(kind: Any) -> bool:
    return is_arrow_text(kind) or bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


@lru_cache(maxsize=256)
def _clean_levels(kind: str, known: tuple[object, ...]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Return the code of each clean level (-1: none; last: of a missing value), and these levels, sorted.

    Kept, because batch after batch has the same levels; by their type, because 1, 1.0 and True are one key.
    """
    texts = [text_of(level) for level in known]
    levels = sorted({text for text in texts if text is not None})
    places = {text: code for code, text in enumerate(levels)}
    codes = [-1 if text is None else places[text] for text in texts]
    return np.array([*codes, -1], dtype=np.int64), tuple(levels)


def _tools(column: Any) -> Reading | None:
    """Return a technologies column that cleaning would leave as it is but for the order of tools."""
    if not is_arrow_list(column.type) or not is_arrow_text(column.type.value_type):
        return None
    lists = column.cast(pa.large_list(pa.string()))
    tools, spellings = tools_of(lists)
    # A tool that is there twice, is empty or unknown isn't among the uses.
    whole = tools.uses.nnz == len(lists.flatten())
    return (tools, lists) if whole and all(text_of(tool) == tool for tool in spellings) else None


def _plain_ids(ids: Any) -> Any:
    """Return account ids that ``clean_ids`` would leave as they are, None if there are any others."""
    if ids is None or not is_arrow_text(ids.type):
        return None
    return ids if are_clean_ids(ids.cast(pa.large_string())) else None
