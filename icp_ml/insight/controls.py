"""The whole profile on outcomes in which nothing is there: what it reports then is sampling noise.

Two controls. *Exchanged*: on each day, what happens next to an account happens to another one at risk with
the same tenure. *Coin*: a coin tossed for each account and day, from a hash of its id, at the rate of those
at risk with it. Both times an account that leaves has no later rows, so that the number of an account's rows
is part of its future here as it is in life: a test that lets rows know their account's future takes whatever
grows older for a trait, and is found out (decision 018).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import bdtrc

from icp_ml import parameters
from icp_ml.data.dataset import Dataset
from icp_ml.insight.building import build_profile
from icp_ml.insight.riskset import HAPPENS, Outcome, outcome_of

Ints = npt.NDArray[np.int64]

CONTROLS = {
    "exchanged": "with outcomes exchanged between accounts at risk on the same day",
    "coin": "with a coin tossed for each account and day as its outcome",
}
RUN_COLUMNS = ("control", "run", "seed", "traits", "segments")
SENTENCE = (
    "Control {what}: {some} of {runs} profiles reported anything ({traits} and {segments} in all). "
    "Nothing is there to be found, so at most about {expected:.0%} of such profiles should report anything."
)
ALARM = "That is more than chance allows: don't rely on this profile before the reason is known."
MOST_RUNS = 10_000
_SURPRISING = 0.05
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Controls:
    """What the profile reported where nothing is there to be found.

    Parameters
    ----------
    runs
        One row per run: ``control`` (exchanged, coin), ``run`` (from 1), ``seed``, ``traits`` and
        ``segments`` (how many were reported).
    q
        The q of the profiles: about this share of runs may report something.
    """

    runs: pd.DataFrame
    q: float

    def sentences(self) -> list[str]:
        """Return one sentence or two per control, as the report prints them."""
        return [self._sentence(control) for control in CONTROLS if (self.runs["control"] == control).any()]

    def to_text(self) -> str:
        """Return the sentences, one a line."""
        return "\n".join(self.sentences())

    def to_state(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return {"q": self.q, "runs": self.runs.to_dict("records"), "sentences": self.sentences()}

    def _sentence(self, control: str) -> str:
        rows = self.runs[self.runs["control"] == control]
        some = int(((rows["traits"] + rows["segments"]) > 0).sum())
        text = SENTENCE.format(
            what=CONTROLS[control],
            some=some,
            runs=len(rows),
            traits=_plural(int(rows["traits"].sum()), "trait"),
            segments=_plural(int(rows["segments"].sum()), "segment"),
            expected=self.q,
        )
        too_many = float(bdtrc(some - 1, len(rows), self.q)) < _SURPRISING
        return f"{text} {ALARM}" if too_many else text


def negative_controls(
    dataset: Dataset,
    *,
    seed: int = 0,
    q: float = 0.10,
    n_runs: int = 5,
    n_permutations: int = 6000,
    n_jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Controls:
    """Run the whole profile on outcomes in which nothing is there, and count what it reports.

    Costs twice ``n_runs`` profiles, so training doesn't do it unasked.

    Parameters
    ----------
    dataset
        The accounts that a profile is built on.
    seed
        Seeds the exchanges, coins and profiles; run ``i`` uses ``seed + i``.
    q
        As in :func:`icp_ml.build_profile`.
    n_runs
        Runs of each control, at least 1.
    n_permutations, n_jobs
        As in :func:`icp_ml.build_profile`.
    progress
        Called with the number of profiles done and in all.

    Returns
    -------
    Controls

    Raises
    ------
    ConfigError
        A setting is out of range.
    NotEnoughDataError
        No target has both outcomes.
    """
    n_runs = parameters.whole("n_runs", n_runs, 1, MOST_RUNS)
    seed = parameters.whole("seed", seed, 0, parameters.MOST_SEED - n_runs)
    rows: list[tuple[str, int, int, int, int]] = []
    for control in CONTROLS:
        make = exchanged if control == "exchanged" else coin
        for run in range(1, n_runs + 1):
            found = build_profile(
                make(dataset, seed + run),
                {},
                seed=seed + run,
                q=q,
                n_permutations=n_permutations,
                n_jobs=n_jobs,
            )
            reported = int(found.traits["kind"].isin(["icp", "anti_icp"]).sum())
            rows.append((control, run, seed + run, reported, len(found.segments)))
            if progress is not None:
                progress(len(rows), 2 * n_runs)
    return Controls(pd.DataFrame(rows, columns=list(RUN_COLUMNS)), q)


def exchanged(dataset: Dataset, seed: int) -> Dataset:
    """Hand what happens between two snapshots to others at risk on that day with the same tenure.

    Parameters
    ----------
    dataset
        The accounts.
    seed
        Seed of the exchange; all targets of an account move together.
    """

    def hand_over(outcome: Outcome, target: str) -> Array:
        del target  # the same keys for every target, so that they move together where they share risk sets
        place = np.argsort(outcome.stratum, kind="stable")
        out = np.empty(outcome.n_units)
        keys = np.random.default_rng(seed).random(outcome.n_units)
        out[place] = np.abs(outcome.event)[np.argsort(keys + outcome.stratum)]
        return out

    return _happened(dataset, hand_over)


def coin(dataset: Dataset, seed: int) -> Dataset:
    """Toss a coin for each account on each day, from a hash of its id, at the rate of those at risk with it.

    Only accounts that never left take part in this for ``retained``: their rows end where the coin says so
    and nowhere else. (With the others, whose rows end of themselves and without an event, what a row knows of
    its account's future would cancel out.) Where it isn't known which windows overlap, an account has one
    coin for all its days.

    Parameters
    ----------
    dataset
        The accounts.
    seed
        Goes into the hash.
    """
    days = dataset.labels["snapshot_date"].astype(str).to_numpy()
    ids = dataset.groups.astype(str)

    def toss(outcome: Outcome, target: str) -> Array:
        rows, _ = dataset.target(target)
        first = np.zeros(outcome.n_units, dtype=np.int64)
        first[outcome.unit[::-1]] = rows[::-1]
        events = np.abs(outcome.event)
        size = np.bincount(outcome.stratum)
        rate = (np.bincount(outcome.stratum, weights=events) / size)[outcome.stratum]
        alone = dataset.horizon_months is None
        texts = [f"{seed}|{target}|{ids[row]}|{'' if alone else days[row]}" for row in first.tolist()]
        return (np.array([_uniform(text) for text in texts]) < rate).astype(np.float64)

    return _happened(dataset, toss, stayed=True)


def _happened(dataset: Dataset, draw: Callable[[Outcome, str], Array], *, stayed: bool = False) -> Dataset:
    """Return the dataset in which drawn events happened: an outcome per row, unknown after an account left.

    With ``stayed`` it is unknown for accounts that really left as well.
    """
    labels = dataset.labels.copy()
    account = np.unique(dataset.groups.astype(str), return_inverse=True)[1].astype(np.int64)
    for target in dataset.targets:
        rows, y = dataset.target(target)
        own = np.unique(account[rows], return_inverse=True)[1].astype(np.int64)
        happens = HAPPENS[target]
        outcome = outcome_of(own, y, labels.iloc[rows], dataset.horizon_months, happens)
        share = np.asarray(draw(outcome, target), dtype=np.float64)
        event = _of_rows(share, outcome.unit)
        seen, gone = _within_horizon(dataset, rows, event)
        values = np.where(seen, happens, 1.0 - happens)
        if target == "retained" and dataset.horizon_months is not None:
            left = np.bincount(own, weights=y == happens)[own] > 0
            values = np.where(gone | (left & stayed), np.nan, values)
        found = np.full(len(labels), np.nan)
        found[rows] = values
        labels[target] = pd.Series(found == 1.0, dtype="boolean").mask(np.isnan(found))
    return replace(dataset, labels=labels)


def _of_rows(share: Array, unit: Ints) -> npt.NDArray[np.bool_]:
    """Spread each unit's share of events over its rows, in order."""
    order = np.argsort(unit, kind="stable")
    size = np.bincount(unit)
    turn = np.empty(len(unit), dtype=np.int64)
    turn[order] = np.arange(len(unit)) - np.repeat(np.cumsum(size) - size, size)
    return np.asarray(turn < np.round(share * size)[unit])


def _within_horizon(
    dataset: Dataset, rows: npt.NDArray[np.intp], event: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether each row's account has an event within the horizon, and whether it had one before."""
    when = dataset.labels["snapshot_date"].iloc[rows]
    if dataset.horizon_months is None or when.isna().any():
        return event, np.zeros(len(rows), dtype=np.bool_)
    month = when.to_numpy().astype("datetime64[M]").astype(np.int64)
    account = np.unique(dataset.labels["account_id"].iloc[rows].astype(str), return_inverse=True)[1]
    order = np.lexsort((month, account))
    who, at, hit = account[order], month[order], event[order]
    # a number line with all accounts apart: the next event at or after a row, the last one before it
    line = who * (int(at.max()) + 10_000) + at - int(at.min())
    events = line[hit]
    following = np.searchsorted(events, line, side="left")
    soon = np.append(events, np.iinfo(np.int64).max)[following]
    before = np.concatenate([[-(10**12)], events])[following]
    first = np.searchsorted(line, who * (int(at.max()) + 10_000))
    seen, gone = np.empty(len(rows), np.bool_), np.empty(len(rows), np.bool_)
    seen[order] = soon - line < dataset.horizon_months
    gone[order] = before >= line[np.minimum(first, len(line) - 1)]
    return seen, gone


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2.0**64


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
