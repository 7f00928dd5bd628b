"""The profile: which accounts stay and grow, which don't, what is not known; each claim with its evidence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.errors import NotEnoughDataError
from icp_ml.insight import render, wording
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
from icp_ml.insight.preregistered import exact_tests
from icp_ml.insight.segments import SEGMENT_COLUMNS, Segments, empty_segments, find_segments
from icp_ml.insight.standing import settle, stands
from icp_ml.insight.traits import TRAIT_COLUMNS, Propensity, mean_contributions, traits_table
from icp_ml.insight.views import View, view_of
from icp_ml.statistics import detectable_difference
from icp_ml.statistics.threads import one_blas_thread

Array = npt.NDArray[np.float64]
FORMAT = 1
CERTIFIED_REPEATS = 10
CERTIFIED_PERMUTATIONS = 20_000
_WHOLE = ("direction", "n_accounts", "accounts_needed")


@dataclass(frozen=True, eq=False)
class Profile:
    """What an ideal customer is, as far as the data can tell.

    Parameters
    ----------
    traits
        One row per candidate and target, also those that failed; columns as in the architecture, section 4.
        ``lift`` is ``rate - base_rate`` in share units (0.07 = 7 points), measured on accounts that didn't
        find the condition and shrunken; ``accounts_needed`` counts further accounts, 0 where the answer is
        known.
    segments
        Short conjunctions of confirmed traits, measured on accounts that didn't find them.
    facts
        Base rates, events, what was detectable, engine, q, seed and threshold ranges; JSON-able.
    """

    traits: pd.DataFrame
    segments: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def icp(self) -> pd.DataFrame:
        """Confirmed traits that speak for an account, must-haves first, then by lift."""
        return self._side("icp", ("must_have", "nice_to_have", "unknown"))

    @property
    def anti_icp(self) -> pd.DataFrame:
        """Confirmed traits that speak against an account, hard-nos first, then by lift."""
        return self._side("anti_icp", ("hard_no", "caution", "unknown"))

    def _side(self, kind: str, roles: Sequence[str]) -> pd.DataFrame:
        rows = self.traits[self.traits["kind"] == kind]
        rank = rows["role"].map({role: i for i, role in enumerate(roles)}).fillna(len(roles))
        order = np.lexsort((-rows["lift"].abs().to_numpy(), rank.to_numpy(dtype=np.float64)))
        return rows.iloc[order].reset_index(drop=True)

    def to_text(self, width: int = 100) -> str:
        """Return the profile as one screen of text, what could have been seen first.

        Parameters
        ----------
        width
            Most characters of a line.
        """
        return render.profile_text(self, width)

    def compare(self, expected: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Hold the profile against a list of stated or planted traits.

        Parameters
        ----------
        expected
            Dicts with ``target``, ``feature``, ``operator``, ``value`` and ``direction``.

        Returns
        -------
        pandas.DataFrame
            ``verdict`` (found, missed, false), ``target``, ``feature``, ``trait`` (the text), ``expected``
            (the text of the expected one), ``direction_agrees``, ``proxy_of``. An expected trait is found
            when a confirmed row of the same target reads the same feature (and tool); a confirmed row that
            nobody expects is ``false``.
        """
        return render.compare(self.traits, expected)

    def to_state(self) -> dict[str, Any]:
        """Return a dict for JSON; what is not a finite number becomes None."""
        return {
            "format": FORMAT,
            "traits": _records(self.traits),
            "segments": _records(self.segments),
            "facts": _plain(self.facts),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Profile:
        """Rebuild what :meth:`to_state` gave."""
        traits = _frame(state["traits"], TRAIT_COLUMNS)
        segments = _frame(state["segments"], SEGMENT_COLUMNS) if state["segments"] else empty_segments()
        return cls(traits, segments, dict(state["facts"]))


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
    NotEnoughDataError
        If no target has both outcomes.
    """
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
            asked = [item for item in preregistered if item.get("target", evidence.target) == evidence.target]
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
        least = float(detectable_difference(e.outcome.n_accounts, 0.2, e.base_rate))
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
        "not_point_in_time": list(dataset.facts.get("not_point_in_time", [])),
    }


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


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _frame(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    text = {
        "target",
        "trait",
        "feature",
        "operator",
        "value",
        "kind",
        "role",
        "proxy_of",
        "name",
        "conditions",
    }
    columns: dict[str, Any] = {}
    for name in names:
        values = [record[name] for record in records]
        if name in text:
            columns[name] = pd.Series(values, dtype=object)
        elif name in _WHOLE:
            columns[name] = np.array(values, dtype=np.int64)
        else:
            columns[name] = np.array(
                [math.nan if value is None else value for value in values], dtype=np.float64
            )
    return pd.DataFrame(columns)


def profile_json(profile: Profile) -> str:
    """Return a profile as JSON text, the same bytes for the same profile."""
    return json.dumps(profile.to_state(), ensure_ascii=False, allow_nan=False, sort_keys=True)
