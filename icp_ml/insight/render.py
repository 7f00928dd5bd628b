"""A profile as one screen of text, and held against what was expected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from icp_ml.data.schema import TARGETS
from icp_ml.insight import wording
from icp_ml.insight.predicates import Predicate

if TYPE_CHECKING:
    from icp_ml.insight.profile import Profile

COMPARE_COLUMNS = ("verdict", "target", "feature", "trait", "expected", "direction_agrees", "proxy_of")
_ROLES = {
    "must_have": "must have",
    "nice_to_have": "nice to have",
    "hard_no": "hard no",
    "caution": "caution",
    "unknown": "stand-in",
}
_MOST = 8


def profile_text(profile: Profile, width: int = 100) -> str:
    """Write a profile on one screen: what could be seen, what speaks for and against, what is open."""
    heading = wording.HEADINGS.get(str(profile.facts.get("view", "all")))
    lines = wrap(heading, width) if heading else []
    detectable = profile.facts.get("detectable_effect", {})
    for target in (name for name in TARGETS if name in detectable):
        lines += wrap(str(detectable[target]), width)
    if profile.facts.get("tenure") == "first row":
        lines += wrap(wording.TENURE_UNKNOWN, width)
    for title, table in (
        ("ICP: what accounts that stay and grow have", profile.icp),
        ("Anti-ICP: what accounts that leave have", profile.anti_icp),
    ):
        lines += ["", title]
        lines += [_trait_line(row, width) for row in table.head(_MOST).to_dict("records")] or [
            "  nothing that holds"
        ]
        if len(table) > _MOST:
            lines.append(f"  and {len(table) - _MOST} more in profile.traits")
    lines += ["", "Segments"]
    for row in profile.segments.to_dict("records"):
        lines.append(_segment_line(row, width))
        for equal in profile.facts.get("runners_up", []):
            if (equal["target"], equal["segment"]) == (row["target"], row["name"]):
                lines += wrap(
                    f"as well: {equal['name']}", width, initial_indent="    ", subsequent_indent="    "
                )
    if not len(profile.segments):
        lines.append("  none that holds")
    kinds = profile.traits["kind"].value_counts()
    open_ones, none = int(kinds.get("not_enough_evidence", 0)), int(kinds.get("no_evidence", 0))
    lines += [""] + wrap(
        f"Not claimed: {open_ones} conditions without enough evidence, {none} without any. Lifts are in "
        f"points against the base rate with a 90 % interval, from accounts that did not "
        f"find the trait. Association only.",
        width,
    )
    return "\n".join(lines)


def _trait_line(row: Mapping[Any, Any], width: int) -> str:
    role = _ROLES.get(str(row["role"]), str(row["role"]))
    what = f"{wording.target_noun(str(row['target']))}: {row['trait']}"
    if row["proxy_of"]:
        what += f" [for {row['proxy_of']}]"
    return _line(f"  {role:<12} {what}", _numbers(row), width)


def _segment_line(row: Mapping[Any, Any], width: int) -> str:
    return _line(f"  {wording.target_noun(str(row['target']))}: {row['name']}", _numbers(row), width)


def _numbers(row: Mapping[Any, Any]) -> str:
    reach = f"({_points(row['lift_low'])} to {_points(row['lift_high'])})"
    return f"{100 * row['rate']:3.0f} % {_points(row['lift'])} {reach} n={row['n_accounts']:,}"


def _line(left: str, right: str, width: int) -> str:
    room = width - len(right) - 2
    shown = left if len(left) <= room else left[: max(room - 3, 0)] + "..."
    return f"{shown:<{room}}  {right}"


def _points(value: Any) -> str:
    return f"{100 * value:+.1f}" if isinstance(value, int | float) and math.isfinite(value) else "?"


def compare(traits: pd.DataFrame, expected: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Hold confirmed traits against expected ones; see :meth:`icp_ml.insight.profile.Profile.compare`."""
    said = traits[traits["kind"].isin(["icp", "anti_icp"])].to_dict("records")
    targets = set(traits["target"])
    rows: list[dict[str, Any]] = []
    used: set[int] = set()
    for item in expected:
        if item["target"] not in targets:
            continue
        wanted = Predicate.from_dict(dict(item))
        key = _key(wanted.feature, wanted.operator, wanted.value)
        hits = [i for i, row in enumerate(said) if row["target"] == item["target"] and _row_key(row) == key]
        used.update(hits)
        row = said[hits[0]] if hits else None
        rows.append(
            {
                "verdict": "missed" if row is None else "found",
                "target": item["target"],
                "feature": wanted.feature,
                "trait": wanted.text() if row is None else row["trait"],
                "expected": wanted.text(),
                "direction_agrees": None
                if row is None
                else _agrees(row, wanted, int(item.get("direction", 1))),
                "proxy_of": "" if row is None else row["proxy_of"],
            }
        )
    for i, row in enumerate(said):
        if i not in used:
            rows.append(
                {
                    "verdict": "false",
                    "target": row["target"],
                    "feature": row["feature"],
                    "trait": row["trait"],
                    "expected": "",
                    "direction_agrees": None,
                    "proxy_of": row["proxy_of"],
                }
            )
    return pd.DataFrame(rows, columns=list(COMPARE_COLUMNS), dtype=object)


def _row_key(row: Mapping[Any, Any]) -> tuple[str, str]:
    return _key(str(row["feature"]), str(row["operator"]), json.loads(row["value"]))


def _key(feature: str, operator: str, value: Any) -> tuple[str, str]:
    if operator == "is missing":
        return feature, "is missing"
    tool = operator in ("has", "lacks") and isinstance(value, str)
    return feature, str(value).casefold() if tool else ""


def _agrees(row: Mapping[Any, Any], wanted: Predicate, direction: int) -> bool:
    """Whether the row's direction fits: a group of levels said the other way round has the other sign."""
    found = Predicate.from_dict(
        {"feature": row["feature"], "operator": row["operator"], "value": json.loads(row["value"])}
    )
    same = int(row["direction"]) == direction
    if found.operator == wanted.operator == "in":
        return same == bool(set(map(str, found.value)) & set(map(str, wanted.value)))
    return same
