"""One hash over everything a dataset says, the same on every pandas."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.data.schema import Schema
from icp_ml.data.technologies import flatten


def fingerprint_frames(
    features: pd.DataFrame, labels: pd.DataFrame, groups: np.ndarray[Any, Any], schema: Schema, extra: object
) -> str:
    """Return a sha256 over every cell of two frames, the groups, the schema and ``extra`` (JSON).

    The row index doesn't matter; the order of rows does.
    """
    digest = hashlib.sha256()
    head = {"schema": schema.to_dict(), "extra": extra, "rows": len(features)}
    digest.update(json.dumps(head, sort_keys=True, default=str).encode())
    for part, frame in (("features", features), ("labels", labels)):
        for name in frame.columns:
            digest.update(f"\0{part}\0{name}\0".encode())
            _add(digest, frame[name])
    _add_text(digest, pd.Series(groups))
    return digest.hexdigest()


def _add(digest: Any, column: pd.Series[Any]) -> None:
    dtype = column.dtype
    if pd.api.types.is_datetime64_any_dtype(dtype):
        digest.update(column.to_numpy().astype("datetime64[s]").astype("<i8").tobytes())
    elif isinstance(dtype, pd.ArrowDtype) and "list" in str(dtype):
        rows, tools, known = flatten(column)
        digest.update(np.bincount(rows, minlength=len(known)).astype("<i8").tobytes() + known.tobytes())
        _add_text(digest, tools)
    elif pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan).astype("<f8") + 0.0
        values[np.isnan(values)] = np.nan
        digest.update(values.tobytes())
    else:
        _add_text(digest, column)


def _add_text(digest: Any, column: pd.Series[Any]) -> None:
    codes, distinct = pd.factorize(column)
    texts = [str(value).encode() for value in distinct]
    digest.update(json.dumps([len(text) for text in texts]).encode() + b"".join(texts))
    digest.update(codes.astype("<i8").tobytes())
