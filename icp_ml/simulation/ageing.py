"""Accounts that grow older: founding dates, tools taken up and given up, sizes that move, contracts that end.

A month-by-month simulation. Each account enters at a month of its own, stays while its contract runs, and
leaves at a rate that its traits *of that month* give it, that may fall with tenure, and that knows nothing
else. What an analyst gets are the rows at risk at each quarter end, as ``build_dataset`` would give them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icp_ml.errors import ConfigError
from icp_ml.simulation.world import odds_ratio_of, stream

FloatArray = NDArray[np.float64]
Ints = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Hazard = Literal["constant", "falling"]
Terms = Literal["monthly", "annual", "mixed"]
Moving = Literal["founded", "tools", "sizes"]

FIRST_MONTH = np.datetime64("2019-03", "M")
HORIZON = 12
BEFORE = 36
TOOLS = tuple(f"Tool {i}" for i in range(8))
FLAG_SHARES = (0.04, 0.1, 0.2, 0.4, 0.6, 0.9)
LEVELS = (4, 6, 9)
#: What is planted: feature, operator, value, direction; those of moving features only where these move.
_PLANTED: tuple[tuple[str, str, Any, int, str | None], ...] = (
    ("flag_2", "in", [True], -1, None),
    ("number_0", "between", [-0.5, 0.9], 1, None),
    ("category_1", "in", ["b", "c"], 1, None),
    ("technologies", "has", "Tool 3", 1, "tools"),
    ("founded", "between", [16.0, None], -1, "founded"),
    ("employees", "between", [60.0, 500.0], 1, "sizes"),
)


@dataclass(frozen=True)
class AgeingBase:
    """Rows of a simulated base, and what is planted in it.

    Parameters
    ----------
    frame
        One row per account and quarter end at risk: ``account_id``, ``snapshot_date``, ``customer_since``,
        features, ``retained``.
    traits
        What is planted; empty without signal.
    """

    frame: pd.DataFrame
    traits: tuple[Mapping[str, Any], ...]


def make_ageing(
    n_accounts: int = 1000,
    *,
    seed: int = 0,
    snapshots: int = 20,
    hazard: Hazard = "constant",
    terms: Terms = "monthly",
    moving: Sequence[Moving] = ("founded", "tools", "sizes"),
    signal: str | float = "null",
    churn: float = 0.15,
    season: float = 0.0,
) -> AgeingBase:
    """Simulate accounts seen at many quarter ends.

    Parameters
    ----------
    n_accounts
        Accounts that were customers at some quarter end.
    seed
        Seed of the sample.
    snapshots
        Quarter ends.
    hazard
        ``constant``, or ``falling`` with tenure, from 2.2 times the mean in the first year to 0.4.
    terms
        ``monthly``: an account may leave in any month; ``annual``: at its anniversaries; ``mixed``: half of
        them annual, three in ten monthly, the rest with terms of three years.
    moving
        Which features change: age of the company, tools, head counts.
    signal
        Odds ratio of each planted trait or its name.
    churn
        Share that leaves in a year, about.
    season
        Relative size of a wave over the year in the rate of leaving, 0 to 0.9.

    Raises
    ------
    ConfigError
        A setting is out of range.

    Examples
    --------
    >>> base = make_ageing(100, seed=1, snapshots=4)
    >>> base.frame["snapshot_date"].nunique(), base.traits
    (4, ())
    """
    if n_accounts < 1 or snapshots < 1:
        raise ConfigError(f"expected accounts and snapshots, found {n_accounts} and {snapshots}: raise them")
    # more than are wanted enter, since some leave before the first quarter end
    world = _World.draw(2 * n_accounts, seed, snapshots, terms, tuple(moving))
    beta = np.log(odds_ratio_of(signal))
    traits = tuple(
        {"feature": feature, "operator": operator, "value": value, "direction": direction}
        for feature, operator, value, direction, needs in _PLANTED
        if beta > 0 and (needs is None or needs in moving)
    )
    left = world.leaving(traits, beta, hazard, churn, season, seed)
    frame = world.rows(left, n_accounts)
    return AgeingBase(frame, traits)


@dataclass(frozen=True)
class _World:
    """Everything about the accounts but when they leave; months count from the first quarter end on."""

    entry: Ints
    term: Ints
    since: dict[str, Ints]
    static: dict[str, NDArray[Any]]
    taken: Ints
    given_up: Ints
    size: FloatArray
    growth: FloatArray
    moving: tuple[str, ...]
    snapshots: int

    @classmethod
    def draw(cls, n: int, seed: int, snapshots: int, terms: Terms, moving: tuple[str, ...]) -> _World:
        rng = stream(seed, "ageing")
        months = 3 * (snapshots - 1)
        entry = rng.integers(-BEFORE, months + 1, n)
        shares = {"monthly": (1.0, 0.0, 0.0), "annual": (0.0, 1.0, 0.0), "mixed": (0.3, 0.5, 0.2)}[terms]
        term = rng.choice(np.array([1, 12, 36]), n, p=shares)
        static: dict[str, NDArray[Any]] = {f"number_{i}": rng.normal(size=n).round(3) for i in range(6)}
        for i, count in enumerate(LEVELS):
            share = rng.dirichlet(np.full(count, 20.0))
            static[f"category_{i}"] = np.array(list("abcdefghi"))[rng.choice(count, n, p=share)].astype(
                object
            )
        static |= {f"flag_{i}": rng.random(n) < share for i, share in enumerate(FLAG_SHARES)}
        since = {"founded": -rng.integers(12, 360, n), "opened": -rng.integers(6, 240, n)}
        # a third of the tools is there before, the rest is taken up at any time, some are given up again
        taken = np.where(
            rng.random((n, len(TOOLS))) < 0.2, -BEFORE, rng.exponential(110.0, (n, len(TOOLS))) - BEFORE
        ).astype(np.int64)
        given_up = taken + np.where(rng.random(taken.shape) < 0.3, rng.exponential(60.0, taken.shape), 10_000)
        size, growth = np.exp(rng.normal(4.5, 1.2, n)), rng.normal(0.06, 0.10, n)
        if "tools" not in moving:
            taken, given_up = np.where(taken < months // 2, -BEFORE, 10_000), np.full(taken.shape, 20_000)
        return cls(
            entry, term, since, static, taken, given_up.astype(np.int64), size, growth, moving, snapshots
        )

    def features(self, month: int) -> dict[str, NDArray[Any]]:
        """Return the features as of a month."""
        out = dict(self.static)
        now = month if "founded" in self.moving else 0
        out |= {name: np.round((now - start) / 12.0, 2) for name, start in self.since.items()}
        years = month / 12.0 if "sizes" in self.moving else 0.0
        out["employees"] = np.maximum(1.0, np.round(self.size * np.exp(self.growth * years)))
        has = (self.taken <= month) & (month < self.given_up)
        out["tool_count"] = has.sum(axis=1).astype(np.float64)
        out["has"] = has
        return out

    def leaving(
        self,
        traits: Sequence[Mapping[str, Any]],
        beta: float,
        hazard: Hazard,
        churn: float,
        season: float,
        seed: int,
    ) -> Ints:
        """Return the month in which each account leaves; the last month of the simulation + 1 if it stays."""
        rng = stream(seed, "leaving")
        last = 3 * (self.snapshots - 1) + HORIZON
        left = np.full(len(self.entry), last + 1, dtype=np.int64)
        rate = -np.log1p(-churn) / 12.0
        for month in range(-BEFORE, last + 1):
            tenure = month - self.entry
            due = (tenure > 0) & (tenure % self.term == 0) & (left > last)
            values = self.features(month)
            lean = np.zeros(len(left))
            for trait in traits:
                held = meets(values, trait).astype(np.float64)
                lean -= trait["direction"] * beta * (held - _usual(trait["feature"]))
            risk = rate * self.term * np.exp(lean) * (1.0 + season * np.sin(2 * np.pi * month / 12.0))
            if hazard == "falling":
                risk = risk * (0.4 + 1.8 * np.exp(-tenure / 18.0))
            left[due & (rng.random(len(left)) < -np.expm1(-risk))] = month
        return left

    def rows(self, left: Ints, n_accounts: int) -> pd.DataFrame:
        """Return the rows at risk at each quarter end, of the first accounts that have any."""
        parts = []
        for number in range(self.snapshots):
            month = 3 * number
            due = self.entry + ((month - self.entry) // self.term + 1) * self.term
            able = (self.entry <= month) & (month < left) & (due <= month + HORIZON)
            values = self.features(month)
            has = values.pop("has")
            part = pd.DataFrame(values)
            part.insert(0, "account", np.arange(len(left)))
            part.insert(1, "month", month)
            part["technologies"] = [
                [tool for tool, own in zip(TOOLS, row, strict=True) if own] for row in has.tolist()
            ]
            part["retained"] = left > month + HORIZON
            parts.append(part[able])
        frame = pd.concat(parts, ignore_index=True)
        kept = np.sort(frame["account"].unique())[:n_accounts]
        frame = frame[frame["account"].isin(kept)].reset_index(drop=True)
        start = (FIRST_MONTH + self.entry[frame["account"].to_numpy()]).astype("datetime64[D]")
        day = (FIRST_MONTH + frame["month"].to_numpy() + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
        frame.insert(0, "account_id", [f"A{i:06d}" for i in frame["account"]])
        frame.insert(1, "snapshot_date", day.astype("datetime64[ns]"))
        frame.insert(2, "customer_since", start.astype("datetime64[ns]"))
        return frame.drop(columns=["account", "month"])


def _usual(feature: str) -> float:
    """Share of holders that leaves the mean rate about where it is."""
    return {"flag_2": 0.2, "number_0": 0.5, "category_1": 0.33, "technologies": 0.5}.get(feature, 0.45)


def meets(values: Mapping[str, Any], condition: Mapping[str, Any]) -> BoolArray:
    """Whether rows meet a condition; values as columns, tools as the matrix ``has`` or as lists.

    Examples
    --------
    >>> meets({"size": np.array([1.0, 5.0])}, {"feature": "size", "operator": "between", "value": [2, None]})
    array([False,  True])
    """
    feature, value = condition["feature"], condition["value"]
    if condition["operator"] == "has":
        if "has" in values and not isinstance(value, bool):
            return np.asarray(values["has"][:, TOOLS.index(value)], dtype=np.bool_)
        if isinstance(value, bool):
            return np.asarray(np.asarray(values[feature], dtype=np.bool_) == value)
        return np.array([value in tools for tools in values[feature]], dtype=np.bool_)
    column = np.asarray(values[feature])
    if condition["operator"] == "in":
        return np.isin(column.astype(object), np.array(value, dtype=object))
    low, high = value
    inside = np.ones(len(column), dtype=np.bool_)
    if low is not None:
        inside &= column >= low
    if high is not None:
        inside &= column < high
    return inside
