"""A stored profile is checked here before anything believes it: tables, conditions and facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import pandas as pd

from icp_ml.data.schema import TARGETS, Schema
from icp_ml.foreign import Given, shown
from icp_ml.insight.predicates import OPERATORS, Predicate
from icp_ml.insight.roles import Role
from icp_ml.strictjson import read_json

MOST_ROWS = 100_000
MOST_CONDITIONS = 100
_KINDS = ("icp", "anti_icp", "not_enough_evidence", "no_evidence")
_CHOICES: dict[str, tuple[str, ...]] = {
    "target": TARGETS,
    "operator": OPERATORS,
    "kind": _KINDS,
    "role": get_args(Role),
}
_TEXTS = ("trait", "feature", "value", "proxy_of", "name", "conditions")
_WHOLE = {"direction": -1, "n_accounts": 0, "accounts_needed": 0}
_LONG_TEXT = 1_000_000


def read_table(given: Given, names: Sequence[str]) -> pd.DataFrame:
    """Return a table of stored records whose columns have the types promised.

    Raises
    ------
    BundleError
        A record has other fields, or a field is of another type or out of range.
    """
    wanted = set(names)
    for record in given.all(most=MOST_ROWS):
        if not isinstance(record, dict) or record.keys() != wanted:
            for row in given.each():
                row.record(*names)
    columns: dict[str, Any] = {}
    for name in names:
        column = Given(
            [record[name] for record in given.value], f"{given.place}.{name}", given.file, given.error
        )
        if name in _CHOICES:
            _check_choices(column, _CHOICES[name])
        if name in _TEXTS or name in _CHOICES:
            columns[name] = pd.Series(column.texts(longest=_LONG_TEXT), dtype=object)
        elif name in _WHOLE:
            columns[name] = column.wholes(low=_WHOLE[name])
        else:
            columns[name] = column.numbers(gaps=True)
    return pd.DataFrame(columns)


def _check_choices(column: Given, allowed: Sequence[str]) -> None:
    if all(isinstance(value, str) for value in column.value) and set(column.value) <= set(allowed):
        return
    for value in column.each():
        value.choice(allowed)


def read_facts(given: Given) -> dict[str, Any]:
    """Return the facts of a profile: whatever JSON holds, and what texts are made of in the form they need.

    Raises
    ------
    BundleError
        One of the facts is of another type.
    """
    facts = given.entries()
    for name, fact in facts.items():
        if not fact.known:
            continue
        if name == "base_rates":
            for rate in fact.entries().values():
                rate.number(low=0.0, high=1.0)
        elif name == "detectable_effect":
            for text in fact.entries().values():
                text.text(most=_LONG_TEXT)
        elif name == "runners_up":
            for runner in fact.each(most=MOST_ROWS):
                runner.record("target", "segment", "name", optional=runner.entries())
                for key in ("target", "segment", "name"):
                    runner[key].text(most=_LONG_TEXT)
        elif name == "q":
            fact.number(low=0.0, high=1.0)
    for name in ("base_rates", "detectable_effect", "runners_up"):
        if name in facts and not facts[name].known:
            facts[name].refuse("no null")
    return dict(given.plain())


def check_conditions(given: Given, schema: Schema) -> None:
    """Refuse conditions of a stored profile that no account could be held against.

    Raises
    ------
    BundleError
        A condition isn't JSON, has another shape than its operator needs, or reads a feature of another kind.
    """
    kinds = {feature.name: feature.kind for feature in schema.features}
    told: set[tuple[str, str, str]] = set()
    for place, row in enumerate(given["traits"].value):
        key = row["feature"], row["operator"], row["value"]
        if key not in told:
            told.add(key)
            at = f"traits[{place}].value"
            value = read_json(row["value"].encode("utf-8"), f"{given.file}: {at}")
            state = {"feature": row["feature"], "operator": row["operator"], "value": value}
            _check_kind(Given(state, at, given.file), kinds)
    for segment in given["segments"].each():
        for condition in _conditions(segment["conditions"]):
            _check_kind(condition, kinds)


def _conditions(given: Given) -> Iterator[Given]:
    found = read_json(given.value.encode("utf-8"), f"{given.file}: {given.place}")
    yield from Given(found, given.place, given.file).each(least=1, most=MOST_CONDITIONS)


def _check_kind(given: Given, kinds: dict[str, Any]) -> None:
    predicate = Predicate.from_dict(given)
    kind = kinds.get(predicate.feature)
    if kind is not None and kind not in predicate.kinds:
        given.refuse(
            f"a condition of {' or '.join(predicate.kinds)} features",
            f"{predicate.operator!r} of {shown(predicate.feature)}, a {kind} feature",
        )
