"""A predicate: one condition on one feature that an account meets, doesn't meet, or can't be judged by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.schema import KINDS, Kind
from icp_ml.errors import ConfigError
from icp_ml.foreign import LARGEST, Given
from icp_ml.insight import columns
from icp_ml.visible import visible

Operator = Literal["in", "between", "has", "lacks", "is missing"]
OPERATORS: tuple[Operator, ...] = ("in", "between", "has", "lacks", "is missing")
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Predicate:
    """One readable condition.

    Parameters
    ----------
    feature
        Feature column it reads.
    operator
        ``in``: the category is one of ``value`` (a list). ``between``: low <= number < high with ``value``
        [low, high], None = open end. ``has`` / ``lacks``: the stack holds (does not hold) the tool ``value``
        whatever its letter case; for a yes/no feature ``value`` is True or False. ``is missing``: the field
        is unknown, ``value`` None.
    value
        As above; lists are kept as tuples.

    Examples
    --------
    >>> fit = Predicate("employees", "between", (50, 500))
    >>> fit.text()
    'employees 50 to 500'
    >>> fit.mask(pd.DataFrame({"employees": [49.0, 50.0, 500.0, float("nan")]})).tolist()
    [0.0, 1.0, 0.0, nan]
    """

    feature: str
    operator: Operator
    value: Any = None

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise ValueError(f"expected an operator of {OPERATORS}, found {self.operator!r}")
        if isinstance(self.value, list):
            object.__setattr__(self, "value", tuple(self.value))

    def mask(self, features: pd.DataFrame) -> Array:
        """Judge every row of a features frame: 1.0 met, 0.0 not met, NaN unknown.

        A column that the frame does not have is unknown throughout.
        """
        if self.feature not in features.columns:
            return np.full(len(features), np.nan)
        column = features[self.feature]
        if self.operator == "is missing":
            return np.asarray(column.isna().to_numpy(dtype=np.float64))
        if self.operator == "between":
            return self._between(columns.numbers(column))
        if self.operator == "in":
            wanted = {str(level) for level in self.value}
            codes, levels = pd.factorize(column)
            held_by = [float((v if isinstance(v, str) else str(v)) in wanted) for v in levels.tolist()]
            return np.array([*held_by, np.nan], dtype=np.float64)[codes]
        held = self._flag(column) if isinstance(self.value, bool) else self._tool(column)
        return 1.0 - held if self.operator == "lacks" else held

    def _between(self, values: Array) -> Array:
        low, high = self.value
        inside = np.ones(len(values), dtype=bool)
        if low is not None:
            inside &= values >= low
        if high is not None:
            inside &= values < high
        return np.where(np.isnan(values), np.nan, inside.astype(np.float64))

    def _flag(self, column: pd.Series[Any]) -> Array:
        values = columns.numbers(column)
        return np.where(np.isnan(values), np.nan, (values == float(self.value)).astype(np.float64))

    def _tool(self, column: pd.Series[Any]) -> Array:
        known, rows, codes, tools = columns.coded_tools(column)
        wanted = str(self.value).casefold()
        hit = np.array([tool.casefold() == wanted for tool in tools], dtype=bool)
        out = np.where(known, 0.0, np.nan)
        out[rows[hit[codes]]] = 1.0
        return out

    def text(self) -> str:
        """Say the condition in words, such as ``uses Salesforce`` or ``employees at least 500``."""
        return visible(self._words(), one_line=True)

    def _words(self) -> str:
        if self.operator == "is missing":
            return f"{self.feature} is unknown"
        if self.operator == "in":
            levels = [str(level) for level in self.value]
            shown = levels if len(levels) <= 6 else [*levels[:5], f"{len(levels) - 5} more"]
            return f"{self.feature} is " + (
                shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1]
            )
        if self.operator == "between":
            return f"{self.feature} {_range_text(*self.value)}"
        if isinstance(self.value, bool):
            yes = self.value == (self.operator == "has")
            return f"{self.feature} is {'true' if yes else 'false'}"
        what = f"a {self.value} tool" if "categor" in self.feature.casefold() else str(self.value)
        return f"uses {what}" if self.operator == "has" else f"does not use {what}"

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"feature": self.feature, "operator": self.operator, "value": value}

    def value_json(self) -> str:
        """Return ``value`` as JSON text, as the traits table holds it."""
        return json.dumps(self.to_dict()["value"], ensure_ascii=False)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of features that the condition can be asked of."""
        if self.operator == "is missing":
            return KINDS
        if self.operator == "between":
            return ("numeric", "boolean")
        if self.operator == "in":
            return ("category", "boolean", "numeric")
        return ("boolean", "numeric") if isinstance(self.value, bool) else ("technologies",)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any] | Given) -> Predicate:
        """Rebuild what :meth:`to_dict` wrote; other keys don't matter.

        Raises
        ------
        ConfigError
            The feature, the operator or a value in the form that the operator needs is missing.
        """
        given = state if isinstance(state, Given) else Given(state, "condition", error=ConfigError)
        given.record("feature", "operator", optional=given.entries())
        operator = given["operator"].choice(OPERATORS)
        return cls(given["feature"].text(least=1), operator, _value(given, operator))


def _value(given: Given, operator: Operator) -> Any:
    if operator == "is missing":
        return None
    given.record("value", optional=given.entries())
    value = given["value"]
    if operator == "in":
        for level in value.each(least=1):
            if not isinstance(level.value, str):
                level.number(low=-LARGEST, high=LARGEST)
    elif operator == "between":
        ends = [end.number(low=-LARGEST, high=LARGEST) for end in value.each(least=2, most=2) if end.known]
        if ends != sorted(ends):
            value.refuse("a lower end that isn't above the upper one")
    elif not isinstance(value.value, bool):
        value.text(least=1)
    return value.value


def number_text(value: float) -> str:
    """Write a number as people do: ``1,000``, ``0.35``, ``2.5 million``.

    Examples
    --------
    >>> [number_text(v) for v in (500, 1000.0, 0.35, 2_500_000)]
    ['500', '1,000', '0.35', '2.5 million']
    """
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e6:
        unit, name = (1e9, "billion") if size >= 1e9 else (1e6, "million")
        return f"{value / unit:.4g} {name}"
    if size >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _range_text(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "is known"
    if low is None:
        return f"under {number_text(float(high or 0.0))}"
    if high is None:
        return f"at least {number_text(float(low))}"
    return f"{number_text(float(low))} to {number_text(float(high))}"
