"""The one door for parameters of public functions: of the right type and in range, or refused by name.

Booleans are no numbers here, and texts aren't read: ``seed=True`` or ``n_jobs="2"`` is a slip, not a wish.
NumPy's own numbers count as numbers. What comes back is plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.errors import ParameterError

MOST_SEED = 2**32 - 1
"""Largest seed that every generator we use takes."""
MOST_JOBS = 1024
MOST_REASONS = 100
MOST_MONTHS = 120
MOST_DAYS = 36_525
LEAST_WEIGHT, MOST_WEIGHT = 1e-9, 1e9
MOST_BATCH = 2**31 - 1
_MOST_BITS, _MOST_SHOWN = 160, 60
_PLAIN = (str, bytes, bool, int, float, np.generic)


def whole(name: str, value: Any, least: int, most: int) -> int:
    """Return a whole number within a range.

    Raises
    ------
    ParameterError
        It is none, or out of range.

    Examples
    --------
    >>> whole("n_bags", np.int64(3), 1, 10)
    3
    >>> whole("n_bags", "3", 1, 10)
    Traceback (most recent call last):
        ...
    icp_ml.errors.ParameterError: expected n_bags to be a whole number from 1 to 10, found '3' (str)
    """
    bad = isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer)
    if bad or not least <= int(value) <= most:
        raise _refused(name, f"a whole number from {least:,} to {most:,}", value)
    return int(value)


def seed(value: Any, name: str = "seed") -> int:
    """Return a seed: a whole number from 0 to 2**32 - 1."""
    return whole(name, value, 0, MOST_SEED)


def jobs(value: Any, name: str = "n_jobs") -> int | None:
    """Return a number of threads; None for all cores, which -1 asks for as well, as in scikit-learn.

    Examples
    --------
    >>> jobs(-1), jobs(2)
    (None, 2)
    """
    whole_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if value is None or (whole_number and value == -1):
        return None
    if not whole_number or not 1 <= int(value) <= MOST_JOBS:
        raise _refused(name, f"None or -1 (all cores), or a whole number from 1 to {MOST_JOBS:,}", value)
    return int(value)


def number(name: str, value: Any, low: float, high: float, *, inside: bool = False) -> float:
    """Return a finite number within a range.

    Parameters
    ----------
    name, value
        The parameter.
    low, high
        The range.
    inside
        Whether the ends of the range are out of it.

    Examples
    --------
    >>> number("q", 0.1, 0, 1, inside=True)
    0.1
    >>> number("q", float("nan"), 0, 1)
    Traceback (most recent call last):
        ...
    icp_ml.errors.ParameterError: expected q to be a number from 0 to 1, found nan (float)
    """
    bad = isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating)
    if not bad:
        within = low < value < high if inside else low <= value <= high
        bad = not within or not math.isfinite(value)
    if bad:
        words = f"between {low:g} and {high:g}" if inside else f"from {low:g} to {high:g}"
        raise _refused(name, f"a number {words}", value)
    return float(value)


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Return one of the known texts."""
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise _refused(name, f"one of {names}", value)
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of texts as a tuple; one text alone would be taken for its letters."""
    listed = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    found = tuple(value) if listed else ()
    if not listed or not all(isinstance(item, str) for item in found):
        raise _refused(name, "a list of texts", value)
    return found


def flag(name: str, value: Any) -> bool:
    """Return True or False."""
    if not isinstance(value, bool | np.bool_):
        raise _refused(name, "True or False", value)
    return bool(value)


def interval(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Return two rising numbers within a range."""
    pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not pair:
        raise _refused(name, f"two rising numbers from {low:g} to {high:g}", value)
    first, last = (number(name, end, low, high) for end in value)
    if first > last:
        raise _refused(name, f"two rising numbers from {low:g} to {high:g}", value)
    return first, last


def numbers(name: str, values: Any) -> npt.NDArray[np.float64]:
    """Return a list of finite numbers as an array."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"expected numbers in {name}, found others: {error}", parameter=name) from error
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ParameterError(
            f"expected a list of finite numbers in {name}, found shape {found.shape} with "
            f"{int((~np.isfinite(found)).sum())} others: correct them",
            parameter=name,
        )
    return found


def weights(name: str, values: Any, n_rows: int) -> npt.NDArray[np.float64]:
    """Return one weight per row: 0, or far enough from the ends of what can be squared and summed."""
    found = numbers(name, values)
    odd = (found < 0) | (found > MOST_WEIGHT) | ((found > 0) & (found < LEAST_WEIGHT))
    if len(found) != n_rows or odd.any() or not (found > 0).any():
        raise ParameterError(
            f"expected one weight for each of {n_rows} rows in {name}, each 0 or from {LEAST_WEIGHT:g} to "
            f"{MOST_WEIGHT:g}, not all 0, found {len(found)} weights, {int(odd.sum())} of them others: "
            "correct them",
            parameter=name,
            count=int(odd.sum()),
        )
    return found


def _refused(name: str, expected: str, value: Any) -> ParameterError:
    return ParameterError(
        f"expected {name} to be {expected}, found {_shown(value)} ({type(value).__name__})",
        parameter=name,
        found=value,
    )


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"one of {value.bit_length():,} bits"
    if isinstance(value, np.ndarray | dict | list | tuple | set | frozenset):
        return f"{np.size(value) if isinstance(value, np.ndarray) else len(value)} values"
    shown = repr(value) if value is None or isinstance(value, _PLAIN) else "an object"
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[: _MOST_SHOWN - 3]}..."
