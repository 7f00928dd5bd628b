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
from icp_ml.insight.roles import Rows, Standing, role_of
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
    # what a candidate's accounts are worth, of which many were seen on several days
    worth = e.outcome.equivalent_accounts / n
    holders = np.nansum(e.held > 0.0, axis=0).astype(int)
    known = (~np.isnan(e.held)).sum(axis=0)
    share, support = _shares(e)
    rate = np.clip(base + e.lifts.mean, 0.0, 1.0)
    kinds = _kinds(e, known * worth, share)
    undecided = kinds == "not_enough_evidence"
    needed = accounts_needed(e.materiality, share, base) / worth * n / np.maximum(known, 1) - n
    table = pd.DataFrame(
        {
            "target": e.target,
            "trait": [predicate.text() for predicate in e.predicates],
            "feature": [predicate.feature for predicate in e.predicates],
            "operator": [predicate.operator for predicate in e.predicates],
            "value": [predicate.value_json() for predicate in e.predicates],
            "direction": np.where(rate < base, -1, 1),
            "kind": kinds,
            "role": roles(e, stand, kinds, share),
            "n_accounts": holders,
            "support": support,
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


def _shares(e: Evidence) -> tuple[Array, Array]:
    """Share of rows with the trait, among those that know it and among all; shape (m,) each."""
    mine = np.array(
        [
            float((e.counts.held[:, e.design.bins_of(j)] @ pick.bins).sum())
            for j, pick in enumerate(e.fit.final)
        ]
    )
    known = np.maximum(e.counts.known.sum(axis=0), 1.0)
    return np.clip(mine / known, 1e-9, 1 - 1e-9), mine / len(e.outcome.y)


def _kinds(e: Evidence, known: Array, share: Array) -> npt.NDArray[np.object_]:
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
    signs = [e.fit.final[j].direction * e.sign for j in range(len(kinds))]
    confirmed = e.confirmed.tolist()
    holds = {j: e.design.meets(j, e.fit.final[j].bins) for j in confirmed}
    rows = Rows(e.outcome.account, e.outcome.y if e.sign > 0 else 1.0 - e.outcome.y)
    stretch = 1.0 / (1.0 - share)
    for j in confirmed:
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
        others = [holds[i] for i in confirmed if i != j and signs[i] > 0 and not stand_in[i]]
        out[j] = role_of(standing, holds[j], rows, others, e.materiality)
    return out


def mean_contributions(e: Evidence, dataset: Dataset, model: Propensity) -> Array:
    """Mean contribution to the log-odds, rows with the reported condition minus the others; shape (m,)."""
    matrix, encoder = model.encoded_contributions(dataset.features.iloc[e.rows])
    out = np.full(len(e.design.candidates), np.nan)
    for j, candidate in enumerate(e.design.candidates):
        columns = [i for i, part in enumerate(encoder.parts) if _belongs(part, candidate)]
        if not columns:
            continue
        total = matrix[:, columns].sum(axis=1)
        held = e.design.meets(j, e.fit.final[j].bins)
        yes, no = held == 1.0, held == 0.0
        if yes.any() and no.any():
            out[j] = float(total[yes].mean()) - float(total[no].mean())
    return out


def _belongs(part: Any, candidate: Candidate) -> bool:
    if part.feature != candidate.feature:
        return False
    if candidate.family != "technologies":
        return True
    return bool(part.role == "tool" and part.value == " ".join(str(candidate.labels[1]).split()).casefold())
