"""The only sentences that may be said about a trait, chosen by its numbers.

The table follows evidence: what luck could have produced is said to be so, what vanishes among similar
accounts is called a stand-in, and no sentence claims more than an association.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

#: What a view's profile is about, said before any result.
HEADINGS: dict[str, str] = {
    "among_retained": "Among retained accounts only: expansion given that the account stayed.",
    "contraction": "Retained in full: accounts that shrank count as lost, like those that left.",
}
#: Words that no text about a trait may hold, whatever the numbers.
FORBIDDEN = (
    "driver",
    "drives",
    "driven",
    "cause",
    "causes",
    "caused",
    "causal",
    "because",
    "because of",
    "due to",
    "leads to",
    "guarantees",
    "guaranteed",
    "statistically proven",
    "proves",
    "proven",
    "uplift",
    "makes customers",
)

_MORE = {
    ("retained", 1): "are retained more often",
    ("retained", -1): "are retained less often",
    ("expanded", 1): "expand more often",
    ("expanded", -1): "expand less often",
    ("churned_first_year", 1): "leave in their first year more often",
    ("churned_first_year", -1): "leave in their first year less often",
}
_NOUNS = {"retained": "retention", "expanded": "expansion", "churned_first_year": "first-year churn"}


def target_noun(target: str) -> str:
    """Return the noun for a target, such as ``retention``."""
    return _NOUNS.get(target, target)


def sentence(row: Mapping[str, Any]) -> str:
    """Return the sentence that the evidence of one row of ``Profile.traits`` permits.

    Examples
    --------
    >>> row = {"target": "retained", "trait": "uses Salesforce", "kind": "icp", "direction": 1,
    ...        "proxy_of": "", "adjusted_low": 0.01, "adjusted_high": 0.09, "accounts_needed": 0}
    >>> sentence(row)
    'Accounts where "uses Salesforce" holds are retained more often, also among otherwise similar accounts.'
    >>> sentence({**row, "adjusted_low": -0.02, "proxy_of": "revenue"})
    'Accounts where "uses Salesforce" holds are retained more often; the difference disappears among \
otherwise similar accounts (probably a stand-in for revenue).'
    >>> sentence({**row, "kind": "not_enough_evidence", "accounts_needed": 900})
    '"uses Salesforce": not distinguishable from luck with your data (needs about 900 more accounts).'
    """
    trait = f'"{row["trait"]}"'
    if row["kind"] == "not_enough_evidence":
        more = _number(row.get("accounts_needed"))
        needs = f" (needs about {more:,.0f} more accounts)" if more is not None and more > 0 else ""
        return f"{trait}: not distinguishable from luck with your data{needs}."
    if row["kind"] == "no_evidence":
        return (
            f"{trait}: not distinguishable from luck, though a material difference would probably have shown."
        )
    direction = int(row["direction"])
    start = f"Accounts where {trait} holds {_MORE.get((str(row['target']), direction), 'differ')}"
    low, high = _number(row.get("adjusted_low")), _number(row.get("adjusted_high"))
    if low is None or high is None:
        return f"{start}; whether this holds among otherwise similar accounts could not be estimated."
    proxy = str(row.get("proxy_of") or "")
    if proxy and low * direction > 0.0 < high * direction:
        return f"{start}; hardly among accounts that are alike in {proxy} (probably a stand-in for it)."
    if low <= 0.0 <= high:
        if proxy:
            return (
                f"{start}; the difference disappears among otherwise similar accounts "
                f"(probably a stand-in for {proxy})."
            )
        return f"{start}; among otherwise similar accounts the difference is unclear."
    if (low > 0) != (direction > 0):
        return (
            f"{start}; among otherwise similar accounts the sign turns: read it with the other traits only."
        )
    return f"{start}, also among otherwise similar accounts."


def detectable_text(
    n_accounts: int, events: int, base_rate: float, smallest: float, target: str, least: int
) -> str:
    """Say, before any result, what these data could have shown.

    Examples
    --------
    >>> detectable_text(500, 75, 0.85, 0.126, "retained", 30)
    'retention: with your 500 accounts (75 events) no difference under 13 points can be seen for a trait \
that one account in five has (base rate 85 %).'
    """
    name = target_noun(target)
    if events < least:
        return (
            f"{name}: {n_accounts:,} accounts with {events} events are too few to search for traits "
            f"(needs at least {least} events); nothing is claimed."
        )
    return (
        f"{name}: with your {n_accounts:,} accounts ({events:,} events) no difference under "
        f"{100 * smallest:.0f} points can be seen for a trait that one account in five has "
        f"(base rate {100 * base_rate:.0f} %)."
    )


#: Said where accounts can't be compared within their real tenure.
TENURE_UNKNOWN = (
    "Tenure isn't known: accounts are compared by the time since their first row. What grows with "
    "real tenure may still look like a trait; name the day of the first contract (customer_since) to rule "
    "that out."
)


def forbidden_words(text: str) -> list[str]:
    """Return the forbidden words found in a text; empty when the text may be printed.

    Examples
    --------
    >>> forbidden_words("Salesforce drives retention")
    ['drives']
    """
    low = text.casefold()
    return [word for word in FORBIDDEN if re.search(rf"\b{re.escape(word)}\b", low)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
