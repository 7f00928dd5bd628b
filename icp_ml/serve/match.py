"""Whether an account fits the profile, in three-valued logic: true, false, unknown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.schema import GOOD
from icp_ml.insight.predicates import Predicate

if TYPE_CHECKING:
    from icp_ml.insight.profile import Profile

Floats = npt.NDArray[np.float64]

MATCHES = pd.CategoricalDtype(["unknown", "not_fit", "fit"])
_NOT_FIT, _FIT = 1, 2


@dataclass(frozen=True, eq=False, slots=True)
class _Rules:
    """What a profile demands: conditions that all hold, any that refuses, and lists of which one holds."""

    musts: list[Predicate]
    refusals: list[Predicate]
    segments: list[list[Predicate]]


def icp_match(
    profile: Profile | None, features: pd.DataFrame
) -> tuple[pd.Categorical, npt.NDArray[np.bool_]]:
    """Decide for each row whether it fits the profile.

    A row that matches a hard-no doesn't fit. Else it fits when a segment or all must-haves match; it doesn't
    when a must-have, or all segments of a profile without must-haves, fail. What can't be decided for want of
    fields, or because the profile found neither, is unknown.

    Parameters
    ----------
    profile
        The profile, or None for a model trained without one.
    features
        Features frame, shape (n_rows, ...).

    Returns
    -------
    match
        ``fit``, ``not_fit`` or ``unknown`` per row.
    refused
        Rows that match a hard-no.
    """
    rows = len(features)
    answer, refused = np.zeros(rows, dtype=np.int8), np.zeros(rows, dtype=bool)
    if profile is None:
        return pd.Categorical.from_codes(answer, dtype=MATCHES), refused
    rules = _rules(profile)
    segments = [_all_true(conditions, features) for conditions in rules.segments]
    for trait in rules.refusals:
        refused |= trait.mask(features) == 1.0
    if rules.musts:
        all_musts = _all_true(rules.musts, features)
        answer[all_musts == 1.0] = _FIT
        answer[all_musts == 0.0] = _NOT_FIT
    elif segments:
        answer[_all_of([1.0 - mask for mask in segments], rows) == 1.0] = _NOT_FIT
    for mask in segments:
        answer[mask == 1.0] = _FIT
    answer[refused] = _NOT_FIT
    return pd.Categorical.from_codes(answer, dtype=MATCHES), refused


def features_of(profile: Profile | None) -> list[str]:
    """Return the features that :func:`icp_match` looks at."""
    if profile is None:
        return []
    rules = _rules(profile)
    every = [*rules.musts, *rules.refusals, *(part for segment in rules.segments for part in segment)]
    return list(dict.fromkeys(predicate.feature for predicate in every))


@lru_cache(maxsize=4)
def _rules(profile: Profile) -> _Rules:
    """Read the rules of a profile once, not for every batch."""
    return _Rules(
        _traits(profile.traits, "must_have"),
        _traits(profile.traits, "hard_no"),
        _segments(profile.segments),
    )


def _traits(traits: pd.DataFrame, role: str) -> list[Predicate]:
    rows = traits.loc[traits["role"] == role, ["feature", "operator", "value"]].drop_duplicates()
    return [
        Predicate.from_dict({"feature": feature, "operator": operator, "value": json.loads(value)})
        for feature, operator, value in rows.itertuples(index=False)
    ]


def _segments(segments: pd.DataFrame) -> list[list[Predicate]]:
    good = segments.loc[segments["lift"] * segments["target"].map(GOOD).astype(float) > 0.0, "conditions"]
    return [[Predicate.from_dict(part) for part in json.loads(conditions)] for conditions in good]


def _all_true(predicates: list[Predicate], features: pd.DataFrame) -> Floats:
    return _all_of([predicate.mask(features) for predicate in predicates], len(features))


def _all_of(masks: list[Floats], rows: int) -> Floats:
    """Return the three-valued AND: 0 where any is 0, else NaN where any is unknown, else 1."""
    answer = np.ones(rows)
    for mask in masks:
        false = (answer == 0.0) | (mask == 0.0)
        answer = np.where(false, 0.0, answer * mask)
    return answer
