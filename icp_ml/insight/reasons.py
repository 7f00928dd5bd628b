"""Reasons and risks per account: the largest contributions, each with the account's own value, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.data.schema import Schema
from icp_ml.insight.predicates import number_text
from icp_ml.model.arrays import check_range, check_shape
from icp_ml.model.columns import Columns, as_lists, fold_tool, read_columns
from icp_ml.model.contributions import by_kernel
from icp_ml.visible import visible

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Contributions smaller than this (log-odds) aren't worth a sentence.
LEAST = 0.005
_UNCLEAR = 1e-6


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
    chosen = _chosen(values, count)
    given = np.flatnonzero(chosen.ravel() >= 0)
    rows, features = given // chosen.shape[1], chosen.ravel()[given]
    signs = np.where(given % chosen.shape[1] < count, 1, -1)
    said = _Said.nothing(len(given))
    said.add_levels(shown, schema, read, rows, features)
    said.add_numbers(shown, schema, read, rows, features)
    for j, feature in enumerate(shown):
        if feature in read.tools and len(at := np.flatnonzero(features == j)):
            codes, texts = _stack_texts(feature, lists[feature], read, rows[at], signs[at], encoded)
            said.add(at, codes, texts)
    texts = _with_amounts(said, _cents(values[rows, features]))
    place = np.full(chosen.size, -1, dtype=np.int64)
    place[given] = np.arange(len(given))
    names = [f"{name}_{number + 1}" for name in ("reason", "risk") for number in range(count)]
    columns = place.reshape(chosen.shape).T
    return {
        name: texts.take(pa.array(column, mask=column < 0))
        for name, column in zip(names, columns, strict=True)
    }


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said of each reason given: a text, and for a number the number after it.

    Parameters
    ----------
    codes, numbers
        Place of the text and of the number of each reason.
    texts
        Texts by code.
    written
        Numbers by place, the first one empty.
    """

    codes: Ints
    numbers: Ints
    texts: list[str]
    written: list[str]

    @classmethod
    def nothing(cls, n: int) -> _Said:
        """Return room for ``n`` reasons."""
        return cls(np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), [], [""])

    def add(self, at: Ints, codes: Ints, texts: Sequence[str]) -> None:
        """Say one of some texts of the reasons ``at``."""
        self.codes[at] = codes + len(self.texts)
        self.texts.extend(visible(text, one_line=True) for text in texts)

    def add_levels(
        self, shown: Sequence[str], schema: Schema, read: Columns, rows: Ints, features: Ints
    ) -> None:
        """Say the level of all features that are categories, true or false, or not there."""
        slot = np.full(len(shown), -1, dtype=np.int64)
        columns: list[Ints] = []
        texts: list[str] = []
        for j, feature in enumerate(shown):
            if (levels := _levels(feature, schema, read)) is not None:
                slot[j] = len(columns)
                columns.append(levels[0] + len(texts))
                texts += levels[1]
        if len(at := np.flatnonzero(slot[features] >= 0)):
            self.add(at, np.array(columns)[slot[features[at]], rows[at]], texts)

    def add_numbers(
        self, shown: Sequence[str], schema: Schema, read: Columns, rows: Ints, features: Ints
    ) -> None:
        """Say the value of all features that are numbers."""
        names = [name for name in shown if name in read.numbers and schema.kind(name) != "boolean"]
        slot = np.array([names.index(name) if name in names else -1 for name in shown], dtype=np.int64)
        if not len(at := np.flatnonzero(slot[features] >= 0)):
            return
        values = np.array([read.numbers[name] for name in names])[slot[features[at]], rows[at]]
        codes, distinct = pd.factorize(_shortened(values))
        self.add(at, slot[features[at]], [f"{name} is " for name in names])
        self.numbers[at] = len(self.written) + np.where(codes < 0, len(distinct), codes)
        self.written.extend([*map(_number, distinct.tolist()), "unknown"])


def _chosen(values: Array, count: int) -> Ints:
    """Return the columns of the largest contributions and then of the smallest, -1 where there are fewer."""
    if count < 1 or not values.shape[1]:
        return np.full((len(values), 2 * max(count, 0)), -1, dtype=np.int64)
    if by_kernel(len(values)):
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


def _with_amounts(said: _Said, cents: Ints) -> Any:
    """Return what is said of each reason and its amount as an arrow array."""
    place, distinct = pd.factorize(cents)
    amounts = [f" ({value / 100:+.2f})" for value in distinct.tolist()]
    parts = ((said.texts, said.codes), (said.written, said.numbers), (amounts, place))
    return pc.binary_join_element_wise(
        *(pa.array(texts, type=pa.string()).take(pa.array(codes)) for texts, codes in parts), ""
    )


def _levels(feature: str, schema: Schema, read: Columns) -> tuple[Ints, tuple[str, ...]] | None:
    """Return the code of each row's level and the text of each code; None for numbers and lists."""
    if feature in read.categories:
        column = read.categories[feature]
        codes = np.where(column.codes < 0, len(column.levels), column.codes)
        return codes, _level_texts(feature, column.levels)
    if feature in read.numbers and schema.kind(feature) == "boolean":
        values = read.numbers[feature]
        return np.where(values == 1.0, 0, np.where(values == 0.0, 1, 2)), _level_texts(
            feature, ("true", "false")
        )
    if feature in read.numbers or feature in read.tools:
        return None
    return np.zeros(read.n_rows, dtype=np.int64), _level_texts(feature, ())


@lru_cache(maxsize=1 << 10)
def _level_texts(feature: str, levels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{feature} is {level}" for level in (*levels, "unknown"))


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
) -> tuple[Ints, list[str]]:
    """Return the code of a text per row asked for, and the text of each code."""
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
    check_range("columns of tools", columns, parts.shape[1])
    check_range("rows", rows, len(parts))
    check_shape("signs", signs, rows.shape)
    if by_kernel(len(rows)):
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
