"""Facts of a stored model: anything that JSON holds, and what texts and dates are made of as they need it."""

from __future__ import annotations

from datetime import date
from typing import Any

from icp_ml.foreign import LARGEST, Given

_WHOLE = ("rows", "accounts", "seed", "horizon_months")
_DAYS = ("first_snapshot", "last_snapshot")
_TEXTS = ("dataset_fingerprint", "objective", "fit_score")
_LONGEST = 1_000_000
_MOST_MONTHS = 1_200


def read_facts(given: Given) -> dict[str, Any]:
    """Return the facts of a model.

    Raises
    ------
    BundleError
        A number isn't finite, or a fact that others are made of is of another type.
    """
    facts = given.entries()
    for name, fact in facts.items():
        if not fact.known:
            continue
        if name in _WHOLE:
            fact.whole(high=_MOST_MONTHS if name == "horizon_months" else 2**53)
        elif name in _DAYS:
            _check_day(fact)
        elif name in _TEXTS:
            fact.text()
        elif name in ("skipped_targets", "packages"):
            for text in fact.entries().values():
                text.text(most=_LONGEST)
        elif name == "targets":
            for target in fact.entries().values():
                _check_target(target)
        elif name == "dataset":
            _check_dataset(fact)
    for name in ("targets", "skipped_targets", "packages"):
        if name in facts and not facts[name].known:
            facts[name].refuse("an object")
    return dict(given.plain())


def _check_target(given: Given) -> None:
    given.entries()
    for name in ("rows", "accounts", "events"):
        if (count := given.get(name)) is not None:
            count.whole()
    if (rate := given.get("base_rate")) is not None:
        rate.number(low=0.0, high=1.0)
    if (chosen := given.get("chosen")) is not None:
        chosen.text()


def _check_dataset(given: Given) -> None:
    given.entries()
    if (late := given.get("not_point_in_time")) is not None:
        late.texts()
    if (dropped := given.get("dropped")) is not None and isinstance(dropped.value, dict):
        for count in dropped.entries().values():
            count.number(low=0.0, high=LARGEST)


def _check_day(given: Given) -> None:
    try:
        date.fromisoformat(given.text(least=10, most=10))
    except ValueError:
        given.refuse("a day such as 2025-03-31")
