"""From a raw frame to a features frame, row by row: what scoring does before the model sees anything."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.data.cells import plain_frame, plain_names
from icp_ml.data.dates import read_dates
from icp_ml.data.ids import ids_preview, read_ids
from icp_ml.data.kinds import code_base, convert, dated_cells, parent_code
from icp_ml.data.schema import Feature, Schema
from icp_ml.data.technologies import LIST_DTYPE
from icp_ml.data.values import TEXT_DTYPE, shown_text
from icp_ml.data.windows import Days
from icp_ml.errors import InputMismatchError, InputWarning


def conform(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Turn a raw frame into the features frame of a schema.

    Columns may come in any order, extra ones are ignored, and numbers may be ints, nullable ints, decimals,
    booleans or text. Every row is read on its own: a result depends on no other row.

    Parameters
    ----------
    frame
        One row per account. The account is in ``schema.account_id`` or in ``account_id``; the day, where
        known, in ``as_of`` or in ``schema.snapshot_date``.
    schema
        The features wanted.

    Returns
    -------
    DataFrame
        ``account_id``, ``as_of``, then the schema's features in order, with a RangeIndex.

    Raises
    ------
    InputMismatchError
        If there is no account column, an account is empty, no feature of the schema is present, a column is
        there twice, or a cell can't be read as the feature's kind.

    Warns
    -----
    InputWarning
        If features are missing from the frame; they count as unknown.
    """
    _check_columns(frame, schema)
    frame = plain_frame(frame, _wanted(schema))
    ids = account_ids(frame, schema)
    as_of, has_dates = _days(frame, schema)
    columns: dict[str, Any] = {"account_id": ids, "as_of": as_of.astype("datetime64[ns]")}
    missing = []
    for feature in schema.features:
        source = _source(frame, feature)
        if source is None:
            missing.append(feature.name)
            columns[feature.name] = unknown_column(feature, len(frame))
        else:
            columns[feature.name] = _read(source, feature, schema, as_of, has_dates, ids)
    if missing and len(missing) == len(schema.features):
        raise InputMismatchError(
            f"expected the {len(missing)} columns the model was trained on, found none of them: "
            f"the first are {missing[:5]}, the frame has {[str(name) for name in frame.columns][:5]}",
            missing=missing,
        )
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(schema.features)} feature columns are missing and count as unknown "
            "in all "
            f"{len(frame)} rows: {missing[:5]}",
            InputWarning,
            stacklevel=2,
        )
    return pd.DataFrame(columns)


def _wanted(schema: Schema) -> set[str]:
    bases = {base[0] for base in map(code_base, schema.names) if base is not None}
    return {"account_id", "as_of", schema.account_id, *schema.names, *bases} | {
        schema.snapshot_date or "as_of"
    }


def _check_columns(frame: pd.DataFrame, schema: Schema) -> None:
    wanted, names = _wanted(schema), plain_names(frame.columns)
    twice = sorted({name for name in names if name in wanted and names.count(name) > 1})
    if twice:
        raise InputMismatchError(
            f"expected each column once, found {len(twice)} more than once: {twice[:5]}; drop the copies",
            columns=twice,
        )


def account_ids(frame: pd.DataFrame, schema: Schema) -> pd.Series[Any]:
    """Return the account of each row as text.

    Raises
    ------
    InputMismatchError
        If the column is missing or a cell of it is empty.
    """
    name = schema.account_id if schema.account_id in frame.columns else "account_id"
    if name not in frame.columns:
        raise InputMismatchError(
            f"expected the account column {schema.account_id!r} (or 'account_id'), found "
            f"{[str(column) for column in frame.columns][:5]}: add it, scores are keyed by it",
            expected=schema.account_id,
        )
    ids, bad = read_ids(frame[name])
    if bad.any():
        found = ids_preview(shown_text(frame[name][bad]))
        raise InputMismatchError(
            f"expected an account in every row, found {int(bad.sum())} of {len(ids)} in {name!r} that are "
            f"none: {found}; write them as text",
            column=name,
            count=int(bad.sum()),
        )
    ids = ids.reset_index(drop=True)
    empty = ids.isna().to_numpy()
    if empty.any():
        raise InputMismatchError(
            f"expected an account in every row, found {int(empty.sum())} of {len(ids)} empty, first at row "
            f"{int(np.argmax(empty))}: drop these rows or fill {name!r}",
            count=int(empty.sum()),
        )
    return ids


def _days(frame: pd.DataFrame, schema: Schema) -> tuple[Days, bool]:
    for name in (schema.snapshot_date, "as_of"):
        if name is not None and name in frame.columns:
            days, bad, _ = read_dates(frame[name], iso_only=True)
            if bad.any():
                found = ids_preview(shown_text(frame[name][bad]))
                raise InputMismatchError(
                    f"expected dates in {name!r}, found {int(bad.sum())} that are none: {found}", column=name
                )
            return days.astype("datetime64[D]"), True
    return np.full(len(frame), "NaT", dtype="datetime64[D]"), False


def _source(frame: pd.DataFrame, feature: Feature) -> pd.Series[Any] | None:
    if feature.name in frame.columns:
        return frame[feature.name]
    base = code_base(feature.name)
    if base is not None and base[0] in frame.columns:
        return parent_code(frame[base[0]], base[1])
    return None


def unknown_column(feature: Feature, n_rows: int) -> pd.Series[Any]:
    """Return a column of ``n_rows`` unknown cells in the feature's dtype."""
    if feature.kind == "category":
        return pd.Series([None] * n_rows, dtype=TEXT_DTYPE)
    if feature.kind == "technologies":
        return pd.Series([None] * n_rows, dtype=LIST_DTYPE)
    return pd.Series(np.full(n_rows, np.nan))


def _read(
    source: pd.Series[Any],
    feature: Feature,
    schema: Schema,
    as_of: Days,
    has_dates: bool,
    ids: pd.Series[Any],
) -> pd.Series[Any]:
    column, bad = convert(source, feature.kind, as_of, dict(schema.delimiters).get(feature.name))
    if bad.any():
        values = ids_preview([repr(value) for value in source[bad].head(100).to_numpy(dtype=object)])
        raise InputMismatchError(
            f"expected {feature.kind} values in {feature.name!r}, found {int(bad.sum())} of {len(bad)} "
            "that are "
            f"not: {values} in accounts {ids_preview(ids[bad])}; correct them or leave them empty",
            column=feature.name,
            count=int(bad.sum()),
            account_ids=ids[bad].tolist()[:5],
        )
    if feature.kind == "numeric" and not has_dates and dated_cells(source):
        raise InputMismatchError(
            f"expected numbers in {feature.name!r}, found {dated_cells(source)} dates and no day to take "
            "their "
            "age at: add a column 'as_of'",
            column=feature.name,
        )
    return column
