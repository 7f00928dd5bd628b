"""Categories whose levels are steps of a known order: funding stages, size bands, grades.

A condition on such a field is a run of steps ("Series A to Series C"), which is both easier to find with few
accounts and what a person would write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Names of the steps, lowest first; a step may have several names, without case, spaces and punctuation.
FUNDING = (
    ("bootstrapped", "selffunded", "unfunded", "nofunding"),
    ("preseed", "angel"),
    ("seed",),
    ("seriesa", "earlystagevc"),
    ("seriesb",),
    ("seriesc",),
    ("seriesd",),
    ("seriese",),
    ("seriesf",),
    ("seriesg",),
    ("seriesh",),
    ("public", "ipo", "postipo", "listed"),
)
GRADES = (
    (("verylow",), ("low",), ("medium", "moderate", "mid"), ("high",), ("veryhigh",)),
    (("micro",), ("small",), ("medium",), ("large",), ("verylarge", "enterprise")),
    (("smb", "smallbusiness"), ("midmarket", "midsize"), ("enterprise",), ("strategic",)),
    (("tier1",), ("tier2",), ("tier3",), ("tier4",), ("tier5",)),
)
LEAST_STEPS = 3

_NUMBER = r"\d[\d,]*+(?:\.\d++)?\s*+(?:k|m|mm|mn|b|bn)?"
_SCALE = {"k": 1e3, "m": 1e6, "mm": 1e6, "mn": 1e6, "b": 1e9, "bn": 1e9}
_BELOW = re.compile(rf"(?:<=?|under|below|less than|up to|fewer than)\s*+({_NUMBER})")
_ABOVE = re.compile(
    rf"(?:>=?|over|above|more than|at least)\s*+({_NUMBER})|({_NUMBER})\s*+(?:\+|or more|and above)"
)
_BETWEEN = re.compile(rf"({_NUMBER})\s*+(?:-|to|\u2013|\u2014)\s*+({_NUMBER})")
_UNITS = re.compile(r"[$\u20ac\u00a3]|\b(?:employees|people|usd|eur|gbp|revenue|years?|days?)\b")


def steps(levels: Sequence[str]) -> tuple[int, ...] | None:
    """Place every level on one known ladder, or return None when they aren't steps of one.

    Parameters
    ----------
    levels
        Level names as the data have them.

    Returns
    -------
    tuple of int or None
        The step of each level, lowest 0, without gaps; several names of one step share it.

    Examples
    --------
    >>> steps(["Series B", "Seed", "Series A"])
    (2, 0, 1)
    >>> steps(["1,001+", "1-50", "51-1,000"])
    (2, 0, 1)
    >>> steps(["Retail", "Banking", "Software"]) is None
    True
    """
    for ladder in (FUNDING, *GRADES):
        at = {name: number for number, names in enumerate(ladder) for name in names}
        found = [at.get(_plain(level)) for level in levels]
        if None not in found:
            return _ranked([float(place) for place in found if place is not None])
    bands = [_band(level) for level in levels]
    known = sorted(band for band in bands if band is not None)
    if len(known) < len(levels) or any(
        high > low for (_, high), (low, _) in zip(known, known[1:], strict=False)
    ):
        return None
    return _ranked([band[0] for band in bands if band is not None])


def _ranked(places: list[float]) -> tuple[int, ...] | None:
    distinct = sorted(set(places))
    return tuple(distinct.index(place) for place in places) if len(distinct) >= LEAST_STEPS else None


def _plain(level: str) -> str:
    return re.sub(r"[\W_]+", "", level.casefold())


def _band(level: str) -> tuple[float, float] | None:
    """Read a band such as 51-200, under 10, $1M - $5M or 10,001+ as its two ends."""
    text = " ".join(_UNITS.sub(" ", level.casefold()).split())
    if match := _BETWEEN.fullmatch(text):
        low, high = _number(match[1], match[2]), _number(match[2])
        return (low, high) if low <= high else None
    if match := _BELOW.fullmatch(text):
        return (float("-inf"), _number(match[1]))
    if match := _ABOVE.fullmatch(text):
        return (_number(match[1] or match[2]), float("inf"))
    return None


def _number(text: str, unit_of: str = "") -> float:
    """Read 1,500 or 1.5k; a number without a unit takes that of the other end (1-5M)."""
    digits, unit = re.fullmatch(r"([\d.,]+)\s*([a-z]*)", text.strip()).groups()  # type: ignore[union-attr]
    other = re.sub(r"[\d.,\s]", "", unit_of)
    return float(digits.replace(",", "")) * _SCALE.get(unit or other, 1.0)
