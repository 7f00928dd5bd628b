"""Rows of traits and segments as texts and small pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from icp_ml.insight.predicates import Predicate
from icp_ml.insight.wording import sentence
from icp_ml.view import wording
from icp_ml.view.drawings import Scale, interval_strip, strip_axis, strip_scale


@dataclass(frozen=True, slots=True)
class TraitScale:
    """The one scale that all lifts of a page are drawn on, with its axis."""

    scale: Scale
    axis: Markup


def trait_scale(traits: pd.DataFrame) -> TraitScale:
    """Return a scale on which every interval of the given traits fits."""
    scale = strip_scale(traits["lift_low"].tolist(), traits["lift_high"].tolist())
    return TraitScale(scale, strip_axis(scale))


def trait_rows(traits: pd.DataFrame, scale: TraitScale) -> list[dict[str, Any]]:
    """Return what the page shows of each trait: texts, and a strip with lift and interval.

    Parameters
    ----------
    traits
        Rows of ``Profile.traits``.
    scale
        See :func:`trait_scale`.

    Returns
    -------
    One dict per trait, in the order given.
    """
    return [_trait_row(row, scale.scale) for row in traits.to_dict("records")]


def _trait_row(row: dict[Any, Any], scale: Scale) -> dict[str, Any]:
    strip = interval_strip(row["lift"], row["lift_low"], row["lift_high"], scale, css=str(row["role"]))
    return {
        "text": str(row["trait"]),
        "role": str(row["role"]),
        "target_name": wording.target_name(row["target"]),
        "sentence": _sentence(row),
        **_measured(row),
        "base_rate": wording.share(row["base_rate"]),
        "adjusted": wording.points(row["adjusted_effect"]),
        "adjusted_interval": wording.interval(row["adjusted_low"], row["adjusted_high"]),
        "q_value": wording.chance(row["q_value"]),
        "accounts_needed": wording.count(row["accounts_needed"]),
        "strip": strip,
        "size": abs(row["lift"]) if wording.known(row["lift"]) else 0.0,
    }


def _measured(row: dict[Any, Any]) -> dict[str, str]:
    """Write the figures that traits and segments share."""
    return {
        "rate": wording.share(row["rate"]),
        "lift": wording.points(row["lift"]),
        "lift_interval": wording.interval(row["lift_low"], row["lift_high"]),
        "n_accounts": wording.count(row["n_accounts"]),
        "support": wording.share(row["support"]),
    }


def by_outcome(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Group rows by outcome, outcomes as they come, the largest lift first within each."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["target_name"], []).append(row)
    return [(name, sorted(found, key=lambda row: -row["size"])) for name, found in grouped.items()]


def _sentence(row: dict[Any, Any]) -> str:
    """Return the sentence its evidence permits, without naming again the trait that stands above it."""
    return sentence(row).replace(f'Accounts where "{row["trait"]}" holds', "Such accounts")


def segment_rows(
    segments: pd.DataFrame, runners_up: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, str]]:
    """Return what the page shows of each segment.

    Parameters
    ----------
    segments
        ``Profile.segments``.
    runners_up
        ``Profile.facts["runners_up"]``: conjunctions that do as well as a segment.
    """
    rows = []
    equal = {(str(one["target"]), str(one["segment"])): str(one["name"]) for one in runners_up}
    for row in segments.to_dict("records"):
        name, conditions = str(row["name"]), conditions_text(row["conditions"])
        rows.append(
            {
                "name": name,
                "conditions": "" if conditions == name else conditions,
                "as_well": equal.get((str(row["target"]), name), ""),
                "target_name": wording.target_name(row["target"]),
                **_measured(row),
                "stability": wording.share(row["jaccard_stability"]),
                "decidable": wording.share(row["decidable"]),
            }
        )
    return rows


def conditions_text(conditions: str | list[dict[str, Any]]) -> str:
    """Write the conditions of a segment as words.

    Parameters
    ----------
    conditions
        JSON list of feature, operator and value, or the list itself.

    Examples
    --------
    >>> conditions_text('[{"feature": "employees", "operator": "between", "value": [50, 500]}]')
    'employees 50 to 500'
    """
    parsed = json.loads(conditions) if isinstance(conditions, str) else conditions
    return " and ".join(Predicate.from_dict(item).text() for item in parsed)
