"""How a profile is made: search, measure, settle, tell, for every target of a dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml import parameters
from icp_ml.data.dataset import Dataset
from icp_ml.errors import NotEnoughDataError
from icp_ml.insight import wording
from icp_ml.insight.examine import (
    LEAST_EVENTS,
    REPEATS,
    Evidence,
    Searched,
    certified_q,
    joint_q,
    measure,
    search_target,
)
from icp_ml.insight.preregistered import exact_tests, read_asked
from icp_ml.insight.profile import Profile, empty_segments
from icp_ml.insight.riskset import tenure_of
from icp_ml.insight.segments import Segments, find_segments
from icp_ml.insight.standing import settle, stands
from icp_ml.insight.traits import Propensity, mean_contributions, traits_table
from icp_ml.insight.views import View, view_of
from icp_ml.statistics import detectable_difference
from icp_ml.statistics.threads import one_blas_thread

Array = npt.NDArray[np.float64]
CERTIFIED_REPEATS = 10
CERTIFIED_PERMUTATIONS = 20_000
MOST_PERMUTATIONS = 10_000_000
MODES = ("default", "certified")


def build_profile(
    dataset: Dataset,
    propensities: Mapping[str, Propensity],
    *,
    seed: int = 0,
    q: float = 0.10,
    n_permutations: int = 6000,
    mode: Literal["default", "certified"] = "default",
    view: View = "all",
    preregistered: Sequence[Mapping[str, Any]] = (),
    n_jobs: int | None = None,
) -> Profile:
    """Find the traits and segments that hold, for every target of a dataset.

    Parameters
    ----------
    dataset
        Accounts with features and outcomes.
    propensities
        Fitted classifiers by target; they only fill ``mean_contribution``. May be empty.
    seed
        Seeds folds and permutations; the same seed gives the same profile.
    q
        Share of false ones accepted among the traits reported, over everything searched; each
        target's q-values already pay for the other targets.
    n_permutations
        Permutations behind a p-value.
    mode
        ``default`` keeps the share of false traits at ``q``. ``certified`` keeps the *chance of even one*
        false trait at ``q``, over all targets (Holm), with at least 20,000 permutations behind a p-value and
        ten repeats of the folds; it takes about twice as long (600 to 3,000 accounts) and finds less.
    view
        ``among_retained`` asks who expands among the accounts that stayed, ``contraction`` who keeps the full
        ARR; see :func:`icp_ml.insight.views.view_of`. Each view is a profile of its own, with its own ``q``.
    preregistered
        Traits named before the data were seen (target, feature, operator, value); tested exactly when there
        are fewer than 30 events, where nothing is searched.
    n_jobs
        Targets handled at the same time; None = all cores. The result doesn't depend on it.

    Returns
    -------
    Profile

    Raises
    ------
    ConfigError
        A setting is out of range.
    NotEnoughDataError
        If no target has both outcomes.
    """
    seed, n_jobs = parameters.seed(seed), parameters.jobs(n_jobs)
    q = parameters.number("q", q, 0, 1, inside=True)
    n_permutations = parameters.whole("n_permutations", n_permutations, 1, MOST_PERMUTATIONS)
    parameters.choice("mode", mode, MODES)
    asked_before = read_asked(preregistered, dataset)
    dataset = view_of(dataset, view)
    targets = [name for name in dataset.targets if _varies(dataset, name)]
    if not targets:
        raise NotEnoughDataError(
            f"expected a target with both outcomes, found none among {list(dataset.targets)}: add accounts",
            targets=list(dataset.targets),
        )

    n_repeats = REPEATS
    if mode == "certified":
        n_repeats, n_permutations = CERTIFIED_REPEATS, max(n_permutations, CERTIFIED_PERMUTATIONS)

    def search(target: str) -> Searched:
        return search_target(dataset, target, seed=seed, n_permutations=n_permutations, n_repeats=n_repeats)

    def tell(searched: Searched, q_values: Array) -> tuple[Evidence, pd.DataFrame, Segments]:
        measured = measure(searched, q_values, seed=seed, q=q)
        evidence, stand = (measured, stands(measured)) if mode == "certified" else settle(measured, q)
        model = propensities.get(evidence.target)
        contributions = np.full(len(evidence.design.candidates), np.nan)
        if model is not None:
            contributions = mean_contributions(evidence, dataset, model)
        table = traits_table(evidence, stand, contributions)
        if not evidence.enough:
            asked = [item for item in asked_before if item.get("target", evidence.target) == evidence.target]
            table = exact_tests(evidence, dataset, table, asked, q)
        return evidence, table, find_segments(evidence, stand, seed=seed)

    with one_blas_thread(), ThreadPoolExecutor(max_workers=n_jobs) as pool:
        found = list(pool.map(search, targets))
        q_values = certified_q(found) if mode == "certified" else joint_q(found, q)
        results = list(pool.map(tell, found, q_values))
    traits = pd.concat([table for _, table, _ in results], ignore_index=True)
    held = [segments.table for _, _, segments in results if len(segments.table)]
    segments = pd.concat(held, ignore_index=True) if held else empty_segments()
    facts = _facts(dataset, [evidence for evidence, _, _ in results], seed, q, n_permutations)
    facts |= {"mode": mode, "view": view}
    facts["runners_up"] = [runner for _, _, segments in results for runner in segments.runners_up]
    return Profile(traits, segments, facts)


def _varies(dataset: Dataset, target: str) -> bool:
    _, y = dataset.target(target)
    return len(y) > 0 and 0.0 < float(y.mean()) < 1.0


def _facts(
    dataset: Dataset, found: Sequence[Evidence], seed: int, q: float, n_permutations: int
) -> dict[str, Any]:
    detectable, smallest = {}, {}
    for e in found:
        least = float(detectable_difference(e.outcome.equivalent_accounts, 0.2, e.base_rate))
        smallest[e.target] = least
        detectable[e.target] = wording.detectable_text(
            e.outcome.n_accounts, e.outcome.events, e.base_rate, least, e.target, LEAST_EVENTS
        )
    return {
        "q": q,
        "seed": seed,
        "n_accounts": int(dataset.n_accounts),
        "n_rows": len(dataset),
        "n_permutations": n_permutations,
        "base_rates": {e.target: e.base_rate for e in found},
        "events": {e.target: e.outcome.events for e in found},
        "candidates": {e.target: len(e.design.candidates) for e in found},
        "materiality": {e.target: e.materiality for e in found},
        "engine": {
            e.target: "cross-fit, permuted" if e.enough else "too few events: pre-registered only"
            for e in found
        },
        "smallest_difference": smallest,
        "detectable_effect": detectable,
        "thresholds": {e.target: thresholds(e) for e in found},
        "tenure": _tenure_known(dataset),
        "not_point_in_time": list(dataset.facts.get("not_point_in_time", [])),
    }


def _tenure_known(dataset: Dataset) -> str:
    """Say from when the tenure counts by which accounts are compared."""
    if tenure_of(dataset.labels) is not None:
        return "first contract"
    days = dataset.labels["snapshot_date"].dropna().unique()
    return "first row" if len(days) > 1 else "not known"


def thresholds(e: Evidence) -> dict[str, Any]:
    """Return the range of the ends found for each confirmed interval: 10 % and 90 % of the searches."""
    out: dict[str, Any] = {}
    for j in e.confirmed.tolist():
        candidate = e.design.candidates[j]
        if candidate.search != "interval":
            continue
        same = [pick for pick in e.fit.found[j] if pick.direction == e.fit.final[j].direction]
        ends = [candidate.predicate(pick.bins).value for pick in same]
        ranges = []
        for place in (0, 1):
            values = sorted(float(end[place]) for end in ends if end[place] is not None)
            known = len(values) >= 0.5 * max(len(ends), 1)
            ranges.append(
                [values[int(0.1 * (len(values) - 1))], values[math.ceil(0.9 * (len(values) - 1))]]
                if known
                else None
            )
        out[candidate.feature] = ranges
    return out
