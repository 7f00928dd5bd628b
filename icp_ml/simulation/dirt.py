"""Rows as they come in real exports: bad copies of good rows, amounts as text, tool names in any case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from icp_ml.simulation.world import stream

STRANGER = "X999999"


def dirty_rows(tables: dict[str, pd.DataFrame], share: float, seed: int) -> pd.DataFrame:
    """Plant dirt into accounts, subscriptions and technologies, in place of the clean frames.

    Bad rows come on top of the good ones, so that a reader that refuses them is left with the clean tables.

    Parameters
    ----------
    tables
        The clean tables; the three are replaced.
    share
        Share of rows of each table to be refused, spread over its rules (at least one row per rule); 0: none.
    seed
        Seed of the base.

    Returns
    -------
    pandas.DataFrame
        table, rule, row of every row that has to be refused.
    """
    columns = ["table", "rule", "row"]
    if share <= 0:
        return pd.DataFrame({name: [] for name in columns})
    rules = {
        "accounts": ("duplicate_account", "missing_account_id"),
        "technologies": ("missing_technology", "unknown_account"),
        "subscriptions": (
            "unknown_account",
            "end_before_start",
            "negative_arr",
            "missing_account_id",
            "missing_start_date",
        ),
    }
    planted = []
    for name, wanted in rules.items():
        rng = stream(seed, f"dirt {name}")
        tables[name], rows = _planted(tables[name], wanted, share, rng)
        planted += [{"table": name, "rule": rule, "row": row} for row, rule in rows]
    subscriptions = tables["subscriptions"]
    amounts = subscriptions["arr"].astype(object)
    for row in stream(seed, "text").permutation(len(amounts))[: max(1, int(share * len(amounts)))].tolist():
        if amounts[row] >= 0:
            amounts[row] = f"${amounts[row]:,.0f}"
    tables["subscriptions"] = subscriptions.assign(arr=amounts)
    tables["technologies"] = _case(tables["technologies"], share, stream(seed, "case"))
    return pd.DataFrame(planted, columns=columns)


def _planted(
    clean: pd.DataFrame, rules: tuple[str, ...], share: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    each = max(1, round(share * len(clean) / len(rules)))
    # an end is needed to come before a start
    usable = np.flatnonzero(clean["end_date"].notna()) if "end_date" in clean else np.arange(len(clean))
    chosen = rng.choice(usable, size=min(len(usable), each * len(rules)), replace=False)
    names = np.array(rules, dtype=object)[np.arange(len(chosen)) % len(rules)]
    bad = clean.iloc[chosen].copy()
    for rule in rules:
        _spoil(bad, rule, names == rule)
    # right behind the row each was copied from, so that the copy is the later one
    places = np.concatenate([np.arange(len(clean), dtype=np.float64), chosen + 0.5])
    order = np.argsort(places, kind="stable")
    both = pd.concat([clean, bad], ignore_index=True).iloc[order].reset_index(drop=True)
    label = np.concatenate([np.full(len(clean), None, dtype=object), names])[order]
    rows = np.flatnonzero(label != np.array(None))
    return both, [(int(row), str(label[row])) for row in rows]


def _spoil(bad: pd.DataFrame, rule: str, which: Any) -> None:
    if rule == "unknown_account":
        bad.loc[which, "account_id"] = STRANGER
    elif rule == "end_before_start":
        bad.loc[which, "end_date"] = bad.loc[which, "start_date"] - pd.Timedelta(days=30)
    elif rule == "negative_arr":
        bad.loc[which, "arr"] = -bad.loc[which, "arr"]
    elif rule.startswith("missing_"):
        name = rule.removeprefix("missing_")
        bad.loc[which, name] = pd.NaT if name.endswith("date") else None


def _case(technologies: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    names = technologies["technology"].astype(object).to_numpy().copy()
    for row in rng.permutation(len(names))[: int(3 * share * len(names))].tolist():
        if isinstance(names[row], str):
            variants = (names[row].upper(), names[row].lower(), f" {names[row]} ")
            names[row] = variants[row % 3]
    return technologies.assign(technology=pd.Series(names, index=technologies.index, dtype=object))
