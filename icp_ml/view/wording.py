"""Numbers into words: rates, lifts and the sentence that a trait's evidence permits.

Which sentence may stand is decided by the evidence alone: what luck could have produced is said to be so,
a lift that vanishes among similar accounts is called a stand-in, and nothing here ever claims a cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"

TARGET_VERBS = {
    "retained": "stayed",
    "expanded": "expanded",
    "churned_first_year": "left in their first year",
}
TARGET_NAMES = {
    "retained": "retention",
    "expanded": "expansion",
    "churned_first_year": "first-year churn",
    "nrr": "net revenue retention",
}
ROLE_NAMES = {
    "must_have": "Must have",
    "nice_to_have": "Nice to have",
    "hard_no": "Hard no",
    "caution": "Caution",
}


def target_name(target: object) -> str:
    """Return the noun for a target, such as ``retention``; an unknown one as it is."""
    return TARGET_NAMES.get(str(target), str(target))


def known(value: object) -> bool:
    """Say whether a number is there: not None, not NaN, finite.

    Examples
    --------
    >>> known(0.0), known(float("nan")), known(None)
    (True, False, False)
    """
    return isinstance(value, int | float) and math.isfinite(value)


def share(value: Any, digits: int = 0) -> str:
    """Write a share as per cent, and an unknown one as a dash.

    Examples
    --------
    >>> share(0.873), share(0.0123, 1), share(float("nan"))
    ('87 %', '1.2 %', '–')
    """
    return f"{100 * value:.{digits}f} %" if known(value) else NOTHING


def points(value: Any) -> str:
    """Write a difference of two shares in percentage points with its sign.

    Examples
    --------
    >>> points(0.094), points(-0.1), points(0.0), points(None)
    ('+9.4', '−10.0', '0.0', '–')
    """
    if not known(value):
        return NOTHING
    rounded = round(100 * value, 1)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else ""
    return f"{sign}{abs(rounded):.1f}"


def interval(low: Any, high: Any) -> str:
    """Write an interval of differences in percentage points.

    Examples
    --------
    >>> interval(0.02, 0.13), interval(None, 0.1)
    ('+2.0 to +13.0', '–')
    """
    return f"{points(low)} to {points(high)}" if known(low) and known(high) else NOTHING


def number(value: Any, digits: int = 3) -> str:
    """Write a metric with fixed digits, and an unknown one as a dash.

    Examples
    --------
    >>> number(0.71234), number(-1.5, 1), number(float("nan"))
    ('0.712', '−1.5', '–')
    """
    return f"{value:.{digits}f}".replace("-", MINUS) if known(value) else NOTHING


def count(value: Any) -> str:
    """Write a whole number with thousands apart.

    Examples
    --------
    >>> count(1842), count(None)
    ('1,842', '–')
    """
    return f"{int(value):,}" if known(value) else NOTHING


def chance(value: Any) -> str:
    """Write a p- or q-value; small ones only as a bound.

    Examples
    --------
    >>> chance(0.0421), chance(0.00002)
    ('0.042', '< 0.001')
    """
    if not known(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def evidence_sentence(trait: Mapping[str, Any]) -> str:
    """Say what a trait's evidence permits to say, in one sentence.

    Parameters
    ----------
    trait
        One row of ``Profile.traits``.

    Returns
    -------
    A sentence about association; never about cause.

    Examples
    --------
    >>> row = {"kind": "icp", "target": "retained", "lift": 0.09, "adjusted_low": 0.02, "adjusted_high": 0.1}
    >>> evidence_sentence(row)
    'Such accounts stayed more often, also among otherwise similar accounts.'
    >>> evidence_sentence(row | {"adjusted_low": -0.02, "proxy_of": "revenue"})
    'Such accounts stayed more often, but not among otherwise similar accounts: a stand-in for revenue?'
    """
    if trait.get("kind") not in ("icp", "anti_icp"):
        needed = trait.get("accounts_needed")
        more = f"; telling would take about {count(needed)} accounts" if known(needed) else ""
        return f"Not distinguishable from luck with these data{more}."
    verb = TARGET_VERBS.get(str(trait.get("target")), "reached the target")
    often = "more often" if trait.get("lift", 0.0) > 0 else "less often"
    start = f"Such accounts {verb} {often}"
    low, high = trait.get("adjusted_low"), trait.get("adjusted_high")
    if low is None or high is None or not (known(low) and known(high)):
        return f"{start}; not compared among otherwise similar accounts."
    if low <= 0 <= high:
        proxy = str(trait.get("proxy_of") or "")
        stand_in = f": a stand-in for {proxy}?" if proxy else ""
        return f"{start}, but not among otherwise similar accounts{stand_in or '.'}"
    if (low > 0) != (trait.get("lift", 0.0) > 0):
        return f"{start}, yet the sign turns among otherwise similar accounts: don't rely on it."
    return f"{start}, also among otherwise similar accounts."


def headline(kinds: Mapping[str, int], n_accounts: Any) -> str:
    """Say in one line how much the data could tell.

    Parameters
    ----------
    kinds
        Number of traits by role (``must_have`` ...).
    n_accounts
        Accounts the profile was learned from.

    Examples
    --------
    >>> headline({"must_have": 2, "hard_no": 1}, 1842)
    '2 must-haves and 1 hard no hold up on 1,842 accounts'
    >>> headline({}, 60)
    'No trait of 60 accounts can be told from luck'
    """
    plural = {
        "must_have": ("must-have", "must-haves"),
        "nice_to_have": ("nice-to-have", "nice-to-haves"),
        "hard_no": ("hard no", "hard nos"),
        "caution": ("caution", "cautions"),
    }
    parts = [f"{kinds[role]} {names[kinds[role] != 1]}" for role, names in plural.items() if kinds.get(role)]
    accounts = f"{count(n_accounts)} accounts" if known(n_accounts) else "these accounts"
    if not parts:
        return f"No trait of {accounts} can be told from luck"
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{listed} {'hold' if sum(kinds.values()) != 1 else 'holds'} up on {accounts}"
