"""What ``conform`` makes of a frame, without reading again what already is what the model wants."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from icp_ml.data.conform import conform
from icp_ml.data.ids import are_clean_ids
from icp_ml.data.schema import Feature, Schema
from icp_ml.data.values import TEXT_DTYPE, text_of
from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Columns, Tools, as_lists, read_columns, read_tools


def read_input(features: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, Columns]:
    """Return what :func:`icp_ml.data.conform.conform` makes of a frame, and its columns as arrays.

    The dtype of categories may differ from that of ``conform``, and so may the order of tools that an account
    has.
    """
    tools = _plain_tools(features, schema)
    table = _conformed(features, schema, frozenset(tools))
    others = tuple(feature for feature in schema.features if feature.name not in tools)
    read = read_columns(table, replace(schema, features=others))
    ordered = {name: tools.get(name) or read.tools[name] for name in schema.of_kind("technologies")}
    return table, replace(read, tools=ordered)


def _conformed(features: pd.DataFrame, schema: Schema, clean: frozenset[str]) -> pd.DataFrame:
    """Return what :func:`icp_ml.data.conform.conform` does, up to the dtype of categories.

    Numbers, true/false as numbers and categories of few levels are taken as they are, the columns named in
    ``clean`` and account ids that are clean text too; only the rest goes through ``conform``, and everything
    does where something is wrong, so that its messages hold.
    """
    plain = _plain_columns(features, schema, clean)
    name = schema.account_id if schema.account_id in features.columns else "account_id"
    ids = _clean_ids(features[name]) if list(features.columns).count(name) == 1 else None
    if not plain and ids is None:
        return conform(features, schema)
    rest = features
    if ids is not None:
        one = pd.Series(["account"], dtype="category").repeat(len(features))
        rest = features.assign(**{name: one.set_axis(features.index)})
    others = tuple(feature for feature in schema.features if feature.name not in plain)
    try:
        found = conform(rest, replace(schema, features=others))
    except InputMismatchError:
        return conform(features, schema)  # whose message names the accounts
    columns: dict[str, Any] = {"account_id": found["account_id"] if ids is None else ids}
    columns["as_of"] = found["as_of"]
    columns |= {name: plain[name] if name in plain else found[name] for name in schema.names}
    return pd.DataFrame(columns, copy=False)


def _plain_columns(
    features: pd.DataFrame, schema: Schema, clean: frozenset[str]
) -> dict[str, pd.Series[Any]]:
    """Return the feature columns that need no reading; none where a column is there twice."""
    if features.columns.has_duplicates:
        return {}
    found = {
        feature.name: _plain(features[feature.name], feature, feature.name in clean)
        for feature in schema.features
        if feature.name in features.columns
    }
    return {name: column for name, column in found.items() if column is not None}


def _plain_tools(features: pd.DataFrame, schema: Schema) -> dict[str, Tools]:
    """Return the technologies columns that cleaning would leave as they are but for the order of tools."""
    if features.columns.has_duplicates:
        return {}
    found = {
        name: _tools(features[name]) for name in schema.of_kind("technologies") if name in features.columns
    }
    return {name: tools for name, tools in found.items() if tools is not None}


def _tools(column: pd.Series[Any]) -> Tools | None:
    kind = column.dtype.pyarrow_dtype if isinstance(column.dtype, pd.ArrowDtype) else pa.null()
    if not pa.types.is_list(kind) and not pa.types.is_large_list(kind):
        return None
    tools, spellings = read_tools(column)
    # A tool that is there twice, is empty or unknown isn't among the uses.
    whole = tools.uses.nnz == len(as_lists(column).flatten())
    return tools if whole and all(text_of(tool) == tool for tool in spellings) else None


def _plain(column: pd.Series[Any], feature: Feature, is_clean: bool) -> pd.Series[Any] | None:
    if is_clean:
        return column.reset_index(drop=True)
    if feature.kind == "category":
        return _cleaned(column) if isinstance(column.dtype, pd.CategoricalDtype) else None
    if feature.kind == "technologies" or not isinstance(column.dtype, np.dtype):
        return None
    if column.dtype.kind not in ("fiub" if feature.kind == "boolean" else "fiu"):
        return None
    values = column.to_numpy(dtype=np.float64)
    if feature.kind == "boolean":
        fits = bool(((values == 0.0) | (values == 1.0) | np.isnan(values)).all())
    else:
        fits = not bool(np.isinf(values).any())
    return pd.Series(values, copy=False) if fits else None


def _cleaned(column: pd.Series[Any]) -> pd.Series[Any]:
    """Clean the levels, once each."""
    codes, levels = column.cat.codes.to_numpy(), column.cat.categories
    if len(levels) > len(codes):
        column = column.cat.remove_unused_categories()
        codes, levels = column.cat.codes.to_numpy(), column.cat.categories
    known = tuple(levels)
    # 1, 1.0 and True are one key, but not one text.
    clean = _clean_levels if levels.inferred_type == "string" else _clean_levels.__wrapped__
    place, dtype = clean(known)
    return pd.Series(pd.Categorical.from_codes(place[codes], dtype=dtype), copy=False)


@lru_cache(maxsize=256)
def _clean_levels(levels: tuple[object, ...]) -> tuple[npt.NDArray[np.int64], pd.CategoricalDtype]:
    """Return the code of each clean level (-1: none; last: of a missing value) and their dtype.

    Kept, because batch after batch has the same levels.
    """
    texts = [text_of(level) for level in levels]
    places = {text: code for code, text in enumerate(dict.fromkeys(t for t in texts if t is not None))}
    codes = [-1 if text is None else places[text] for text in texts]
    dtype = pd.CategoricalDtype(pd.Index(list(places), dtype=TEXT_DTYPE))
    return np.array([*codes, -1], dtype=np.int64), dtype


def _clean_ids(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return account ids that ``clean_ids`` would leave as they are, None if there are any others."""
    if not isinstance(column.dtype, pd.StringDtype) or column.dtype.storage != "pyarrow":
        return None
    if not are_clean_ids(pa.array(column.array, type=pa.large_string())):
        return None
    return column.reset_index(drop=True)
