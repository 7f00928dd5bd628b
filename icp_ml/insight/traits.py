"""From evidence to the traits table: one row per candidate and target, also for those that failed."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.insight.candidates import Candidate
from icp_ml.insight.examine import Evidence
from icp_ml.insight.profile import TRAIT_COLUMNS
from icp_ml.insight.roles import Standing, role_of
from icp_ml.insight.standing import Stand
from icp_ml.statistics import accounts_needed, detectable_difference

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Propensity(Protocol):
    """What the profile asks of a fitted classifier."""

    def encoded_contributions(self, X: Any) -> tuple[Array, Any]:
        """Return contributions per encoded column and the encoder that names them."""


def traits_table(evidence: Evidence, stand: Stand, contributions: Array) -> pd.DataFrame:
    """Write the rows of one target, the confirmed ones first, then by p-value.

    Parameters
    ----------
    evidence
        What was measured.
    stand
        Which traits stand in for others, from :func:`icp_ml.insight.standing.settle`.
    contributions
        Mean contribution of holders minus the others, shape (m,), log-odds; NaN without a model.
    """
    e = evidence
    m, n, base = len(e.design.candidates), e.outcome.n_accounts, e.base_rate
    direction = np.array([pick.direction for pick in e.fit.final])
    holders = np.nansum(e.held >= 0.5, axis=0).astype(int)
    known = (~np.isnan(e.held)).sum(axis=0)
    share = np.clip(np.nansum(e.held, axis=0) / np.maximum(known, 1), 1e-9, 1 - 1e-9)
    rate = np.clip(base + e.lifts.mean, 0.0, 1.0)
    kinds = _kinds(e, known, share)
    undecided = kinds == "not_enough_evidence"
    needed = accounts_needed(e.materiality, share, base) * n / np.maximum(known, 1) - n
    table = pd.DataFrame(
        {
            "target": e.target,
            "trait": [predicate.text() for predicate in e.predicates],
            "feature": [predicate.feature for predicate in e.predicates],
            "operator": [predicate.operator for predicate in e.predicates],
            "value": [predicate.value_json() for predicate in e.predicates],
            "direction": direction,
            "kind": kinds,
            "role": roles(e, stand, kinds, share),
            "n_accounts": holders,
            "support": holders / n,
            "rate": rate,
            "rate_without": np.clip((base - share * rate) / (1.0 - share), 0.0, 1.0),
            "base_rate": base,
            "lift": rate - base,
            "lift_low": np.clip(e.lifts.low, -base, 1.0 - base),
            "lift_high": np.clip(e.lifts.high, -base, 1.0 - base),
            "adjusted_effect": e.adjusted.effect,
            "adjusted_low": e.adjusted.low,
            "adjusted_high": e.adjusted.high,
            "mean_contribution": contributions,
            "p_value": e.fit.p_values if e.enough else np.full(m, np.nan),
            "q_value": e.q_values,
            "stability": e.stability,
            "proxy_of": [stand.name(e, j) for j in range(m)],
            "accounts_needed": np.where(
                undecided, np.clip(np.nan_to_num(needed, posinf=1e9), 1, 1e9), 0
            ).astype(np.int64),
        }
    )
    rank = np.where(np.isin(kinds, ["icp", "anti_icp"]), 0, 1)
    order = np.lexsort((np.arange(m), -e.fit.statistic, table["p_value"].fillna(1.0), rank))
    return table.iloc[order][list(TRAIT_COLUMNS)].reset_index(drop=True)


def _kinds(e: Evidence, known: Ints, share: Array) -> npt.NDArray[np.object_]:
    smallest = np.array(
        [float(detectable_difference(k, s, e.base_rate)) for k, s in zip(known, share, strict=True)]
    )
    kinds = np.where(smallest > e.materiality, "not_enough_evidence", "no_evidence").astype(object)
    if not e.enough:
        kinds[:] = "not_enough_evidence"
    for j in e.confirmed:
        kinds[j] = "icp" if e.fit.final[j].direction * e.sign > 0 else "anti_icp"
    return kinds


def roles(e: Evidence, stand: Stand, kinds: npt.NDArray[np.object_], share: Array) -> list[str]:
    """Decide the role of every candidate; whatever isn't confirmed is unknown."""
    out = ["unknown"] * len(kinds)
    stand_in = stand.explained_by >= 0
    good = e.outcome.rates if e.sign > 0 else 1.0 - e.outcome.rates
    signs = [e.fit.final[j].direction * e.sign for j in range(len(kinds))]
    stretch = 1.0 / (1.0 - share)
    for j in e.confirmed.tolist():
        bounds = np.array([e.lifts.low[j], e.lifts.high[j]]) * stretch[j] * e.sign
        adjusted = np.array([e.adjusted.low[j], e.adjusted.high[j]]) * e.sign
        standing = Standing(
            signs[j],
            float(bounds.min()),
            float(bounds.max()),
            float(adjusted.min()),
            float(adjusted.max()),
            bool(stand_in[j] or stand.vanishes[j]),
        )
        others = [e.held[:, i] for i in e.confirmed.tolist() if i != j and signs[i] > 0 and not stand_in[i]]
        out[j] = role_of(standing, e.held[:, j], good, others, float(good.mean()), e.materiality)
    return out


def mean_contributions(e: Evidence, dataset: Dataset, model: Propensity) -> Array:
    """Mean contribution to the log-odds, holders minus the others, by the reported condition; shape (m,)."""
    matrix, encoder = model.encoded_contributions(dataset.features.iloc[e.rows])
    n = e.outcome.n_accounts
    out = np.full(len(e.design.candidates), np.nan)
    for j, candidate in enumerate(e.design.candidates):
        columns = [i for i, part in enumerate(encoder.parts) if _belongs(part, candidate)]
        if not columns:
            continue
        total = matrix[:, columns].sum(axis=1)
        per_account = np.bincount(e.outcome.account, weights=total * e.outcome.weights, minlength=n)
        held = e.held[:, j]
        known = ~np.isnan(held)
        yes, no = float(held[known].sum()), float((1.0 - held[known]).sum())
        if yes > 0 and no > 0:
            with_it = float((per_account[known] * held[known]).sum()) / yes
            out[j] = with_it - float((per_account[known] * (1.0 - held[known])).sum()) / no
    return out


def _belongs(part: Any, candidate: Candidate) -> bool:
    if part.feature != candidate.feature:
        return False
    if candidate.family != "technologies":
        return True
    return bool(part.role == "tool" and part.value == " ".join(str(candidate.labels[1]).split()).casefold())
