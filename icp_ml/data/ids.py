"""Identifiers of accounts as text, whatever the export made of them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.data.values import MISSING_TEXT, clean_text

#: An identifier that a float column made of a whole number.
WHOLE_FLOAT = r"^\s*\d+\.0\s*$"
_PLAIN_ID = "^[!-~]([ -~]*[!-~])?$"


def clean_ids(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of identifiers as text; ``17.0`` becomes ``"17"`` if the column was read as floats."""
    texts = clean_text(series)
    if not pd.api.types.is_numeric_dtype(series.dtype):
        known = texts.dropna()
        if len(known) and known.str.fullmatch(r"\d+\.0").all():
            return texts.str.slice(0, -2)
    return texts


def are_clean_ids(ids: Any) -> bool:
    """Whether :func:`clean_ids` leaves an arrow array of texts as it is; False also where it might not.

    Examples
    --------
    >>> [are_clean_ids(pa.array(ids)) for ids in (["a1", "Acme, Inc."], ["17.0"], [" a1"], ["a1", None])]
    [True, False, False, False]
    """
    plain = pc.match_substring_regex(ids, _PLAIN_ID)
    none = pc.is_in(pc.ascii_lower(ids), value_set=pa.array(sorted(MISSING_TEXT), type=ids.type))
    changed = pc.or_(none, pc.match_substring_regex(ids, WHOLE_FLOAT))
    return ids.null_count == 0 and bool(pc.all(plain).as_py()) and not pc.any(changed).as_py()


def ids_preview(ids: pd.Series[Any] | npt.NDArray[Any] | list[Hashable]) -> str:
    """Return at most five ids as text for a message."""
    return ", ".join(str(value) for value in list(dict.fromkeys(list(ids)))[:5])
