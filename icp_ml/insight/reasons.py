"""Reasons and risks per account: the largest contributions, each with the account's own value, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.schema import Schema
from icp_ml.insight import columns
from icp_ml.insight.predicates import number_text

Array = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

#: Contributions smaller than this (log-odds) aren't worth a sentence.
LEAST = 0.005


def explain_rows(
    contributions: pd.DataFrame,
    features: pd.DataFrame,
    schema: Schema,
    *,
    count: int = 3,
    encoded: tuple[Array, Any] | None = None,
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
    return pd.concat(
        [
            reasons(contributions, features, schema, top=count, sign=1, encoded=encoded),
            reasons(contributions, features, schema, top=count, sign=-1, encoded=encoded),
        ],
        axis=1,
    )


def reasons(
    contributions: pd.DataFrame,
    features: pd.DataFrame,
    schema: Schema,
    *,
    top: int = 3,
    sign: int = 1,
    encoded: tuple[Array, Any] | None = None,
) -> pd.DataFrame:
    """Return the ``top`` largest contributions of one sign per row as texts.

    Parameters
    ----------
    contributions, features, schema, encoded
        As in :func:`explain_rows`.
    top
        Number of texts.
    sign
        +1 for reasons (``reason_1..``), -1 for risks (``risk_1..``).
    """
    name = "reason" if sign > 0 else "risk"
    values = sign * contributions.to_numpy(dtype=np.float64)
    n, width = values.shape
    # rounded, so that ties are broken by column order and not by the last bit of a sum
    order = np.argsort(-np.round(values, 9), axis=1, kind="stable")[:, :top]
    texts = np.full((n, top), None, dtype=object)
    wanted = np.zeros((n, width), dtype=bool)
    for place in range(order.shape[1]):
        wanted[np.arange(n), order[:, place]] = True
    wanted &= values >= LEAST
    for j, feature in enumerate(contributions.columns):
        rows = np.flatnonzero(wanted[:, j])
        if not len(rows):
            continue
        said = _said(str(feature), features, schema, rows, sign, encoded)
        amount = sign * values[rows, j]
        place = (order[rows] == j).argmax(axis=1)
        texts[rows, place] = [f"{text} ({value:+.2f})" for text, value in zip(said, amount, strict=True)]
    names = [f"{name}_{number + 1}" for number in range(top)]
    return pd.DataFrame(texts, columns=names, index=contributions.index, dtype=object)


def _said(
    feature: str,
    features: pd.DataFrame,
    schema: Schema,
    rows: npt.NDArray[np.int64],
    sign: int,
    encoded: tuple[Array, Any] | None,
) -> list[str]:
    if feature not in features.columns:
        return [f"{feature} is unknown"] * len(rows)
    column = features[feature].iloc[rows]
    kind = schema.kind(feature)
    if kind == "technologies":
        return _stack_texts(feature, columns.tools(column), rows, sign, encoded)
    if kind == "category":
        return [f"{feature} is {'unknown' if value is None else value}" for value in columns.texts(column)]
    numbers = columns.numbers(column)
    if kind == "boolean":
        words = {1.0: "true", 0.0: "false"}
        return [f"{feature} is {words.get(value, 'unknown')}" for value in numbers.tolist()]
    return [
        f"{feature} is {'unknown' if np.isnan(value) else number_text(value)}" for value in numbers.tolist()
    ]


def _stack_texts(
    feature: str,
    stack: columns.Tools,
    rows: npt.NDArray[np.int64],
    sign: int,
    encoded: tuple[Array, Any] | None,
) -> list[str]:
    sizes = np.bincount(stack.row, minlength=len(stack.known))
    plain = [
        f"{feature} is unknown" if not known else f"{feature}: {size} in use"
        for known, size in zip(stack.known.tolist(), sizes.tolist(), strict=True)
    ]
    if encoded is None:
        return plain
    matrix, encoder = encoded
    tools = [
        (j, part.value)
        for j, part in enumerate(encoder.parts)
        if part.feature == feature and part.role == "tool"
    ]
    if not tools:
        return plain
    values = sign * matrix[rows][:, [j for j, _ in tools]]
    top = np.round(values, 9).argmax(axis=1)
    written = _written(stack)
    out = []
    for i, text in enumerate(plain):
        folded = tools[int(top[i])][1]
        if not stack.known[i] or values[i, top[i]] < LEAST:
            out.append(text)
        elif (i, folded) in written:
            out.append(f"uses {written[i, folded]}")
        else:
            out.append(f"does not use {folded}")
    return out


def _written(stack: columns.Tools) -> dict[tuple[int, str], str]:
    """Map row and folded name to the tool as the account's own list writes it."""
    folded = (" ".join(tool.split()).casefold() for tool in stack.tool)
    return {(row, name): tool for row, name, tool in zip(stack.row.tolist(), folded, stack.tool, strict=True)}
