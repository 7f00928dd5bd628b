"""Read a table that is already labelled: what ``Dataset.from_frame`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.data.cells import plain_frame
from icp_ml.data.conform import conform
from icp_ml.data.dates import read_dates
from icp_ml.data.ids import clean_ids, ids_preview, read_ids
from icp_ml.data.kinds import (
    CODE_COLUMNS,
    CODE_LEVELS,
    Guess,
    delimiter_of,
    family_of,
    guess_kind,
    parent_code,
)
from icp_ml.data.schema import KEYS, TARGETS, Family, Feature, Kind, Schema
from icp_ml.data.values import read_flags, shown_text
from icp_ml.errors import ConfigError, NotEnoughDataError, TableError


@dataclass(frozen=True, slots=True)
class Labelled:
    """What was read: both frames, the schema and the facts."""

    features: pd.DataFrame
    labels: pd.DataFrame
    schema: Schema
    facts: dict[str, Any]


def read_labelled(
    frame: pd.DataFrame,
    *,
    account_id: str,
    labels: dict[str, str],
    snapshot_date: str | None,
    customer_since: str | None,
    technologies: Sequence[str],
    drop: Sequence[str],
    kinds: dict[str, Kind],
    post_sale: Sequence[str],
) -> Labelled:
    """Split a labelled frame into features and labels; parameters as in ``Dataset.from_frame``."""
    _check_targets(labels)
    if not isinstance(frame, pd.DataFrame):
        raise TableError(
            f"expected a pandas DataFrame, found {type(frame).__name__}: make it one, such as by "
            "pandas.DataFrame(...) or .to_pandas()",
            found=type(frame).__name__,
        )
    frame = plain_frame(frame)
    dates = [name for name in (snapshot_date, customer_since) if name is not None]
    _check_columns(frame, [account_id, *labels.values(), *technologies, *drop, *kinds, *post_sale, *dates])
    outcomes = {target: _read_label(frame[column], column) for target, column in labels.items()}
    known = ~np.all([np.isnan(values) for values in outcomes.values()], axis=0)
    _check_variety(outcomes, labels)
    days, dated = _snapshot_days(frame, snapshot_date)
    ids = _no_account(frame[account_id], account_id)
    keep = known & ~ids & dated
    rows = frame.loc[keep].reset_index(drop=True)
    if not len(rows):
        raise NotEnoughDataError("expected labelled rows, found none with account, date and label", n=0)
    aside = {account_id, *labels.values(), *drop, *dates}
    schema = _schema(rows, account_id, snapshot_date, aside, technologies, kinds, post_sale)
    features = conform(rows, schema)
    table = pd.DataFrame({"account_id": features["account_id"], "snapshot_date": days[keep]})
    empty = np.full(len(frame), np.nan)
    for target in TARGETS:
        table[target] = pd.array(outcomes.get(target, empty)[keep], dtype="boolean")
    for name in ("starting_arr", "ending_arr", "arr_ratio"):
        table[name] = np.nan
    table["tenure_days"] = _tenure(frame, snapshot_date, customer_since, days)[keep]
    dropped = {"label_unknown": int((~known).sum()), "missing_account_id": int((known & ids).sum())}
    dropped["missing_date"] = int((known & ~ids & ~dated).sum())
    facts: dict[str, Any] = {
        "source": "frame",
        "labels": labels,
        "dropped": dropped,
        "not_point_in_time": [] if snapshot_date is not None else [f.name for f in schema.features],
        "snapshots": sorted({str(day)[:10] for day in days[keep]} - {"NaT"}),
    }
    return Labelled(features, table, schema, facts)


def _check_targets(labels: dict[str, str]) -> None:
    unknown = [name for name in labels if name not in TARGETS]
    if unknown or not labels:
        raise ConfigError(
            f"expected labels for some of {list(TARGETS)}, found {unknown or 'none'}: "
            "write labels={'retained': 'name of your column'}",
            unknown=unknown,
        )


def _check_columns(frame: pd.DataFrame, named: Sequence[str]) -> None:
    columns = [str(column) for column in frame.columns]
    if not len(frame):
        raise TableError("expected at least one row, found an empty frame", n=0)
    for name in named:
        if name not in columns:
            near = get_close_matches(str(name), columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the frame has {columns[:5]}"
            raise TableError(f"expected a column {name!r}, found none: {hint}", column=name)
    if frame.columns.has_duplicates:
        twice = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
        raise TableError(f"expected each column once, found {twice[:5]} more than once: drop the copies")


def _read_label(column: pd.Series[Any], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    values, bad = read_flags(column)
    if bad.any():
        found = ids_preview(shown_text(column[bad]))
        raise TableError(
            f"expected booleans, 0/1 or yes/no in the label column {name!r}, found {int(bad.sum())} other "
            "values: "
            f"{found}; make it boolean first, where true is the good outcome",
            column=name,
            count=int(bad.sum()),
        )
    return values


def _no_account(column: pd.Series[Any], name: str) -> Any:
    """Return where the account is missing; refuse cells that can't name one."""
    ids, bad = read_ids(column)
    if bad.any():
        found = ids_preview(shown_text(column[bad]))
        raise TableError(
            f"expected text or whole numbers in the account column {name!r}, found {int(bad.sum())} other "
            f"cells: {found}; write ids as text",
            column=name,
            count=int(bad.sum()),
        )
    return ids.isna().to_numpy()


def _check_variety(outcomes: dict[str, Any], labels: dict[str, str]) -> None:
    for target, values in outcomes.items():
        found = values[~np.isnan(values)]
        if not len(found) or found.min() == found.max():
            what = f"all {len(found)} are {bool(found[0])}" if len(found) else "every one is empty"
            raise NotEnoughDataError(
                f"expected both outcomes in {labels[target]!r} (target {target!r}), found that {what}: "
                "nothing can be learned from it; leave this target out or add accounts with the other "
                "outcome",
                target=target,
                column=labels[target],
                n=len(found),
            )


def _snapshot_days(frame: pd.DataFrame, name: str | None) -> tuple[Any, Any]:
    if name is None:
        return np.full(len(frame), "NaT", dtype="datetime64[ns]"), np.ones(len(frame), dtype=np.bool_)
    days, bad, _ = read_dates(frame[name], iso_only=True)
    if bad.any():
        found = ids_preview(shown_text(frame[name][bad]))
        raise TableError(
            f"expected dates such as 2024-06-30 in {name!r}, found {int(bad.sum())} others: {found}",
            column=name,
        )
    return days, ~np.isnat(days)


def _tenure(frame: pd.DataFrame, snapshot_date: str | None, since: str | None, days: Any) -> Any:
    """Return days since each account's first contract, NaN where not known."""
    if since is None:
        return np.full(len(frame), np.nan)
    if snapshot_date is None:
        raise ConfigError(
            f"expected snapshot_date beside customer_since={since!r}, found none: tenure is the time from "
            "the first contract to the snapshot; name the column with the day that each row describes",
            customer_since=since,
        )
    start, known = _snapshot_days(frame, since)
    tenure = (np.asarray(days, "datetime64[D]") - np.asarray(start, "datetime64[D]")).astype(np.float64)
    return np.where(known & (tenure >= 0), tenure, np.nan)


def _schema(
    rows: pd.DataFrame,
    account_id: str,
    snapshot_date: str | None,
    aside: set[str],
    technologies: Sequence[str],
    kinds: dict[str, Kind],
    post_sale: Sequence[str],
) -> Schema:
    accounts = pd.factorize(clean_ids(rows[account_id]))[0]
    features: list[Feature] = []
    dropped: list[tuple[str, str]] = []
    delimiters: list[tuple[str, str]] = []
    dated = snapshot_date is not None
    for name in rows.columns:
        if name in aside:
            continue
        if name in KEYS:
            dropped.append((name, "the name is reserved; rename the column to use it"))
            continue
        guess = _kind(rows[name], str(name), accounts, technologies, kinds, dated)
        if guess.kind is None:
            dropped.append((str(name), guess.reason))
            continue
        kind: Kind = "numeric" if guess.kind == "date" else guess.kind
        features += _with_parents(rows[name], str(name), kind, _family(str(name), kind, post_sale), dated)
        mark = delimiter_of(rows[name]) if kind == "technologies" else None
        if mark is not None:
            delimiters.append((str(name), mark))
    if not features:
        raise TableError("expected feature columns, found none that can be used", dropped=dict(dropped))
    return Schema(tuple(features), account_id, tuple(delimiters), tuple(dropped), snapshot_date)


def _kind(
    column: pd.Series[Any],
    name: str,
    accounts: Any,
    technologies: Sequence[str],
    kinds: dict[str, Kind],
    dated: bool,
) -> Guess:
    if name in technologies:
        return Guess("technologies")
    if name in kinds:
        return Guess(kinds[name])
    guess = guess_kind(column, name, accounts)
    if guess.kind == "date" and not dated:
        return Guess(None, "a date, and rows have no snapshot date to take its age at")
    return guess


def _family(name: str, kind: Kind, post_sale: Sequence[str]) -> Family:
    if name in post_sale:
        return "post_sale"
    if kind == "technologies":
        return "technographic"
    return "readiness" if family_of(name) == "readiness" else "firmographic"


def _with_parents(
    column: pd.Series[Any], name: str, kind: Kind, family: Family, point_in_time: bool
) -> list[Feature]:
    found = [Feature(name, kind, family, point_in_time)]
    if kind == "category" and name.lower() in CODE_COLUMNS:
        for digits in CODE_LEVELS:
            if parent_code(column, digits).notna().any():
                found.append(Feature(f"{name}_{digits}", "category", family, point_in_time))
    return found
