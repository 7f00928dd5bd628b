"""Leaks planted into simulated bases: each takes a seed and returns a dataset and the column that leaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import icp_ml as icp
from icp_ml.simulation import make_frame

TARGET = "retained"
Planted = tuple[icp.Dataset, str]


def base(seed: int, n: int, **settings: Any) -> tuple[pd.DataFrame, np.ndarray, np.random.Generator]:
    """Return a simulated frame, who stayed, and a stream of random numbers."""
    frame = make_frame(n, seed=seed, **settings).frame.drop(columns=["expanded", "churned_first_year"])
    return frame, frame[TARGET].to_numpy(dtype=bool), np.random.default_rng(seed + 77_000)


def dataset_of(frame: pd.DataFrame) -> icp.Dataset:
    """Return a simulated frame as a dataset."""
    dated = "snapshot_date" if "snapshot_date" in frame.columns else None
    drop = [name for name in ("parent_id",) if name in frame.columns]
    return icp.Dataset.from_frame(
        frame,
        account_id="account_id",
        labels={TARGET: TARGET},
        technologies=["technologies"],
        snapshot_date=dated,
        drop=drop,
    )


def outcome_copy(seed: int, n: int) -> Planted:
    """The outcome under another name."""
    frame, stayed, _ = base(seed, n)
    return dataset_of(frame.assign(account_flag=stayed.astype(int))), "account_flag"


def noisy_copy(seed: int, n: int, flipped: float = 0.07) -> Planted:
    """The outcome under another name, wrong in 7 % of the rows."""
    frame, stayed, rng = base(seed, n)
    return dataset_of(frame.assign(flag_b=(stayed ^ (rng.random(n) < flipped)).astype(int))), "flag_b"


def noisier_copy(seed: int, n: int) -> Planted:
    """The outcome under another name, wrong in 15 % of the rows."""
    return noisy_copy(seed, n, 0.15)


def health_score(seed: int, n: int) -> Planted:
    """A score of the success team that follows the outcome (the simulator's collider)."""
    frame, _, _ = base(seed, n, traps={"collider": True})
    return dataset_of(frame), "health_score"


def missing_for_churned(seed: int, n: int) -> Planted:
    """A harmless number that vanished for four in ten of those who left, and for nobody else."""
    frame, stayed, rng = base(seed, n)
    pages = np.where(~stayed & (rng.random(n) < 0.4), np.nan, rng.poisson(40, n))
    return dataset_of(frame.assign(website_pages=pages)), "website_pages"


def end_date(seed: int, n: int) -> Planted:
    """Months to the end date in the contract table, which is set earlier when a customer gives notice."""
    frame, stayed, rng = base(seed, n)
    months = np.where(stayed, rng.uniform(0, 36, n), rng.uniform(0, 12, n)).round(1)
    return dataset_of(frame.assign(months_to_end_date=months)), "months_to_end_date"


def end_date_unnamed(seed: int, n: int) -> Planted:
    """The same under a name that says nothing."""
    frame, stayed, rng = base(seed, n)
    months = np.where(stayed, rng.uniform(0, 36, n), rng.uniform(0, 12, n)).round(1)
    return dataset_of(frame.assign(field_17=months)), "field_17"


def observed_again(seed: int, n: int) -> Planted:
    """Employees of accounts that left were looked up again and written over all their snapshots."""
    frame, stayed, _ = base(seed, n, snapshots=6)
    left = frame["account_id"].isin(set(frame.loc[~stayed, "account_id"]))
    last = frame.groupby("account_id")["employees"].transform("last")
    return dataset_of(frame.assign(employees=frame["employees"].where(~left, (0.8 * last).round()))), (
        "employees"
    )


def observed_again_once(seed: int, n: int) -> Planted:
    """One snapshot: 20 % fewer employees and 15 % more empty fields after leaving (the simulator's trap)."""
    frame, _, _ = base(seed, n, traps={"survivorship": True})
    return dataset_of(frame), "employees"


def id_by_outcome(seed: int, n: int) -> Planted:
    """A number given anew when the archive of former customers was set up: nine in ten lie behind."""
    frame, stayed, rng = base(seed, n)
    place = rng.random(n) + np.where(~stayed & (rng.random(n) < 0.9), 0.6, 0.0)
    return dataset_of(frame.assign(record=100_000 + np.argsort(np.argsort(place)))), "record"


def account_mean(seed: int, n: int) -> Planted:
    """The account's mean outcome over all its snapshots, its own row counted in."""
    frame, _, _ = base(seed, n, snapshots=6)
    mean = frame.groupby("account_id")[TARGET].transform("mean")
    return dataset_of(frame.assign(account_history=mean.astype(float))), "account_history"


def owner_mean(seed: int, n: int) -> Planted:
    """The mean outcome of the accounts of one owner (eight each), their own counted in."""
    frame, stayed, rng = base(seed, n)
    owner = rng.integers(0, n // 8, n)
    mean = pd.Series(stayed.astype(float)).groupby(owner).transform("mean").to_numpy()
    return dataset_of(frame.assign(owner_index=mean)), "owner_index"


def future_tool(seed: int, n: int) -> Planted:
    """A tool that a third of those who stayed took up later, as today's crawl shows."""
    frame, stayed, rng = base(seed, n)
    later = stayed & (rng.random(n) < 0.35)
    tools = [
        [*cell, "Nova Billing"] if late and cell is not None else cell
        for cell, late in zip(frame["technologies"], later, strict=True)
    ]
    return dataset_of(frame.assign(technologies=pd.Series(tools, dtype=object))), "technologies"


PLANTED: dict[str, Callable[[int, int], Planted]] = {
    "outcome copy": outcome_copy,
    "outcome copy, 7 % wrong": noisy_copy,
    "post-sale health score": health_score,
    "missing only for churned": missing_for_churned,
    "months to the end date": end_date,
    "re-observed after leaving (panel)": observed_again,
    "number ordered by outcome": id_by_outcome,
    "mean outcome of the account (panel)": account_mean,
    "future technology": future_tool,
}
HARDER: dict[str, Callable[[int, int], Planted]] = {
    "outcome copy, 15 % wrong": noisier_copy,
    "end date, silent name": end_date_unnamed,
    "re-observed after leaving (one snapshot)": observed_again_once,
    "mean outcome of the owner": owner_mean,
}
#: Honest worlds: settings of make_frame that are dealt in turn.
CLEAN: tuple[dict[str, Any], ...] = (
    {"n_accounts": 400, "signal": "medium"},
    {"n_accounts": 1_000, "signal": "strong"},
    {"n_accounts": 3_000, "signal": "strong", "interaction": True},
    {"n_accounts": 1_000, "signal": "null"},
    {"n_accounts": 600, "signal": "strong", "snapshots": 6, "traps": {"drift": True}},
    {"n_accounts": 1_000, "signal": "medium", "traps": {"missing": 0.4, "missing_by_size": 0.5}},
    {"n_accounts": 1_000, "signal": "strong", "churn": 0.35, "traps": {"parents": 0.4, "duplicates": 0.1}},
    {"n_accounts": 300, "signal": "strong", "churn": 0.05},
    {"n_accounts": 500, "signal": "medium", "snapshots": 8, "traps": {"parents": 0.3}},
    {"n_accounts": 2_000, "signal": "strong", "n_tools": 100, "n_nulls": 48},
)


def clean_world(number: int, seed: int) -> icp.Dataset:
    """Return an honest simulated base."""
    settings = dict(CLEAN[number % len(CLEAN)])
    frame, _, _ = base(seed, settings.pop("n_accounts"), **settings)
    return dataset_of(frame)
