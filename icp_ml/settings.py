"""Values of a TOML file, read as what a settings class says they are, or refused with what was expected."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from icp_ml.errors import ConfigError

#: Years of days: earlier ones can't be held, later ones mean "open".
FIRST_YEAR, OPEN_YEAR = 1700, 2200
_MOST_BITS = 63


def section(kind: type, name: str, values: Mapping[str, Any]) -> Any:
    """Build one section, refusing keys it doesn't know."""
    known = {item.name: str(item.type) for item in fields(kind)}
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise unknown(key, sorted(known), what="key", where=f"[{name}]")
        given[key] = _READERS[known[key]](f"{name}.{key}", value)
    return kind(**given)


def unknown(found: str, known: list[str], *, what: str, where: str) -> ConfigError:
    """Return the error for a name that is none of the known ones, with the nearest of them."""
    near = difflib.get_close_matches(found, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return ConfigError(
        f"unknown {what} {found!r} in {where}{hint} Known: {', '.join(known)}",
        key=found,
        nearest=near[0] if near else None,
        known=known,
    )


def _wrong_type(key: str, expected: str, found: object) -> ConfigError:
    return ConfigError(
        f"expected {key} to be {expected}, found {reprlib.repr(found)} ({type(found).__name__})",
        key=key,
        found=found,
    )


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(key, "text in quotes", value)
    return value


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(key, "true or false", value)
    return value


def _whole(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(key, "a whole number", value)
    if value.bit_length() > _MOST_BITS:
        raise ConfigError(
            f"expected {key} to be a whole number, found one of {value.bit_length()} bits", key=key
        )
    return value


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(key, "a number", value)
    return float(_whole(key, value)) if isinstance(value, int) else value


def _day(key: str, value: object) -> date:
    if isinstance(value, str):
        try:
            return _known_day(key, date.fromisoformat(value))
        except ValueError as error:
            raise _wrong_type(key, "a day such as 2025-06-30", value) from error
    if isinstance(value, datetime) or not isinstance(value, date):
        raise _wrong_type(key, "a day such as 2025-06-30", value)
    return _known_day(key, value)


def _known_day(key: str, day: date) -> date:
    if not FIRST_YEAR <= day.year < OPEN_YEAR:
        raise ConfigError(
            f"expected {key} to be a day from {FIRST_YEAR} to {OPEN_YEAR - 1}, found {day}",
            key=key,
            found=day,
        )
    return day


def _days(key: str, value: object) -> tuple[date, ...]:
    if not isinstance(value, list) or not value:
        raise _wrong_type(key, "a list of days such as [2025-03-31, 2025-06-30]", value)
    return tuple(_day(key, item) for item in value)


def _names(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong_type(key, 'a list of texts such as ["cancel_code"]', value)
    return tuple(value)


_READERS: dict[str, Callable[[str, object], Any]] = {
    "str": _text,
    "bool": _flag,
    "int": _whole,
    "float": _number,
    "date | None": _day,
    "tuple[date, ...]": _days,
    "tuple[str, ...]": _names,
}
