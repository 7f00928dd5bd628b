"""Reasons and risks per account: the largest contributions, each with the account's own value, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.data.schema import Schema
from icp_ml.insight.predicates import number_text
from icp_ml.model.columns import Columns, as_lists, fold_tool, read_columns
from icp_ml.model.contributions import has_numba

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Said = tuple[Ints, list[str]]
"""Code of a text per row, and the text of each code."""

#: Contributions smaller than this (log-odds) aren't worth a sentence.
LEAST = 0.005
_UNCLEAR = 1e-6
KERNEL_ROWS = 2_000
"""Rows from which numba is worth its import."""


def explain_rows(
    contributions: pd.DataFrame,
    features: pd.DataFrame,
    schema: Schema,
    *,
    count: int = 3,
    encoded: tuple[Array, Any] | None = None,
    read: Columns | None = None,
) -> pd.DataFrame:
    """Say per row what speaks for it and what against it.

    Parameters
    ----------
    contributions
        Contribution of each source feature (columns) to the calibrated log-odds, one row per account.
    features
        The same rows of the features frame.
    schema
        Kinds of the features.
    count
        Number of reasons and of risks, n.
    encoded
        What ``PropensityClassifier.encoded_contributions`` gave for the same rows; with it a stack is
        explained by its most telling tool, without it by its size.
    read
        The columns of ``features`` if they are already read.

    Returns
    -------
    pandas.DataFrame
        ``reason_1..n`` and ``risk_1..n``, text or None, index of ``contributions``. A row's texts depend on
        this row only.

    Examples
    --------
    >>> from icp_ml.data.schema import Feature
    >>> schema = Schema((Feature("industry", "category"), Feature("employees", "numeric")))
    >>> parts = pd.DataFrame({"industry": [0.42], "employees": [-0.2]})
    >>> frame = pd.DataFrame({"industry": ["Fintech"], "employees": [12.0]})
    >>> explain_rows(parts, frame, schema, count=1).iloc[0].tolist()
    ['industry is Fintech (+0.42)', 'employees is 12 (-0.20)']
    """
    if read is None:
        present = Schema(tuple(f for f in schema.features if f.name in features.columns))
        read = read_columns(features, present)
    values = contributions.to_numpy(dtype=np.float64)
    shown = list(map(str, contributions.columns))
    lists = {name: as_lists(features[name]) for name in read.tools}
    said = reason_texts(values, shown, lists, schema, count=count, encoded=encoded, read=read)
    columns = {name: texts.to_numpy(zero_copy_only=False) for name, texts in said.items()}
    return pd.DataFrame(columns, index=contributions.index, columns=list(said), dtype=object)


def reason_texts(
    values: Array,
    shown: Sequence[str],
    lists: Mapping[str, Any],
    schema: Schema,
    *,
    count: int,
    encoded: tuple[Array, Any] | None,
    read: Columns,
) -> dict[str, Any]:
    """Return what :func:`explain_rows` does as arrow arrays of text by name.

    ``values`` has a column per feature of ``shown``, ``lists`` the tools of technologies columns. Texts are
    put together by arrow, so that threads don't wait for each other.
    """
    n, width = values.shape
    chosen = _chosen(values, count)
    flat = chosen.ravel()
    codes: Ints = np.full(flat.size, -1, dtype=np.int64)
    amounts = values[np.repeat(np.arange(n), chosen.shape[1]), flat]
    texts: list[str] = []
    order = np.argsort(flat, kind="stable")
    ends = np.searchsorted(flat[order], np.arange(width + 1))
    for j, feature in enumerate(shown):
        places = order[ends[j] : ends[j + 1]]
        if not len(places):
            continue
        rows = places // chosen.shape[1]
        signs = np.where(places % chosen.shape[1] < count, 1, -1)
        if feature in read.tools:
            own, said = _stack_texts(feature, lists[feature], read, rows, signs, encoded)
        else:
            own, said = _said(feature, schema, read, rows)
        codes[places] = own + len(texts)
        texts += said
    names = [f"{name}_{number + 1}" for name in ("reason", "risk") for number in range(count)]
    shape = (n, len(names))
    return dict(
        zip(names, _with_amounts(texts, codes.reshape(shape), _cents(amounts).reshape(shape)), strict=True)
    )


def _in_kernel(rows: int) -> bool:
    return rows >= KERNEL_ROWS and has_numba()


def _chosen(values: Array, count: int) -> Ints:
    """Return the columns of the largest contributions and then of the smallest, -1 where there are fewer."""
    if _in_kernel(len(values)):
        from icp_ml.insight.reasonkernel import largest

        chosen = np.empty((len(values), 2 * count), dtype=np.int64)
        largest(values, LEAST, chosen)
        return chosen
    rounded = np.ascontiguousarray(np.round(values, 9))
    return np.concatenate([_largest(rounded, values, count, sign) for sign in (1, -1)], axis=1)


def _largest(rounded: Array, values: Array, count: int, sign: int) -> Ints:
    """Return the columns of the largest contributions of one sign, -1 where there are fewer.

    Rounded, so that ties are broken by column order and not by the last bit of a sum.
    """
    left = sign * rounded
    rows = np.arange(len(left))
    found = np.full((len(left), count), -1, dtype=np.int64)
    for place in range(min(count, left.shape[1])):
        best = left.argmax(axis=1)
        found[:, place] = np.where(sign * values[rows, best] >= LEAST, best, -1)
        left[rows, best] = -np.inf
    return found


def _cents(amounts: Array) -> Ints:
    """Return amounts in hundredths, rounded as python rounds them."""
    hundredths = amounts * 100.0
    cents = np.rint(hundredths)
    # Beside a half, python's own rounding of the float decides.
    unclear = np.flatnonzero(np.abs(np.abs(hundredths - cents) - 0.5) < _UNCLEAR)
    cents[unclear] = [round(float(f"{amount:+.2f}") * 100) for amount in amounts[unclear].tolist()]
    return cents.astype(np.int64)


def _with_amounts(texts: list[str], codes: Ints, cents: Ints) -> list[Any]:
    """Return an arrow array per column of codes: the text of each code and its amount, null where it's -1."""
    place, distinct = pd.factorize(cents.ravel())
    amounts = pa.array([f"({value / 100:+.2f})" for value in distinct.tolist()], type=pa.string())
    said, place_of = pa.array(texts, type=pa.string()), place.reshape(cents.shape)
    return [
        pc.binary_join_element_wise(
            said.take(pa.array(codes[:, k], mask=codes[:, k] < 0)),
            amounts.take(pa.array(place_of[:, k])),
            " ",
        )
        for k in range(codes.shape[1])
    ]


def _said(feature: str, schema: Schema, read: Columns, rows: Ints) -> Said:
    if feature in read.categories:
        column = read.categories[feature]
        texts = [f"{feature} is {level}" for level in (*column.levels, "unknown")]
        return np.where(column.codes < 0, len(column.levels), column.codes)[rows], texts
    if feature not in read.numbers:
        return np.zeros(len(rows), dtype=np.int64), [f"{feature} is unknown"]
    codes, distinct = pd.factorize(_shortened(read.numbers[feature][rows]))
    if schema.kind(feature) == "boolean":
        words = {1.0: "true", 0.0: "false"}
        texts = [f"{feature} is {words.get(value, 'unknown')}" for value in distinct.tolist()]
    else:
        texts = [f"{feature} is {_number(value)}" for value in distinct.tolist()]
    return np.where(codes < 0, len(texts), codes).astype(np.int64), [*texts, f"{feature} is unknown"]


@lru_cache(maxsize=1 << 16)
def _number(value: float) -> str:
    """Keep the texts of numbers: shortened, the same ones come again in every batch."""
    return number_text(value)


def _shortened(values: Array) -> Array:
    """Round to what :func:`number_text` shows, where that is clear, so that fewer texts are made."""
    size = np.abs(values)
    small = (size < 999.0) & (size > 1e-3)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = 10.0 ** (3.0 - np.floor(np.log10(np.where(small, size, 1.0))))
    scaled = values * unit
    near = np.rint(scaled)
    clear = small & (np.abs(np.abs(scaled - near) - 0.5) > _UNCLEAR)
    shortened = np.where(clear, near / unit, values)
    large = (size >= 1000.0) & (size < 999_999.0)
    # -0.0 and 0.0 are one value to a hash table, so they must be one text.
    return np.asarray(np.where(large, np.rint(values), shortened) + 0.0)


def _stack_texts(
    feature: str,
    lists: Any,
    read: Columns,
    rows: Ints,
    signs: Ints,
    encoded: tuple[Array, Any] | None,
) -> Said:
    stack = read.tools[feature]
    sizes = np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    known = stack.known[rows]
    most = int(sizes.max(initial=0))
    texts = [f"{feature}: {size} in use" for size in range(most + 1)] + [f"{feature} is unknown"]
    codes = np.where(known, sizes[rows], most + 1)
    parts = () if encoded is None else encoded[1].parts
    own = [j for j, part in enumerate(parts) if part.feature == feature and part.role == "tool"]
    if encoded is None or not own:
        return codes, texts
    names = [parts[j].value for j in own]
    top, amounts = _strongest(encoded[0], np.array(own), rows, signs)
    telling = np.flatnonzero(known & (amounts >= LEAST))
    written, spellings = _written(lists, sizes, rows[telling], top[telling], names)
    texts += [f"does not use {name}" for name in names] + [f"uses {tool}" for tool in spellings]
    absent = most + 2 + top[telling]
    codes[telling] = np.where(written < 0, absent, most + 2 + len(names) + written)
    return codes, texts


def _strongest(parts: Array, columns: Ints, rows: Ints, signs: Ints) -> tuple[Ints, Array]:
    """Return which of the columns speaks most for the sign of each row asked for, and how much."""
    if _in_kernel(len(rows)):
        from icp_ml.insight.reasonkernel import strongest

        top, amounts = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows))
        strongest(parts, columns, rows, signs, top, amounts)
        return top, amounts
    values = signs[:, None] * parts[rows[:, None], columns]
    top = np.round(values, 9).argmax(axis=1)
    return top, values[np.arange(len(rows)), top]


def _written(lists: Any, sizes: Ints, rows: Ints, wanted: Ints, names: list[str]) -> tuple[Ints, list[str]]:
    """Return for each row the spelling in its own list of a wanted tool, -1 if it isn't there."""
    asked = np.flatnonzero(np.bincount(rows, minlength=len(sizes)))
    flat = lists.take(asked).flatten().dictionary_encode()
    spellings = [str(tool) for tool in flat.dictionary.to_pylist()]
    place = {name: code for code, name in enumerate(names)}
    folded = np.array([place.get(fold_tool(tool), -1) for tool in spellings] + [-1], dtype=np.int64)
    spelling = flat.indices.fill_null(len(spellings)).to_numpy(zero_copy_only=False).astype(np.int64)
    found = np.full((len(asked), 2), -1, dtype=np.int64)
    owner = np.repeat(np.arange(len(asked)), sizes[asked])
    position = np.searchsorted(asked, rows)
    # A row is asked for at most twice: as a reason and as a risk.
    second = np.zeros(len(rows), dtype=np.int64)
    by_row = np.argsort(position, kind="stable")
    second[by_row[1:]] = position[by_row[1:]] == position[by_row[:-1]]
    for turn in (0, 1):
        want = np.full(len(asked), -2, dtype=np.int64)
        want[position[second == turn]] = wanted[second == turn]
        hit = np.flatnonzero(folded[spelling] == want[owner])
        found[owner[hit], turn] = spelling[hit]
    return found[position, second], spellings
