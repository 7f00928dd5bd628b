"""The whole profile on outcomes in which nothing is there: what it reports then is luck, and is printed.

Two controls. *Exchanged*: the outcome history of each account goes to another account of its entry cohort,
whole, so that base rates, dates and repeated snapshots stay as they are. *Coin*: an outcome drawn from a hash
of the account's id, at the base rate, the same in all of an account's snapshots.
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
from icp_ml.data.dataset import LABEL_COLUMNS, Dataset
from icp_ml.insight.building import build_profile
from icp_ml.insight.evidence import build_outcome

Ints = npt.NDArray[np.int64]

CONTROLS = {
    "exchanged": "with outcomes exchanged between accounts",
    "coin": "with a coin tossed for each account as its outcome",
}
RUN_COLUMNS = ("control", "run", "seed", "traits", "segments")
SENTENCE = (
    "Control {what}: {some} of {runs} profiles reported anything ({traits} and {segments} in all). "
    "Nothing is there to be found, so at most about {expected:.0%} of such profiles should report anything."
)
ALARM = "That is more than luck allows: don't rely on this profile before the reason is known."
MOST_RUNS = 10_000
_SURPRISING = 0.05
_OUTCOMES = tuple(name for name in LABEL_COLUMNS if name not in ("account_id", "snapshot_date"))


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
    """Give each account (or group of accounts) the whole outcome history of another of its entry cohort.

    Where the other has no row on a date, the outcome is unknown; all targets of a row move together.

    Parameters
    ----------
    dataset
        The accounts.
    seed
        Seed of the exchange.
    """
    group = np.unique(dataset.groups.astype(str), return_inverse=True)[1].astype(np.int64)
    dates = pd.factorize(dataset.labels["snapshot_date"], sort=True, use_na_sentinel=False)[0]
    date = dates.astype(np.int64)
    cohort = build_outcome(group, np.zeros(len(group)), date).cohort
    rng = np.random.default_rng(seed)
    donor = np.arange(len(cohort))
    for number in np.unique(cohort):
        members = np.flatnonzero(cohort == number)
        donor[members] = rng.permutation(members)
    source = _rows_of(donor[group], group, date)
    labels = dataset.labels.copy()
    for name in _OUTCOMES:
        taken = dataset.labels[name].take(np.maximum(source, 0)).reset_index(drop=True)
        labels[name] = taken.mask(source < 0)
    return replace(dataset, labels=labels)


def coin(dataset: Dataset, seed: int) -> Dataset:
    """Replace every known outcome by a coin of the account, drawn from a hash of its id at the base rate.

    Parameters
    ----------
    dataset
        The accounts.
    seed
        Goes into the hash.
    """
    labels = dataset.labels.copy()
    accounts = labels["account_id"].astype(str)
    for target in dataset.targets:
        rate = float(dataset.target(target)[1].mean())
        draws = {account: _uniform(f"{seed}|{target}|{account}") for account in accounts.unique()}
        tossed = (accounts.map(draws) < rate).astype("boolean")
        labels[target] = tossed.mask(dataset.labels[target].isna())
    return replace(dataset, labels=labels)


def _rows_of(wanted: Ints, group: Ints, date: Ints) -> Ints:
    """Return for each row one of the wanted group's rows of the same date, in turn; -1 where it has none."""
    span = int(date.max()) + 1
    key, asked = group * span + date, wanted * span + date
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    turn = np.empty(len(key), dtype=np.int64)
    turn[order] = np.arange(len(key)) - np.searchsorted(ordered, ordered, side="left")
    first = np.searchsorted(ordered, asked, side="left")
    count = np.searchsorted(ordered, asked, side="right") - first
    place = np.minimum(first + turn % np.maximum(count, 1), len(key) - 1)
    return np.asarray(np.where(count > 0, order[place], -1), dtype=np.int64)


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2.0**64


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
