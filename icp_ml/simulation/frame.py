"""Ready labelled tables of simulated accounts: one row per account, or one per account and snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from icp_ml.errors import ConfigError
from icp_ml.simulation.planted import TECHNOLOGIES
from icp_ml.simulation.traps import Traps
from icp_ml.simulation.truth import TARGETS, Truth, make_truth
from icp_ml.simulation.world import BoolArray, Draw, FloatArray, World, draw, odds_ratio_of, stream

LAST_SNAPSHOT = "2025-06-30"
NEW_TOOL = "NovaCRM"
SIZED = ("employees", "revenue_musd", "sites", "it_spend_kusd", "funding_stage", "web_rank")


@dataclass(frozen=True)
class SimulatedFrame:
    """A simulated labelled table and what is true about it.

    Parameters
    ----------
    frame
        What an analyst gets: account_id, snapshot_date (with several snapshots), parent_id (with parents),
        features, and the labels retained, expanded, churned_first_year as booleans.
    complete
        The same rows and columns before values went missing or were falsified; exact input of
        ``truth.probability``.
    truth
        The planted truth.
    """

    frame: pd.DataFrame
    complete: pd.DataFrame
    truth: Truth

    @property
    def features(self) -> list[str]:
        """Names of the feature columns, in order."""
        keys = {"account_id", "snapshot_date", "parent_id", *TARGETS}
        return [str(name) for name in self.frame.columns if name not in keys]


def make_frame(
    n_accounts: int = 1000,
    *,
    seed: int = 0,
    signal: str | float = "medium",
    churn: float = 0.15,
    expansion: float = 0.30,
    snapshots: int = 1,
    n_tools: int = 60,
    n_nulls: int = 24,
    interaction: bool = False,
    interaction_only: bool = False,
    traps: Traps | Mapping[str, float | bool] | None = None,
) -> SimulatedFrame:
    """Simulate a labelled table with planted traits.

    Parameters
    ----------
    n_accounts
        Number of companies (duplicates come on top).
    seed
        Seed of the sample; the world behind it does not depend on it.
    signal
        Odds ratio of each planted trait, or its name: null (1), weak (1.5), medium (2.2), strong (3.5).
    churn
        Share of accounts not retained, and that leave in their first year.
    expansion
        Share of retained accounts that expand.
    snapshots
        Rows per account, quarter ends up to 2025-06-30. Size, growth and add-on tools drift a little; labels
        of one account are correlated (Gaussian copula, .6) while P(y | x) of each row stays exact.
    n_tools
        Tools offered in the list column ``technologies``, 40 to 100, in six stacks.
    n_nulls
        Columns that are independent of everything, of every type (24 = one round of types).
    interaction
        Adds one harmful conjunction beside the traits.
    interaction_only
        A world with nothing but one good conjunction, of odds ratio ``signal`` squared.
    traps
        None for the default set (proxies, confounder, 15 % missing), a mapping of changes to it such as
        ``{"label_noise": 0.05, "proxies": False}``, or a whole :class:`Traps`.

    Returns
    -------
    SimulatedFrame

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range.

    Examples
    --------
    >>> base = make_frame(200, seed=3)
    >>> len(base.frame), base.frame["account_id"].is_unique
    (200, True)
    >>> base.truth.traits[0]["feature"], base.truth.traits[0]["value"]
    ('employees', [50, 500])
    """
    if n_accounts < 1 or snapshots < 1:
        raise ConfigError(
            f"expected at least 1 account and 1 snapshot, found {n_accounts} and {snapshots}: raise them",
            n_accounts=n_accounts,
            snapshots=snapshots,
        )
    chosen = Traps.of(traps)
    dates = pd.DatetimeIndex(
        pd.date_range(end=LAST_SNAPSHOT, periods=snapshots, freq="QE").to_numpy("datetime64[ns]")
    )
    late = dates[-max(1, snapshots // 4)] if chosen.drift and snapshots > 1 else None
    world = World(
        odds_ratio=odds_ratio_of(signal),
        churn=churn,
        expansion=expansion,
        first_year_churn=churn,
        n_tools=n_tools,
        n_nulls=n_nulls,
        traps=chosen,
        drift_from="" if late is None else late.date().isoformat(),
        interaction="only" if interaction_only else "added" if interaction else "none",
    )
    truth = make_truth(world)
    companies = draw(world, n_accounts, seed)
    parents = _parents(chosen.parents, companies, seed)
    complete = _rows(companies, parents, dates, seed, late)
    labels = _labels(truth, complete, companies, parents, snapshots, seed)
    for target in TARGETS:
        complete[target] = labels[target]
    if chosen.collider:
        noise = stream(seed, "collider").normal(0, 10, len(complete))
        complete["health_score"] = np.round(55 + 18 * labels["retained"] + 8 * labels["expanded"] + noise, 1)
    frame = _hide(complete, companies.size, chosen, seed)
    if chosen.duplicates:
        frame, complete = _twice(frame, complete, chosen.duplicates, seed)
    return SimulatedFrame(frame, complete, truth)


def make_prospects(
    truth: Truth, n_accounts: int = 1000, *, seed: int = 0, shift: float = 1.0
) -> pd.DataFrame:
    """Simulate companies that are no customers yet, from a shifted P(x) of the same world.

    Parameters
    ----------
    truth
        The truth of a simulated base.
    n_accounts
        Number of prospects.
    seed
        Their seed.
    shift
        0: like the customers; 1: size lower by 2.5 standard deviations, 80 % in regions and 60 % in
        industries no customer comes from, thinner stacks.

    Returns
    -------
    pandas.DataFrame
        account_id and features, values missing as in the customers' base; no labels.

    Examples
    --------
    >>> prospects = make_prospects(make_frame(50).truth, 100, seed=1)
    >>> bool(prospects["employees"].median() < 10)
    True
    """
    companies = draw(truth.world, n_accounts, seed, shift=shift)
    complete = _rows(companies, np.full(n_accounts, -1), pd.DatetimeIndex([pd.NaT]), seed, None)
    complete["account_id"] = [f"P{i:06d}" for i in range(n_accounts)]
    return _hide(complete, companies.size, truth.world.traps, seed)


def _parents(share: float, companies: Draw, seed: int) -> NDArray[np.int64]:
    n = len(companies)
    groups = int(n * share) // 4
    parents = np.full(n, -1)
    if groups == 0:
        return parents
    members = stream(seed, "parents").permutation(n)[: 4 * groups]
    parents[members] = np.repeat(np.arange(groups), 4)
    heads = np.repeat(members[::4], 4)
    for name in ("industry", "region"):
        companies.columns[name][members] = companies.columns[name][heads]
    return parents


def _rows(
    companies: Draw, parents: NDArray[np.int64], dates: pd.DatetimeIndex, seed: int, late: pd.Timestamp | None
) -> pd.DataFrame:
    n, k = len(companies), len(dates)
    columns: dict[str, Any] = {
        "account_id": np.repeat(np.array([f"A{i:06d}" for i in range(n)], dtype=object), k)
    }
    if k > 1:
        columns["snapshot_date"] = np.tile(dates.to_numpy(), n)
    if (parents >= 0).any():
        groups = [f"G{g:05d}" if g >= 0 else None for g in parents.tolist()]
        columns["parent_id"] = np.repeat(np.array(groups, dtype=object), k)
    columns.update({name: np.repeat(values, k) for name, values in companies.columns.items()})
    tools, names = np.repeat(companies.tools, k, axis=0), list(companies.names)
    if k > 1:
        rng = stream(seed, "history")
        steps = rng.standard_normal((2, n, k))
        steps[:, :, 0] = 0.0
        walk = np.cumsum(steps, axis=2).reshape(2, n * k)
        columns["employees"] = np.maximum(1.0, np.round(columns["employees"] * np.exp(0.04 * walk[0])))
        columns["revenue_growth"] = np.round(columns["revenue_growth"] + 0.02 * walk[1], 3)
        tools = _adopted(tools, n, k, rng)
    if late is not None:
        adopts = np.repeat(stream(seed, "new tool").random(n) < 0.2, k) & np.tile(dates >= late, n)
        tools, names = np.hstack([tools, adopts[:, None]]), [*names, NEW_TOOL]
    columns[TECHNOLOGIES] = Draw({}, tools, names, np.zeros(n * k)).lists()
    return pd.DataFrame(columns)


def _adopted(tools: BoolArray, n: int, k: int, rng: np.random.Generator) -> BoolArray:
    cube = tools.reshape(n, k, -1).copy()
    # one account in three takes up one more tool that excludes no other, at some snapshot
    accounts = np.flatnonzero(rng.random(n) < 1 / 3)
    free = np.flatnonzero(np.arange(cube.shape[2]) % max(1, cube.shape[2] // 6) >= 5)
    extra, since = rng.choice(free, len(accounts)), rng.integers(1, k, len(accounts))
    for at in range(1, k):
        now = since <= at
        cube[accounts[now], at, extra[now]] = True
    return np.asarray(cube.reshape(n * k, -1))


def _labels(
    truth: Truth, complete: pd.DataFrame, companies: Draw, parents: NDArray[np.int64], k: int, seed: int
) -> dict[str, BoolArray]:
    n = len(companies)
    rng = stream(seed, "labels")
    fate = rng.standard_normal(n)
    shared = rng.standard_normal(n)
    grouped = parents >= 0
    fate[grouped] = np.sqrt(0.5) * fate[grouped] + np.sqrt(0.5) * shared[parents[grouped]]

    def draws(chance: FloatArray, weight: float, rows: int) -> BoolArray:
        own = rng.standard_normal(n * rows)
        z = np.sign(weight) * np.sqrt(abs(weight)) * np.repeat(fate, rows) + np.sqrt(1 - abs(weight)) * own
        return np.asarray(ndtr(z) < chance)

    retained = draws(truth.probability(complete, "retained"), 0.6, k)
    upward = rng.standard_normal(n)
    given = truth.probability(complete, "expanded", given_retained=True)
    z = np.sqrt(0.6) * np.repeat(upward, k) + np.sqrt(0.4) * rng.standard_normal(n * k)
    first = truth.probability(complete.iloc[::k], "churned_first_year")
    return {
        "retained": retained,
        "expanded": retained & (ndtr(z) < given),
        "churned_first_year": np.repeat(draws(first, -0.5, 1), k),
    }


def _hide(complete: pd.DataFrame, size: FloatArray, traps: Traps, seed: int) -> pd.DataFrame:
    # a field that is unknown of a company is unknown in all its snapshots
    k = len(complete) // len(size)
    size = np.repeat(size, k)
    frame = complete.copy()
    keys = {"account_id", "snapshot_date", "parent_id", *TARGETS}
    left = ~complete["retained"].to_numpy() if "retained" in complete else np.zeros(len(frame), dtype=bool)
    for name in [str(name) for name in complete.columns if name not in keys]:
        rng = stream(seed, f"missing {name}")
        chance = np.full(len(frame), traps.missing / 3 if name == TECHNOLOGIES else traps.missing)
        if name in SIZED and traps.missing_by_size:
            chance = 1 - (1 - chance) * (1 - np.clip(2 * traps.missing_by_size * ndtr(-size), 0, 0.95))
        if name in ("employees", "revenue_musd") and traps.survivorship:
            chance = np.where(left, chance + 0.15, chance)
        if name == "employees" and traps.survivorship:
            frame[name] = np.where(left, np.maximum(1, np.round(0.8 * frame[name])), frame[name])
        gone = np.repeat(rng.random(len(frame) // k), k) < chance
        if complete[name].dtype == bool:
            frame[name] = complete[name].astype("boolean").mask(gone)
        elif name == TECHNOLOGIES:
            cells = complete[name].to_numpy(dtype=object).copy()
            cells[gone] = None
            frame[name] = pd.Series(cells, dtype=object, index=frame.index)
        else:
            frame[name] = frame[name].mask(gone)
    return frame


def _twice(
    frame: pd.DataFrame, complete: pd.DataFrame, share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    accounts = frame["account_id"].unique()
    again = set(accounts[stream(seed, "duplicates").random(len(accounts)) < share])
    rows = frame["account_id"].isin(again)
    both = []
    for table in (frame, complete):
        copies = table[rows].assign(account_id="D" + table.loc[rows, "account_id"].str[1:])
        both.append(pd.concat([table, copies], ignore_index=True))
    return both[0], both[1]
