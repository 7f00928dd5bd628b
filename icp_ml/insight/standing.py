"""Which confirmed traits stand for themselves, which stand in for another, and which fall once that is known.

A stand-in isn't deleted: it is named after the trait that explains it. But it must not help a doubtful trait
past the false-discovery rate either, so that rate is counted again over the traits that stand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from icp_ml.insight.adjusted import Beside, beside
from icp_ml.insight.examine import SPENT, Evidence
from icp_ml.insight.lifts import held_out_rows

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Least correlation at which traits that vanish together count as one group.
CLOSE = 0.3
#: Least correlation of a trait with one that may explain it alone.
LINKED = 0.1
#: A trait is explained by another one when beside it at most this share of its difference is left, ...
LEFT = 0.7
#: ... within this many standard errors of none, while the other one stays beyond that many and keeps as much.
DOUBTFUL, SURE = 2.0, 1.645


@dataclass(frozen=True, slots=True)
class Stand:
    """Where each candidate stands.

    Parameters
    ----------
    explained_by
        Number of the trait each candidate stands in for, -1 = none, shape (m,).
    vanishes
        Whether its effect at equal everything else may be none or turns round, shape (m,).
    """

    explained_by: npt.NDArray[np.int64]
    vanishes: Bools

    def name(self, evidence: Evidence, j: int) -> str:
        """Name what candidate ``j`` stands in for: the feature, for technologies the tool, or nothing."""
        i = int(self.explained_by[j])
        if i < 0:
            return ""
        return str(evidence.predicates[i].value) if _tool(evidence, i) else evidence.predicates[i].feature


def settle(evidence: Evidence, q: float) -> tuple[Evidence, Stand]:
    """Find the stand-ins among confirmed traits, and drop traits that only stand-ins carried past ``q``.

    Parameters
    ----------
    evidence
        What :func:`icp_ml.insight.examine.measure` found.
    q
        False discovery rate, now among the traits that stand for themselves.

    Notes
    -----
    The q-value of a trait at rank r of which s stand becomes q r / s: the step-up rule of Benjamini and
    Hochberg (1995) with discoveries that aren't claimed left out of the count. The margin that ``SPENT``
    keeps for the case that nothing is there isn't asked for a second time.
    """
    stand = stands(evidence)
    confirmed = evidence.confirmed
    order = confirmed[np.argsort(evidence.q_values[confirmed], kind="stable")]
    own = stand.explained_by[order] < 0
    ranks, standing = np.arange(1, len(order) + 1), np.maximum(own.cumsum(), 1)
    raised = evidence.q_values[order] * SPENT * ranks / standing
    holding = np.flatnonzero(own & (raised <= q))
    last = int(holding[-1]) if len(holding) else -1
    fallen = set(order[last + 1 :][own[last + 1 :]].tolist())
    if not fallen:
        return evidence, stand
    q_values = evidence.q_values.copy()
    q_values[order] = np.where(own, np.minimum(np.maximum(raised, q_values[order]), 1.0), q_values[order])
    kept = np.array([j for j in confirmed.tolist() if j not in fallen], dtype=np.int64)
    settled = replace(evidence, confirmed=kept, q_values=q_values)
    return settled, stands(settled)


def stands(evidence: Evidence) -> Stand:
    """Find which confirmed traits vanish at equal everything else, and what explains them."""
    e = evidence
    m = len(e.design.candidates)
    vanishes = np.zeros(m, dtype=np.bool_)
    explained = np.full(m, -1, dtype=np.int64)
    confirmed = e.confirmed.tolist()
    for j in confirmed:
        toward = e.fit.final[j].direction
        vanishes[j] = min(e.adjusted.low[j] * toward, e.adjusted.high[j] * toward) <= 0.0
    held = np.where(np.isnan(e.held), np.nanmean(e.held, axis=0), e.held)
    links = _links(e, held)
    _vanished_together(e, links, vanishes, explained)
    _outdone(e, links, explained)
    return Stand(explained, vanishes)


def _links(e: Evidence, held: Array) -> Array:
    """Return absolute correlations of confirmed traits' memberships, 0 within one feature; shape (m, m)."""
    out = np.zeros((held.shape[1], held.shape[1]))
    confirmed = e.confirmed.tolist()
    centred = held[:, confirmed] - held[:, confirmed].mean(axis=0)
    spread = np.maximum(np.sqrt((centred**2).sum(axis=0)), 1e-12)
    close = np.abs(centred.T @ centred) / spread[:, None] / spread
    for a, j in enumerate(confirmed):
        for b, i in enumerate(confirmed):
            same = e.predicates[i].feature == e.predicates[j].feature
            if i != j and (not same or (_tool(e, i) and _tool(e, j))):
                out[j, i] = close[a, b]
    return out


def _vanished_together(e: Evidence, links: Array, vanishes: Bools, explained: npt.NDArray[np.int64]) -> None:
    """Name for each vanished trait the survivor it goes with, else the strongest of its own group."""
    vanished = [j for j in e.confirmed.tolist() if vanishes[j]]
    survivors = [j for j in e.confirmed.tolist() if not vanishes[j] and np.isfinite(e.adjusted.effect[j])]
    weak = max(0.1, 2.0 / np.sqrt(e.outcome.n_accounts))
    for number, j in enumerate(vanished):
        stronger = [i for i in vanished[:number] if explained[i] < 0]
        for others, least in ((survivors, weak), (stronger, CLOSE)):
            best = max(others, key=lambda i: (links[j, i], -i), default=-1)
            if best >= 0 and links[j, best] >= max(least, 1e-12):
                explained[j] = best
                break


def _outdone(e: Evidence, links: Array, explained: npt.NDArray[np.int64]) -> None:
    """Name the trait that explains another one alone, where other columns blur the joint comparison."""
    for j in e.confirmed.tolist():
        if explained[j] >= 0:
            continue
        best = 1.0
        for i in e.confirmed.tolist():
            if links[j, i] < LINKED or explained[i] == j:
                continue
            mine, other = _beside(e, j, i), _beside(e, i, j)
            if mine is None or other is None:
                continue
            gone = mine.effect < min(DOUBTFUL * mine.error, LEFT * mine.alone)
            stays = other.effect > max(SURE * other.error, LEFT * other.alone)
            if gone and stays and mine.effect / max(mine.alone, 1e-9) < best:
                best, explained[j] = mine.effect / max(mine.alone, 1e-9), i


def _beside(e: Evidence, j: int, i: int) -> Beside | None:
    found = beside(e.design, e.outcome, held_out_rows(e.design, e.fit, e.outcome, j), j, i)
    return None if found is None else found.toward(e.fit.final[j].direction)


def _tool(e: Evidence, j: int) -> bool:
    return e.design.candidates[j].family == "technologies"
