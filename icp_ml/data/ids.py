"""Identifiers of accounts as text, whatever the export made of them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.data.values import (
    MISSING_TEXT,
    Bools,
    Unreadable,
    as_text,
    by_distinct,
    spread,
    text_of,
)

_PLAIN_ID = "^[!-~]([ -~]*[!-~])?$"
_WHOLE_FLOAT = r"^\d+\.0$"
_MOST_SHOWN = 80
#: From here on a float no longer tells neighbouring whole numbers apart.
_EXACT = 2.0**53


def clean_ids(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of identifiers as text, missing where a cell is empty or no identifier.

    Examples
    --------
    >>> clean_ids(pd.Series([" a1", "17.0", 17.0, 17, "0017", True, None], dtype=object)).tolist()
    ['a1', '17', '17', '17', '0017', 'true', nan]
    """
    return read_ids(series)[0]


def read_ids(series: pd.Series[Any]) -> tuple[pd.Series[Any], Bools]:
    """Read a column of identifiers, each cell on its own: the same whatever stands in other rows or files.

    ``17.0``, number or text, is ``"17"``: columns with gaps are exported like that.

    Returns
    -------
    ids
        Text, missing where a cell is empty or unreadable.
    unreadable
        True where a cell is no single value, infinite, or a float too large to be exact.
    """
    codes, distinct = by_distinct(series)
    texts = [_id_of(value) for value in distinct]
    bad = np.array([text is False for text in texts], dtype=np.bool_)
    return as_text(codes, [text or None for text in texts], series), spread(codes, bad, False)


def _id_of(value: object) -> str | None | bool:
    """Return the text of an identifier, None where there is none, False where the cell is none."""
    if isinstance(value, Unreadable | list):
        return False
    if isinstance(value, float | np.floating) and abs(value) >= _EXACT:
        return False
    text = text_of(value)
    if text is not None and text.endswith(".0") and text.isascii() and text[:-2].isdecimal():
        return text[:-2]
    return text


def are_clean_ids(ids: Any) -> bool:
    """Whether :func:`clean_ids` leaves an arrow array of texts as it is; False also where it might not.

    Examples
    --------
    >>> [are_clean_ids(pa.array(ids)) for ids in (["a1", "Acme, Inc."], ["17.0"], [" a1"], ["a1", None])]
    [True, False, False, False]
    """
    plain = pc.match_substring_regex(ids, _PLAIN_ID)
    none = pc.is_in(pc.ascii_lower(ids), value_set=pa.array(sorted(MISSING_TEXT), type=ids.type))
    changed = pc.or_(none, pc.match_substring_regex(ids, _WHOLE_FLOAT))
    return ids.null_count == 0 and bool(pc.all(plain).as_py()) and not pc.any(changed).as_py()


def ids_preview(ids: pd.Series[Any] | npt.NDArray[Any] | list[Hashable]) -> str:
    """Return at most five ids as text for a message."""
    return ", ".join(_short(str(value)) for value in list(dict.fromkeys(list(ids)))[:5])


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... ({len(text)} characters)"
