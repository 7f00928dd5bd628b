"""Raw CRM tables of a simulated vendor: accounts, stacks, contracts and everything around them."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icp_ml.errors import ConfigError
from icp_ml.simulation.aftersale import aftersale
from icp_ml.simulation.dirt import dirty_rows
from icp_ml.simulation.ledger import Customers, Days, Ints, contracts
from icp_ml.simulation.names import NAICS, STAGES
from icp_ml.simulation.planted import TECHNOLOGIES
from icp_ml.simulation.traps import Traps
from icp_ml.simulation.truth import Truth, make_truth
from icp_ml.simulation.world import BoolArray, Draw, FloatArray, World, draw, odds_ratio_of, stream
from icp_ml.writing import make_folder, replacing

TABLE_TRAPS = {"missing": 0.08, "parents": 0.10}
STATES = 3
FIXED_TOOLS = ("Salesforce", "Legacy ERP", "Snowflake", "AWS")
UNKNOWN_STACKS = 0.05


@dataclass(frozen=True)
class SimulatedTables:
    """Simulated CRM tables and what is true about them.

    Parameters
    ----------
    tables
        Table name to frame: accounts, technologies, subscriptions, deals, tickets, nps, usage, costs.
    truth
        The planted truth; feature names are those of ``icp_ml.build_features``.
    dirt
        Rows that a reader has to refuse: table, rule, row (0-based position in the table).
    """

    tables: dict[str, pd.DataFrame]
    truth: Truth
    dirt: pd.DataFrame = field(default_factory=pd.DataFrame)

    def write(self, folder: str | Path, fmt: str | Mapping[str, str] = "csv") -> Path:
        """Write every table into a folder.

        Parameters
        ----------
        folder
            Where to; made if it does not exist.
        fmt
            ``csv``, ``csv.gz`` or ``parquet``, or such a word per table (csv for the others).

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ConfigError
            If a format is unknown.
        """
        home = make_folder(folder)
        for name, frame in self.tables.items():
            ending = fmt if isinstance(fmt, str) else fmt.get(name, "csv")
            path = home / f"{name}.{ending}"
            if ending == "parquet":
                text = {str(c): frame[c].astype("string") for c in frame if frame[c].dtype == object}
                with replacing(path) as fresh:
                    frame.assign(**text).to_parquet(fresh, index=False, compression="zstd")
            elif ending in ("csv", "csv.gz"):
                with replacing(path) as fresh, fresh.open("wb") as raw, _packed(raw, path) as file:
                    frame.to_csv(file, index=False, date_format="%Y-%m-%d", lineterminator="\n")
            else:
                raise ConfigError(f"expected csv, csv.gz or parquet, found {ending!r}", found=ending)
        return home


def _packed(raw: IO[bytes], path: Path) -> AbstractContextManager[IO[bytes]]:
    """Pack what is written if the name says so: under that name, and without the time."""
    if path.suffix != ".gz":
        return nullcontext(raw)
    return closing(cast(IO[bytes], gzip.GzipFile(path.name, "wb", fileobj=raw, mtime=0)))


def make_tables(
    n_accounts: int = 1500,
    *,
    seed: int = 0,
    start: str = "2020-01-01",
    until: str = "2025-09-30",
    signal: str | float = "medium",
    churn: float = 0.15,
    expansion: float = 0.30,
    prospects: float = 0.2,
    history: float = 0.35,
    dirty: float = 0.01,
    n_tools: int = 60,
    n_nulls: int = 12,
    interaction: bool = False,
    interaction_only: bool = False,
    traps: Traps | Mapping[str, float | bool] | None = None,
) -> SimulatedTables:
    """Simulate the CRM of a vendor with planted traits.

    Contracts are 80 % annual, 10 % monthly (open-ended) and 10 % of three years. At the end of each term an
    account renews with the probability its traits give it; a first term of a year has two planted traits of
    its own. Nothing that happens after ``until`` is recorded, except the ends of running contracts.

    Parameters
    ----------
    n_accounts
        Number of customers, 50 or more.
    seed
        Seed of the sample.
    start, until
        First day a customer may begin, last day recorded (ISO).
    signal
        Odds ratio of the traits or its name; medium (2.2) gives traits of odds ratio 2.5 to 2.8.
    churn
        Yearly share of customers that leave, about (first years have 1.2 times that of later ones).
    expansion
        Yearly share of retained customers that expand.
    prospects
        Companies that were lost deals and never customers, as a share of ``n_accounts``; a little smaller.
    history
        Share of customers with more than one row in accounts.
    dirty
        Share of subscriptions to be refused on top of the good ones; accounts and technologies get a few too,
        some amounts are text, and some tool names are in other case. 0: clean tables.
    n_tools, n_nulls, interaction, interaction_only
        As in :func:`make_frame`.
    traps
        Changes to the default set (proxies, confounder, 8 % missing, 10 % of accounts in groups); traps that
        only labelled frames can have are refused.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range.

    Examples
    --------
    >>> base = make_tables(60, seed=1, dirty=0.0)
    >>> sorted(base.tables)
    ['accounts', 'costs', 'deals', 'nps', 'subscriptions', 'technologies', 'tickets', 'usage']
    >>> base.truth.traits[0]["feature"]
    'employees'
    """
    _check(n_accounts, start, until)
    chosen = traps if isinstance(traps, Traps) else Traps.of({**TABLE_TRAPS, **(traps or {})})
    _refuse_frame_traps(chosen)
    world = World(
        odds_ratio=odds_ratio_of(signal),
        churn=churn / 1.05,
        expansion=expansion,
        first_year_churn=min(0.5, 1.2 * churn / 1.05),
        n_tools=n_tools,
        n_nulls=n_nulls,
        source="tables",
        interaction="only" if interaction_only else "added" if interaction else "none",
        traps=chosen,
    )
    truth = make_truth(world)
    last = np.datetime64(until, "D")
    companies = draw(world, n_accounts, seed)
    begins = _starts(n_accounts, np.datetime64(start, "D"), last, seed)
    since = _state_dates(begins, history, last, seed)
    states = _states(companies, since, seed)
    customers = _customers(truth, states, begins, since, companies.size, seed)
    rows, left, final = contracts(customers, last, seed)
    other_seed = int(stream(seed, "prospects").integers(2**31))
    others = draw(world, round(prospects * n_accounts), other_seed, shift=0.25)
    met = _starts(len(others), np.datetime64(start, "D"), last, seed + 1)
    ids = _ids(n_accounts + len(others), seed)
    everyone = _Everyone(ids, begins, met, since, left, final, customers.retained[:, 0])
    tables = {
        "accounts": _accounts(everyone, states, others, world, seed),
        "technologies": _technologies(everyone, companies, others, world, last, seed),
        "subscriptions": rows.assign(account_id=ids[rows.pop("account").to_numpy()]),
        **aftersale(ids, begins, met, left, last, final, everyone.fit, seed),
    }
    tables["subscriptions"].insert(0, "account_id", tables["subscriptions"].pop("account_id"))
    dirt = dirty_rows(tables, dirty, seed)
    return SimulatedTables(tables, truth, dirt)


@dataclass(frozen=True, slots=True)
class _Everyone:
    ids: NDArray[Any]
    begins: Days
    met: Days
    since: Days
    left: Days
    final: FloatArray
    fit: FloatArray


def _check(n_accounts: int, start: str, until: str) -> None:
    if n_accounts < 50:
        raise ConfigError(
            f"expected at least 50 accounts, found {n_accounts}: raise it", n_accounts=n_accounts
        )
    if np.datetime64(until, "D") - np.datetime64(start, "D") < np.timedelta64(365, "D"):
        raise ConfigError(f"expected a year or more between start and until, found {start} to {until}")


def _refuse_frame_traps(traps: Traps) -> None:
    names = ("label_noise", "collider", "survivorship", "duplicates", "drift")
    found = [name for name in names if getattr(traps, name)]
    if found:
        raise ConfigError(
            f"expected traps that tables have, found {found}: use make_frame for these", found=found
        )


def _ids(n: int, seed: int) -> NDArray[Any]:
    numbers = stream(seed, "ids").permutation(n) + 1
    return np.array([f"A{number:06d}" for number in numbers.tolist()], dtype=object)


def _starts(n: int, start: np.datetime64, last: np.datetime64, seed: int) -> Days:
    span = int((last - start).astype(int)) - 30
    # the vendor grows: later starts are likelier; days after the 28th are left out so that terms stay whole
    days = start + np.round(span * stream(seed, "starts").random(n) ** 0.8).astype("timedelta64[D]")
    over = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(int) - 27
    moved: Days = days - np.maximum(over, 0).astype("timedelta64[D]")
    return moved


def _state_dates(begins: Days, history: float, last: np.datetime64, seed: int) -> Days:
    rng = stream(seed, "states")
    n = len(begins)
    since = np.full((n, STATES), np.datetime64("NaT", "D"))
    since[:, 0] = begins - rng.integers(30, 400, n).astype("timedelta64[D]")
    many = rng.random(n) < history
    for state in range(1, STATES):
        day = since[:, state - 1] + rng.integers(300, 900, n).astype("timedelta64[D]")
        since[:, state] = np.where(many & (day <= last), day, np.datetime64("NaT", "D"))
    return since


def _states(companies: Draw, since: Days, seed: int) -> list[Draw]:
    rng = stream(seed, "changes")
    found = [companies]
    for state in range(1, STATES):
        before = found[-1].columns
        moves = ~np.isnat(since[:, state])
        grown = np.exp(np.where(moves, rng.normal(0.06, 0.12, len(moves)), 0.0))
        stage = np.array([STAGES.index(name) for name in before["funding_stage"].tolist()])
        stage = np.minimum(stage + (moves & (rng.random(len(moves)) < 0.12) & (stage < 5)), len(STAGES) - 1)
        columns = dict(before)
        columns["employees"] = np.maximum(1.0, np.round(before["employees"] * grown))
        columns["revenue_musd"] = np.round(before["revenue_musd"] * grown, 2)
        growth = before["revenue_growth"] + np.where(moves, rng.normal(0, 0.04, len(moves)), 0)
        columns["revenue_growth"] = np.round(growth, 3)
        columns["funding_stage"] = np.array(STAGES, dtype=object)[stage]
        found.append(Draw(columns, companies.tools, companies.names, companies.size))
    return found


def _customers(
    truth: Truth, states: list[Draw], begins: Days, since: Days, size: FloatArray, seed: int
) -> Customers:
    rng = stream(seed, "arr")
    arr = np.round(np.exp(9.6 + 0.6 * size + 0.5 * rng.standard_normal(len(begins))), -1)
    arr[np.argmax(arr)] *= 10  # one whale
    retained, expanded, first_year = (
        np.column_stack([truth.probability(state, target, given_retained=True) for state in states])
        for target in ("retained", "expanded", "churned_first_year")
    )
    return Customers(begins, since, retained, expanded, first_year, np.maximum(600.0, arr))


def _accounts(everyone: _Everyone, states: list[Draw], others: Draw, world: World, seed: int) -> pd.DataFrame:
    n = len(everyone.begins)
    rng = stream(seed, "accounts")
    groups = np.full(n + len(others), -1)
    members = rng.permutation(n)[: 4 * (int(n * world.traps.parents) // 4)]
    groups[members] = np.repeat(np.arange(len(members) // 4), 4)
    parents = np.array([f"G{g:05d}" if g >= 0 else None for g in groups.tolist()], dtype=object)
    prefix = rng.integers(0, 2, n + len(others))
    wrong = rng.random(n + len(others)) < 0.12
    parts = []
    for state, companies in enumerate(states):
        at = np.flatnonzero(~np.isnat(everyone.since[:, state]))
        parts.append(
            _account_rows(
                companies,
                at,
                everyone.ids[at],
                everyone.since[at, state],
                parents[at],
                _naics(companies, prefix[:n], wrong[:n], seed)[at],
            )
        )
    met = everyone.met - np.timedelta64(60, "D")
    at = np.arange(len(others))
    parts.append(
        _account_rows(
            others, at, everyone.ids[n:], met, parents[n:], _naics(others, prefix[n:], wrong[n:], seed)
        )
    )
    frame = pd.concat(parts, ignore_index=True)
    # a company's unknown field stays unknown in all its rows
    codes, _ = pd.factorize(frame["account_id"], sort=True)
    size = pd.Series(np.concatenate([states[0].size, others.size]), index=everyone.ids)
    rank = size.loc[sorted(everyone.ids)].to_numpy()
    for name in [str(c) for c in frame if c not in ("account_id", "valid_from", "parent_id")]:
        gone = _unknown(name, rank, world.traps, seed)[codes]
        whole = frame[name].astype("boolean") if frame[name].dtype == bool else frame[name]
        frame[name] = whole.mask(gone)
    return frame.sort_values(["account_id", "valid_from"], kind="stable", ignore_index=True)


def _unknown(name: str, size: FloatArray, traps: Traps, seed: int) -> BoolArray:
    rng = stream(seed, f"unknown {name}")
    chance = np.full(len(size), traps.missing)
    if traps.missing_by_size and name in (
        "employees",
        "revenue_musd",
        "sites",
        "it_spend_kusd",
        "funding_stage",
    ):
        # one at the smallest, none at the largest
        place = np.argsort(np.argsort(size)) / max(1, len(size) - 1)
        chance = 1 - (1 - chance) * (1 - np.clip(2 * traps.missing_by_size * (1 - place), 0, 0.95))
    return np.asarray(rng.random(len(size)) < chance)


def _account_rows(
    companies: Draw, at: Ints, ids: NDArray[Any], since: Days, parents: NDArray[Any], naics: NDArray[Any]
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "account_id": ids,
        "valid_from": since.astype("datetime64[ns]"),
        "parent_id": parents,
    }
    for name, values in companies.columns.items():
        if name == "founded_year":
            columns["founded"] = _founded(values)[at]
        else:
            columns[name] = values[at]
        if name == "industry":
            columns["naics"] = naics
    return pd.DataFrame(columns)


def _founded(years: NDArray[Any]) -> Days:
    months = (years.astype(np.int64) - 1970) * 12 + years.astype(np.int64) * 7 % 12
    days: Days = months.astype("datetime64[M]").astype("datetime64[ns]")
    return days


def _naics(companies: Draw, choice: Ints, wrong: BoolArray, seed: int) -> NDArray[Any]:
    industries = companies.columns["industry"]
    shuffled = stream(seed, "naics").permutation(industries)
    used = np.where(wrong, shuffled, industries).tolist()
    return np.array([NAICS[name][k] for name, k in zip(used, choice.tolist(), strict=True)], dtype=object)


def _technologies(
    everyone: _Everyone, companies: Draw, others: Draw, world: World, last: np.datetime64, seed: int
) -> pd.DataFrame:
    rng = stream(seed, TECHNOLOGIES)
    tools = np.vstack([companies.tools, others.tools])
    known = np.concatenate([everyone.since[:, 0], everyone.met - np.timedelta64(60, "D")])
    tools = tools & (rng.random(len(tools)) >= UNKNOWN_STACKS)[:, None]
    at, tool = np.nonzero(tools)
    names, category = np.array(world.tools(), dtype=object), _categories(world)
    fixed = np.isin(names, FIXED_TOOLS)[tool]
    first = known[at] - rng.integers(0, 900, len(at)).astype("timedelta64[D]")
    late = ~fixed & (rng.random(len(at)) < 0.10)
    first = np.where(late, known[at] + rng.integers(200, 1200, len(at)).astype("timedelta64[D]"), first)
    gone = ~fixed & (rng.random(len(at)) < 0.08)
    end = first + rng.integers(300, 1500, len(at)).astype("timedelta64[D]")
    frame = pd.DataFrame(
        {
            "account_id": everyone.ids[at],
            "technology": names[tool],
            "category": category[tool],
            "first_seen": first.astype("datetime64[ns]"),
            "last_seen": np.where(gone & (end <= last), end, np.datetime64("NaT")).astype("datetime64[ns]"),
        }
    )
    seen = pd.DataFrame(frame[first <= last])
    return seen.sort_values(["account_id", "technology"], kind="stable", ignore_index=True)


def _categories(world: World) -> NDArray[Any]:
    return np.array([stack for stack, tools in world.stacks().items() for _ in tools], dtype=object)
