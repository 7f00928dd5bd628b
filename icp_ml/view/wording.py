"""Numbers into words: rates, lifts, counts and the headline.

The sentences on single traits are not here: ``insight.wording`` decides what their evidence permits.
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
    "unknown": "Stand-in",
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
    total = sum(kinds.get(role, 0) for role in plural)
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{listed} {'holds' if total == 1 else 'hold'} up on {accounts}"
