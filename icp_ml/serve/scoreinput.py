"""What ``conform`` makes of a frame, without reading again what already is what the model wants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from icp_ml.data.conform import conform
from icp_ml.data.ids import are_clean_ids
from icp_ml.data.schema import Feature, Schema
from icp_ml.data.values import clean_text
from icp_ml.errors import InputMismatchError


def conformed(features: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Return what :func:`icp_ml.data.conform.conform` does, up to the dtype of categories.

    Numbers, true/false as numbers and categories of few levels are taken as they are, account ids that are
    clean text too; only the rest goes through ``conform``, and everything does where something is wrong, so
    that its messages hold.
    """
    plain = _plain_columns(features, schema)
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


def _plain_columns(features: pd.DataFrame, schema: Schema) -> dict[str, pd.Series[Any]]:
    """Return the feature columns that need no reading; none where a column is absent or there twice."""
    names = list(features.columns)
    if len(set(names)) < len(names):
        return {}
    found = {
        feature.name: _plain(features[feature.name], feature)
        for feature in schema.features
        if feature.name in features.columns
    }
    return {name: column for name, column in found.items() if column is not None}


def _plain(column: pd.Series[Any], feature: Feature) -> pd.Series[Any] | None:
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
    """Clean the levels that occur, once each."""
    codes = column.cat.codes.to_numpy()
    used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(column.cat.categories)))
    texts = clean_text(pd.Series(column.cat.categories[used]))
    place, levels = pd.factorize(texts)
    target: npt.NDArray[np.int64] = np.full(len(column.cat.categories) + 1, -1, dtype=np.int64)
    target[used] = place
    return pd.Series(pd.Categorical.from_codes(target[codes], categories=pd.Index(levels)), copy=False)


def _clean_ids(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return account ids that ``clean_ids`` would leave as they are, None if there are any others."""
    if not isinstance(column.dtype, pd.StringDtype) or column.dtype.storage != "pyarrow":
        return None
    if not are_clean_ids(pa.array(column.array, type=pa.large_string())):
        return None
    return column.reset_index(drop=True)
