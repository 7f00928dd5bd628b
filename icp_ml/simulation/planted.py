"""What is planted in a world, and who holds it: traits as plain dicts with operators in, between, has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.errors import ConfigError
from icp_ml.simulation.names import ENGINEERING
from icp_ml.simulation.world import Draw, FloatArray, World

Trait = dict[str, Any]

TECHNOLOGIES = "technologies"
# feature, operator, value, direction, strength: the log odds ratio is strength x log(odds ratio of the
# signal); the strengths put the best possible AUC of a medium signal at 15 % churn near .76
RETAINED: tuple[tuple[str, str, Any, int, float], ...] = (
    ("employees", "between", [50, 500], 1, 1.3),
    ("revenue_growth", "between", [0.25, None], 1, 1.15),
    ("industry", "in", ["Software", "Fintech"], 1, 1.15),
    ("funding_stage", "in", ["Series A", "Series B", "Series C"], 1, 1.15),
    (TECHNOLOGIES, "has", "Salesforce", 1, 1.15),
    (TECHNOLOGIES, "has", "Legacy ERP", -1, 1.15),
)
EXPANDED: tuple[tuple[str, str, Any, int, float], ...] = (
    ("employees", "between", [200, None], 1, 1.15),
    ("industry", "in", ["Healthcare", "Logistics"], 1, 1.15),
    (TECHNOLOGIES, "has", "Snowflake", 1, 1.15),
    ("has_data_team", "has", True, 1, 1.15),
)
FIRST_YEAR: tuple[tuple[str, str, Any, int, float], ...] = (
    ("industry", "in", ["Retail", "Construction"], 1, 1.15),
    ("has_data_team", "has", True, -1, 1.15),
)
GOOD_CONJUNCTION = (("employees", "between", [50, 500]), (TECHNOLOGIES, "has", "Salesforce"))
BAD_CONJUNCTION = (("funding_stage", "in", ["Bootstrapped", "Seed"]), (TECHNOLOGIES, "has", "AWS"))


def planted_traits(world: World) -> list[Trait]:
    """Return every trait of the world, for all three targets.

    ``direction`` is +1 where holders have the target more often. For ``expanded`` the odds ratio is the one
    among retained accounts. ``churned_first_year`` has the retention traits with the opposite sign, and two
    of its own.
    """
    if world.is_null or world.interaction == "only":
        return []
    own = [("retained", *row) for row in RETAINED] + [("expanded", *row) for row in EXPANDED]
    first = [("churned_first_year", f, o, v, -d, s) for f, o, v, d, s in RETAINED]
    first += [("churned_first_year", *row) for row in FIRST_YEAR]
    return [
        {
            "target": target,
            "feature": feature,
            "operator": operator,
            "value": value,
            "direction": direction,
            "odds_ratio": round(world.odds_ratio**strength, 4),
        }
        for target, feature, operator, value, direction, strength in own + first
    ]


def planted_segments(world: World) -> list[Trait]:
    """Return the conjunctions of the world: all conditions together have an effect of their own."""
    if world.is_null or world.interaction == "none":
        return []
    only = world.interaction == "only"
    conditions = GOOD_CONJUNCTION if only else BAD_CONJUNCTION
    return [
        {
            "target": "retained",
            "name": "planted conjunction",
            "conditions": [{"feature": f, "operator": o, "value": v} for f, o, v in conditions],
            "direction": 1 if only else -1,
            "odds_ratio": world.odds_ratio**2 if only else world.odds_ratio,
        }
    ]


def key_of(feature: str, value: Any = None) -> str:
    """Return the name under which a claim is looked up: the feature, or ``technologies:TOOL``."""
    return f"{TECHNOLOGIES}:{value}" if feature == TECHNOLOGIES and value is not None else feature


def links(world: World) -> dict[str, tuple[str, ...]]:
    """Return, for each column or tool, the planted columns and tools it's statistically linked to.

    Examples
    --------
    >>> links(World())["business_model"]
    ('industry',)
    """
    found: dict[str, tuple[str, ...]] = {
        "employees": ("funding_stage",),
        "revenue_growth": ("funding_stage",),
        "funding_stage": ("employees", "revenue_growth"),
    }
    if world.traps.proxies:
        for name in ("revenue_musd", "sites", "it_spend_kusd", "web_rank", "founded_year"):
            found[name] = ("employees", "funding_stage")
        found["hiring_rate"] = ("revenue_growth", "funding_stage")
        found["business_model"] = ("industry",)
        found["it_maturity"] = (key_of(TECHNOLOGIES, "Salesforce"), key_of(TECHNOLOGIES, "Legacy ERP"))
    if world.traps.confounder:
        found["region"] = ("employees", "funding_stage")
    if world.source == "tables":
        found.update(dict.fromkeys(("naics", "naics_4", "naics_2"), ("industry",)))
        if world.traps.proxies:
            found["founded"] = found.pop("founded_year")
    found["technology_count"] = found["technology_categories"] = tuple(
        key_of(TECHNOLOGIES, tool) for tool in ("Salesforce", "Legacy ERP", "Snowflake", "AWS")
    )
    for stack, tools in world.stacks().items():
        ends = ("Snowflake", "AWS") if stack in ENGINEERING else ("Salesforce", "Legacy ERP")
        for tool in tools:
            others = tuple(key_of(TECHNOLOGIES, end) for end in ends if end != tool)
            found[key_of(TECHNOLOGIES, tool)] = others
    return found


def holds(source: pd.DataFrame | Draw, claim: Mapping[str, Any]) -> FloatArray:
    """Return 1 where a row holds the claim, 0 where not, NaN where the field is unknown.

    Parameters
    ----------
    source
        A frame with the claim's feature, or companies as drawn.
    claim
        ``feature``, ``operator`` (in, between, has, lacks, is missing) and ``value``; ``between`` is
        low <= x < high with None for an open end. A claim with ``conditions`` holds where all of them do.

    Raises
    ------
    ConfigError
        If the operator is unknown.
    """
    if "conditions" in claim:
        parts = [holds(source, part) for part in claim["conditions"]]
        product = np.prod(parts, axis=0)
        return np.asarray(np.where(np.any(np.array(parts) == 0.0, axis=0), 0.0, product))
    feature, operator, value = claim["feature"], claim["operator"], claim.get("value")
    if isinstance(source, Draw) and feature == TECHNOLOGIES:
        return source.has(str(value)).astype(np.float64)
    column = source.columns[feature] if isinstance(source, Draw) else source[feature]
    if operator == "is missing":
        return np.asarray(pd.isna(column), dtype=np.float64)
    if operator == "between":
        return _between(column, claim["value"])
    if operator == "in":
        levels = pd.Series(column)
        return np.asarray(
            np.where(levels.isna(), np.nan, levels.isin(list(claim["value"]))), dtype=np.float64
        )
    if operator in ("has", "lacks"):
        found = _flag(column) if isinstance(value, bool | np.bool_ | None) else _tool(column, str(value))
        wanted = operator == "has" and (value is not False)
        return found if wanted else 1.0 - found
    raise ConfigError(
        f"expected operator in, between, has, lacks or is missing, found {operator!r}", found=operator
    )


def _between(column: Any, ends: Sequence[float | None]) -> FloatArray:
    numbers = pd.to_numeric(pd.Series(column)).to_numpy(dtype=np.float64, na_value=np.nan)
    low = -np.inf if ends[0] is None else ends[0]
    high = np.inf if ends[1] is None else ends[1]
    inside = (numbers >= low) & (numbers < high)
    return np.asarray(np.where(np.isnan(numbers), np.nan, inside))


def _flag(column: Any) -> FloatArray:
    flags = pd.Series(column).astype("boolean").astype("Float64")
    return np.asarray(flags.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def _tool(column: Any, tool: str) -> FloatArray:
    cells = pd.Series(column).tolist()
    known = [isinstance(cell, list | tuple | np.ndarray) for cell in cells]
    names = set(chain.from_iterable(cell for cell, listed in zip(cells, known, strict=True) if listed))
    spellings = {name for name in names if str(name).casefold() == tool.casefold()}
    return np.array(
        [
            float(not spellings.isdisjoint(cell)) if listed else np.nan
            for cell, listed in zip(cells, known, strict=True)
        ]
    )
