"""Reading what strangers may have written: every value is checked as it is read, every failure is placed.

A saved model comes from a disk, a registry or a colleague. Its numbers index arrays inside compiled code that
checks nothing, so nothing of it is used before its type, length and range are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from icp_ml.errors import BundleError, IcpError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Name = TypeVar("Name", bound=str)

LARGEST = 1.7976931348623157e308
MODERATE = 1e12
"""Largest size of what is multiplied and added up: products and sums of such numbers stay finite."""
MOST = 1_000_000
"""Most entries of a list or an object where nothing else limits them."""
LONGEST = 10_000
"""Most characters of a name, level or tool."""
_SHOWN = 60
_NUMBERS = (int, float)
_ADVICE = "get the file from where it was made, or save the model again"


class Given:
    """A value of a file of strangers and the place where it stands.

    Parameters
    ----------
    value
        What JSON holds there.
    place
        Dotted path of the field.
    file
        Name of the file; empty if the value comes from elsewhere.
    error
        Class of the errors raised.

    Examples
    --------
    >>> given = Given({"columns": [0, 7]}, file="retained.json")
    >>> given["columns"].wholes(low=0, high=9).tolist()
    [0, 7]
    >>> given["columns"].wholes(low=0, high=5)
    Traceback (most recent call last):
    ...
    icp_ml.errors.BundleError: retained.json: columns[1]: expected a whole number of 0 to 5, found 7: get \
the file from where it was made, or save the model again
    """

    __slots__ = ("error", "file", "place", "value")

    def __init__(
        self, value: Any, place: str = "", file: str = "", error: type[IcpError] = BundleError
    ) -> None:
        self.value = value
        self.place = place
        self.file = file
        self.error = error

    @classmethod
    def of(cls, value: Any, place: str = "") -> Given:
        """Return a value that knows its place as it is, any other one with the place given."""
        return value if isinstance(value, Given) else cls(value, place)

    def refuse(self, expected: str, found: str | None = None, at: str = "") -> NoReturn:
        """Raise the error that says what was expected here and what was found."""
        seen = shown(self.value) if found is None else found
        field = f"{self.place}{at}"
        where = ": ".join(part for part in (self.file, field) if part) or "value"
        raise self.error(
            f"{where}: expected {expected}, found {seen}: "
            + (_ADVICE if self.error is BundleError else "correct it"),
            file=self.file,
            field=field,
            expected=expected,
            found=seen,
        )

    def record(self, *required: str, optional: Iterable[str] = ()) -> Given:
        """Check that it is an object with these keys and no others; return it."""
        if not isinstance(self.value, dict):
            self.refuse(f"an object with {', '.join(required)}")
        known = self.value.keys()
        if missing := [name for name in required if name not in known]:
            self.refuse(f"the keys {', '.join(required)}", f"none of the name {missing[0]!r}")
        if len(known) > len(required):
            allowed = {*required, *optional}
            if unknown := [name for name in known if name not in allowed]:
                self.refuse(
                    f"no other keys than {', '.join(sorted(allowed))}", f"{shown(unknown[0])} as well"
                )
        return self

    def __getitem__(self, key: str) -> Given:
        """Return the value of a key of a :meth:`record`."""
        return Given(self.value[key], f"{self.place}.{key}" if self.place else key, self.file, self.error)

    def get(self, key: str) -> Given | None:
        """Return the value of a key, None where it is absent or null."""
        return None if self.value.get(key) is None else self[key]

    @property
    def known(self) -> bool:
        """Whether it isn't null."""
        return self.value is not None

    def entries(self, *, least: int = 0, most: int = MOST) -> dict[str, Given]:
        """Return the values of an object whose keys are names."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        self._count(least, most)
        for name in self.value:
            if not isinstance(name, str) or len(name) > LONGEST:
                self.refuse(f"names of at most {LONGEST:,} characters", shown(name))
        return {name: self[name] for name in self.value}

    def all(self, *, least: int = 0, most: int = MOST) -> Sequence[Any]:
        """Return the values of a list as they are, unchecked."""
        self._list(least, most)
        return self.value  # type: ignore[no-any-return]

    def each(self, *, least: int = 0, most: int = MOST) -> list[Given]:
        """Return the values of a list."""
        self._list(least, most)
        return [
            Given(value, f"{self.place}[{j}]", self.file, self.error) for j, value in enumerate(self.value)
        ]

    def text(self, *, least: int = 0, most: int = LONGEST) -> str:
        """Return a text."""
        if not isinstance(self.value, str) or not least <= len(self.value) <= most:
            self.refuse(f"a text of {least} to {most:,} characters")
        return self.value

    def choice(self, allowed: Sequence[Name]) -> Name:
        """Return which of the texts allowed it is."""
        if not isinstance(self.value, str) or self.value not in allowed:
            self.refuse(f"one of {', '.join(allowed)}")
        return allowed[allowed.index(self.value)]

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            self.refuse("true or false")
        return self.value

    def whole(self, *, low: int = 0, high: int = 2**53) -> int:
        """Return a whole number between bounds."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not low <= self.value <= high:
            self.refuse(f"a whole number of {low} to {high}")
        return self.value

    def number(self, *, low: float = -MODERATE, high: float = MODERATE, above: float | None = None) -> float:
        """Return a number between bounds; ``above`` is one that it may not reach."""
        value = self.value
        if not isinstance(value, _NUMBERS) or isinstance(value, bool) or not low <= value <= high:
            self.refuse(f"a number of {low:g} to {high:g}")
        if above is not None and not value > above:
            self.refuse(f"a number above {above:g}")
        return float(value)

    def texts(
        self, *, least: int = 0, most: int = MOST, distinct: bool = False, longest: int = LONGEST
    ) -> tuple[str, ...]:
        """Return a list of texts."""
        self._list(least, most)
        for j, value in enumerate(self.value):
            if not isinstance(value, str) or len(value) > longest:
                self.refuse(f"a text of at most {longest:,} characters", shown(value), f"[{j}]")
        if distinct:
            self.once(self.value)
        return tuple(self.value)

    def once(self, names: Sequence[str]) -> None:
        """Refuse names of which one occurs twice."""
        if len(set(names)) == len(names):
            return
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self.refuse("every name once", f"{shown(name)} more often")
            seen.add(name)

    def numbers(
        self,
        *,
        low: float = -MODERATE,
        high: float = MODERATE,
        length: int | None = None,
        least: int = 0,
        most: int = MOST,
        rising: bool = False,
        gaps: bool = False,
    ) -> Floats:
        """Return a list of numbers between bounds as an array.

        Parameters
        ----------
        low, high
            Bounds.
        length, least, most
            How many there must be.
        rising
            Whether each must be above the one before.
        gaps
            Whether null is allowed; it becomes NaN.
        """
        self._list(least if length is None else length, most if length is None else length)
        values = self.value
        if gaps:
            values = [math.nan if value is None else value for value in values]
        self._kinds(values, _NUMBERS, "a number")
        try:
            array = np.array(values, dtype=np.float64)
        except OverflowError:
            self.refuse(f"numbers of {low:g} to {high:g}", "an integer that is none")
        fits = (array >= low) & (array <= high)
        if gaps:
            fits |= np.array([value is None for value in self.value], dtype=bool)
        if not fits.all():
            j = int(np.argmin(fits))
            self.refuse(f"a number of {low:g} to {high:g}", shown(self.value[j]), f"[{j}]")
        if rising and not (array[1:] > array[:-1]).all():
            j = int(np.argmin(array[1:] > array[:-1])) + 1
            self.refuse("a number above the one before", shown(self.value[j]), f"[{j}]")
        return array

    def wholes(self, *, low: int = 0, high: int = 2**53, length: int | None = None, most: int = MOST) -> Ints:
        """Return a list of whole numbers between bounds as an array."""
        self._list(0 if length is None else length, most if length is None else length)
        self._kinds(self.value, (int,), "a whole number")
        try:
            array = np.array(self.value, dtype=np.int64)
        except OverflowError:
            self.refuse(f"whole numbers of {low} to {high}", "one of more than 64 bits")
        fits = (array >= low) & (array <= high)
        if not fits.all():
            j = int(np.argmin(fits))
            self.refuse(f"a whole number of {low} to {high}", shown(self.value[j]), f"[{j}]")
        return array

    def plain(self) -> Any:
        """Check that it holds nothing but objects, lists, texts, finite numbers, true, false and null."""
        left: list[Any] = [self.value]
        while left:
            value = left.pop()
            if isinstance(value, dict):
                left += value.values()
            elif isinstance(value, list | tuple):
                left += value
            elif isinstance(value, int) and not isinstance(value, bool):
                if abs(value) > 2**63:
                    self.refuse("whole numbers of at most 64 bits", f"one of {value.bit_length()} bits")
            elif isinstance(value, float) and not math.isfinite(value):
                self.refuse("finite numbers", str(value))
        return self.value

    def _list(self, least: int, most: int) -> None:
        if not isinstance(self.value, list | tuple):
            self.refuse("a list")
        self._count(least, most)

    def _count(self, least: int, most: int) -> None:
        if not least <= len(self.value) <= most:
            wanted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            self.refuse(f"{wanted} entries", f"{len(self.value):,}")

    def _kinds(self, values: Sequence[Any], kinds: tuple[type, ...], what: str) -> None:
        found = set(map(type, values))
        if all(issubclass(kind, kinds) and kind is not bool for kind in found):
            return
        for j, value in enumerate(values):
            if not isinstance(value, kinds) or isinstance(value, bool):
                self.refuse(what, shown(value), f"[{j}]")


def shown(value: object) -> str:
    """Return a value as an error shows it: short, and of long things only what they are.

    Examples
    --------
    >>> shown("a" * 100), shown([1, 2]), shown(10**30)
    ('a text of 100 characters', 'a list of 2', 'a whole number of 31 digits')
    """
    if isinstance(value, dict):
        return f"an object of {len(value)}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"a text of {len(value):,} characters"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return f"a whole number of {int(value.bit_length() * math.log10(2)) + 1:,} digits"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
