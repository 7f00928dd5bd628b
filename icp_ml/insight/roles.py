"""What a confirmed trait means for a deal: must-have, nice-to-have, hard no, caution, or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from icp_ml.statistics import clopper_pearson

Array = npt.NDArray[np.float64]
Role = Literal["must_have", "nice_to_have", "hard_no", "caution", "unknown"]

#: Accounts needed before their absence of a trait, or their harm by one, may decide a deal.
LEAST_ACCOUNTS = 25
LEAST_EVENTS = 8


@dataclass(frozen=True, slots=True)
class Standing:
    """What a role is decided from; the good outcome counts as 1.

    Parameters
    ----------
    sign
        +1 where holders fare better, -1 where they fare worse.
    low, high
        90 % interval of holders minus the others, share units.
    adjusted_low, adjusted_high
        The same at equal everything else; NaN when not estimated.
    is_proxy
        Whether it stands in for another confirmed trait.
    """

    sign: int
    low: float
    high: float
    adjusted_low: float
    adjusted_high: float
    is_proxy: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """Account number of each row, and its outcome, 1.0 = good."""

    account: npt.NDArray[np.int64]
    good: Array

    def accounts(self, chosen: npt.NDArray[np.bool_]) -> int:
        """Return how many accounts some rows are of."""
        return len(np.unique(self.account[chosen]))


def role_of(standing: Standing, held: Array, rows: Rows, others: list[Array], materiality: float) -> Role:
    """Decide the role of one confirmed trait.

    Parameters
    ----------
    standing
        Its evidence.
    held
        Whether each row meets the final condition, NaN = unknown.
    rows
        Accounts and outcomes of the same rows.
    others
        Memberships of the other confirmed helpful traits, the strongest first.
    materiality
        Smallest difference that matters, share units.

    Notes
    -----
    Must-have: the whole interval above the materiality, and accounts that have the other traits but lack this
    one fall below the base rate. Hard no: the whole interval below minus the materiality, also at equal
    everything else, with an exact lower bound of the bad share above twice its base (where that is beyond
    reach: of the good share below half its base). Anything weaker is
    nice-to-have or caution.
    """
    if standing.sign > 0:
        if standing.is_proxy:
            return "unknown"
        necessary = standing.low >= materiality and _lacking_fails(held, rows, others)
        return "must_have" if necessary else "nice_to_have"
    if standing.is_proxy or not standing.high <= -materiality or not standing.adjusted_high < 0:
        return "caution"
    holders = held == 1.0
    accounts, usual = rows.accounts(holders), 1.0 - float(rows.good.mean())
    bad = accounts * (1.0 - float(rows.good[holders].mean())) if accounts else 0.0
    if accounts < LEAST_ACCOUNTS or bad < LEAST_EVENTS:
        return "caution"
    lower = float(clopper_pearson(bad, float(accounts))[0])
    return "hard_no" if lower > min(2.0 * usual, 0.5 + 0.5 * usual) else "caution"


def _lacking_fails(held: Array, rows: Rows, others: list[Array]) -> bool:
    """Look at rows that lack the trait and have as many of the strongest others as 25 accounts do."""
    lacking = held == 0.0
    chosen = lacking if not others else np.zeros_like(lacking)
    together = lacking.copy()
    for other in others:
        together &= other == 1.0
        if rows.accounts(together) < LEAST_ACCOUNTS:
            break
        chosen = together.copy()
    enough = rows.accounts(chosen) >= LEAST_ACCOUNTS
    return enough and float(rows.good[chosen].mean()) < float(rows.good.mean())
