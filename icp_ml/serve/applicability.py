"""Which accounts a model may be asked about, and why not: one row per account, in words.

A score of an account that is unlike the customers is an extrapolation. It is flagged, never withheld: the
column ``applicability`` of the scores says ``edge`` or ``out``, and what to do with such rows is the reader's
choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.conform import conform
from icp_ml.model.columns import Columns, read_columns
from icp_ml.serve.margins import POOLED
from icp_ml.serve.reference import applicability_of
from icp_ml.serve.typicality import WEIGHTS, Detector, Surprises
from icp_ml.visible import visible

if TYPE_CHECKING:
    from icp_ml.serve.icpmodel import IcpModel

Floats = npt.NDArray[np.float64]

COLUMNS = ("account_id", "as_of", "applicability", "atypicality", "why")
MOST_FIELDS = 3
_NOTABLE = -np.log(0.05)
_SHARE_OF_TOP = 0.4


def applicability(model: IcpModel, features: pd.DataFrame) -> pd.DataFrame:
    """Say for each account whether it is like those the model learnt from, and what is unlike.

    A row's answer depends on that row and the model only. Scores of ``edge`` and ``out`` rows are flagged by
    the same column of the scores; they aren't withheld.

    Parameters
    ----------
    model
        A trained model.
    features
        Features frame, or the user's own frame of a ``Dataset.from_frame`` model.

    Returns
    -------
    DataFrame
        One row per row of ``features``: ``account_id``, ``as_of``, ``applicability`` (``in``; ``edge``: more
        unlike than 97.5 % of the training accounts; ``out``: than 99.5 %), ``atypicality`` (that percentile,
        0-100, ranked on accounts left out) and ``why`` (at most three fields; None for ``in``).

    Raises
    ------
    InputMismatchError
        As :meth:`IcpModel.score`.

    Warns
    -----
    InputWarning
        Feature columns are absent; they count as unknown.
    """
    table = conform(features, model.schema)
    columns = read_columns(table, model.schema)
    percentile = model.reference.typicality.percentile(columns)
    answer = applicability_of(percentile)
    why = np.full(len(table), None, dtype=object)
    flagged = np.flatnonzero(answer != "in")
    if len(flagged):
        why[flagged] = _reasons(model, columns.take(flagged))
    return pd.DataFrame(
        {
            "account_id": table["account_id"].astype(object).to_numpy(),
            "as_of": pd.to_datetime(table["as_of"]).astype("datetime64[us]").to_numpy(),
            "applicability": pd.Series(answer, dtype=object),
            "atypicality": percentile,
            "why": pd.Series(why, dtype=object),
        }
    )


def _reasons(model: IcpModel, columns: Columns) -> list[str]:
    typicality = model.reference.typicality
    by_way = typicality.by_way(columns)
    names = list(WEIGHTS)
    strength = np.stack([by_way[way] + np.log(WEIGHTS[way]) for way in names], axis=1)
    raw = np.stack([by_way[way] for way in names], axis=1)
    teller = _Teller.build(typicality.detector, columns)
    texts = []
    for row in range(columns.n_rows):
        order = np.argsort(-strength[row], kind="stable")
        ways = [names[j] for i, j in enumerate(order) if i == 0 or raw[row, j] >= _NOTABLE]
        texts.append(teller.text(row, ways))
    return texts


@dataclass(frozen=True, slots=True)
class _Teller:
    """What is needed to put the flagged rows of a batch into words."""

    detector: Detector
    columns: Columns
    said: Surprises
    coordinates: Floats
    shared: Floats
    apart: Floats
    fields: tuple[str, ...]

    @classmethod
    def build(cls, detector: Detector, columns: Columns) -> _Teller:
        z = detector.coordinates(columns)
        factors = detector.factors
        fields = (*detector.numbers, *(name for name, _, _ in detector.flags))
        apart = np.abs(factors.residuals(z)) * np.sqrt(1.0 - factors.unique)
        return cls(detector, columns, detector.surprises(columns), z, factors.shared(z), apart, fields)

    def text(self, row: int, ways: list[str]) -> str:
        """Name at most three fields, those of the strongest way first."""
        told: dict[str, str] = {}
        for way in ways:
            for name, phrase in self._phrases(row, way):
                if len(told) < MOST_FIELDS and name not in told:
                    told[name] = phrase
        return visible("; ".join(told.values()), one_line=True)

    def _phrases(self, row: int, way: str) -> list[tuple[str, str]]:
        if way == "new":
            ranked = _ranked({name: values[row] for name, values in self.said.new.items()})
            return [(name, self._new(name, row)) for name in ranked]
        if way == "unknown":
            known = self.detector.known
            gone = {name: -np.log1p(-known[name]) for name, at in self.said.missing.items() if at[row]}
            return [(name, f"{name} is unknown") for name in _ranked(gone)]
        if way == "mix":
            ranked = _ranked({name: values[row] for name, values in self.said.rarity.items()})
            return [(name, f"{name}: tools that few customers use") for name in ranked]
        if way in ("single", "many"):
            ranked = _ranked({name: values[row] for name, values in self.said.fields.items()})
            return [(name, self._value(name, row)) for name in ranked]
        size = (self.shared if way == "along" else self.apart)[row]
        best: dict[str, float] = {}
        for name, value in zip(self.fields, size, strict=True):
            if np.isfinite(value):
                best[name] = max(best.get(name, 0.0), float(value))
        if way == "along":
            return [(name, self._value(name, row)) for name in _ranked(best)]
        return [
            (name, f"{self._bare(name, row)} is unusual beside its other fields") for name in _ranked(best)
        ]

    def _new(self, name: str, row: int) -> str:
        if name in self.columns.categories:
            how = "hardly any" if POOLED in self.detector.levels[name].counts else "no"
            return f"{name} {self._level(name, row)!r}, which {how} customer has"
        tools = self.columns.tools[name]
        known = self.detector.tools[name].counts
        found = [tools.names[j] for j in tools.uses[row].indices if tools.names[j] not in known]
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        how = "hardly any" if self.detector.tools[name].alone else "no"
        return f"{name} hold {min(found)!r}{more}, which {how} customer uses"

    def _value(self, name: str, row: int) -> str:
        if name not in self.detector.numbers:
            return self._bare(name, row)
        margin = self.detector.numbers[name]
        return f"{self._bare(name, row)} (most customers {margin.low:,.6g} to {margin.high:,.6g})"

    def _bare(self, name: str, row: int) -> str:
        if name in self.columns.categories:
            return f"{name} {self._level(name, row)!r}"
        if name in self.columns.tools:
            return f"{name} of {self.columns.tools[name].uses[row].nnz} tools"
        return f"{name} {self.columns.numbers[name][row]:,.6g}"

    def _level(self, name: str, row: int) -> str:
        column = self.columns.categories[name]
        return str(column.levels[column.codes[row]])


def _ranked(strengths: dict[str, float]) -> list[str]:
    """Return the names of what counts, strongest first: at least two fifths of the strongest."""
    known = {name: float(value) for name, value in strengths.items() if value > 0.0}
    top = max(known.values(), default=0.0)
    kept = [name for name, value in known.items() if value >= _SHARE_OF_TOP * top]
    return sorted(kept, key=lambda name: (-known[name], name))
