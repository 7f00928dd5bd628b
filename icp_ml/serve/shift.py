"""How far a list of prospects lies from the customers a model learnt from, as one number with its noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, ndtri

from icp_ml.data.conform import conform
from icp_ml.errors import NotEnoughDataError
from icp_ml.model.columns import Columns, read_columns
from icp_ml.serve.margins import LevelMargin, NumberMargin, ToolMargin
from icp_ml.serve.typicality import EDGE, OUT, Detector
from icp_ml.statistics import wilson

if TYPE_CHECKING:
    from icp_ml.serve.icpmodel import IcpModel

Floats = npt.NDArray[np.float64]

FIELD_COLUMNS = ("feature", "what", "distance", "floor", "customers", "prospects")
LEVEL = 0.90


@dataclass(frozen=True, eq=False)
class Shift:
    """How prospects differ from the customers a model learnt from.

    Parameters
    ----------
    auc
        Chance that a prospect is more unlike the customers than a customer is: 0.5 none, above 0.8 severe.
        It sees what makes prospects stand out; prospects that crowd where customers are dense are below 0.5.
    auc_low, auc_high
        Its 90 % interval, counting prospects and training accounts.
    auc_floor
        Value that two samples of one population stay below in 95 of 100 cases at these sizes.
    flagged, flagged_low, flagged_high
        Share of prospects with applicability ``edge`` or ``out``, with Wilson's 90 % interval.
    out
        Share of prospects with applicability ``out``.
    customers_flagged
        Share of customers flagged by construction, for comparison.
    n_prospects, n_customers
        Rows compared, and training accounts.
    fields
        Feature by feature, the most shifted first: ``feature``, ``what`` (of its values differs most),
        ``distance`` (the largest difference in the share of accounts, 0 to 1), ``floor`` (what luck reaches
        in one of 20 comparisons over all fields), ``customers`` and ``prospects`` (the two shares).
    """

    auc: float
    auc_low: float
    auc_high: float
    auc_floor: float
    flagged: float
    flagged_low: float
    flagged_high: float
    out: float
    customers_flagged: float
    n_prospects: int
    n_customers: int
    fields: pd.DataFrame

    def to_text(self) -> str:
        """Return the shift in two sentences."""
        beyond = self.fields[self.fields["distance"] > self.fields["floor"]]
        names = ", ".join(beyond["feature"].head(3)) or "none beyond luck"
        verdict = "more than luck gives" if self.auc_low > self.auc_floor else "not distinguishable from luck"
        return (
            f"A prospect is more unlike the customers than a customer is with chance {self.auc:.2f} "
            f"({self.auc_low:.2f} to {self.auc_high:.2f}; {verdict} at {self.n_prospects:,} prospects). "
            f"{self.flagged:.0%} of them are flagged ({self.customers_flagged:.1%} of customers would be); "
            f"most shifted fields: {names}."
        )


def shift(model: IcpModel, prospects: pd.DataFrame) -> Shift:
    """Compare prospects with the customers that a model learnt from.

    Parameters
    ----------
    model
        A trained model.
    prospects
        Features frame, or the user's own frame of a ``Dataset.from_frame`` model; one row per prospect.

    Raises
    ------
    NotEnoughDataError
        There are fewer than two prospects.

    Warns
    -----
    InputWarning
        Feature columns are absent; they count as unknown.
    """
    if len(prospects) < 2:
        raise NotEnoughDataError(
            f"expected at least 2 prospects, found {len(prospects)}: give a list", found=len(prospects)
        )
    columns = read_columns(conform(prospects, model.schema), model.schema)
    typicality = model.reference.typicality
    percentile = typicality.percentile(columns)
    n, m = columns.n_rows, typicality.n_accounts
    auc = float(percentile.mean() / 100.0)
    z = float(ndtri(0.5 + LEVEL / 2.0))
    error = float(np.sqrt(np.var(percentile / 100.0, ddof=1) / n + 1.0 / (12.0 * m)))
    flagged = int((percentile >= EDGE).sum())
    low, high = wilson(flagged, n, level=LEVEL)
    return Shift(
        auc=auc,
        auc_low=max(auc - z * error, 0.0),
        auc_high=min(auc + z * error, 1.0),
        auc_floor=0.5 + z * float(np.sqrt((1.0 / n + 1.0 / m) / 12.0)),
        flagged=flagged / n,
        flagged_low=float(low),
        flagged_high=float(high),
        out=float((percentile >= OUT).mean()),
        customers_flagged=1.0 - EDGE / 100.0,
        n_prospects=n,
        n_customers=m,
        fields=_fields(typicality.detector, columns, m),
    )


def _fields(detector: Detector, columns: Columns, m: int) -> pd.DataFrame:
    rows = [_number(name, margin, columns.numbers[name]) for name, margin in detector.numbers.items()]
    rows += [_level(name, margin, columns) for name, margin in detector.levels.items()]
    rows += [_tool(name, margin, columns) for name, margin in detector.tools.items()]
    rows += [
        ("is unknown", name, float(1.0 - detector.known[name]), float(gone.mean()), 1)
        for name, gone in detector.surprises(columns).missing.items()
    ]
    tried = max(sum(row[4] for row in rows), 1)
    floor = float(np.sqrt(np.log(2.0 * tried / 0.05) / 2.0 * (1.0 / columns.n_rows + 1.0 / m)))
    table = pd.DataFrame(
        [(name, what, abs(theirs - ours), floor, ours, theirs) for what, name, ours, theirs, _ in rows],
        columns=list(FIELD_COLUMNS),
    )
    order = np.lexsort((table["feature"].to_numpy(dtype=str), -table["distance"].to_numpy()))
    return table.iloc[order].drop_duplicates("feature").reset_index(drop=True)


Row = tuple[str, str, float, float, int]


def _number(name: str, margin: NumberMargin, values: Floats) -> Row:
    """Largest difference between the shares at or below a value (Kolmogorov and Smirnov), at the knots."""
    known = np.sort(values[np.isfinite(values)])
    if len(known) == 0:
        return ("at or below", name, 0.0, 0.0, 1)
    knots = np.asarray(margin.knots)
    ours = ndtr(np.asarray(margin.scores))
    below = np.searchsorted(known, knots, side="left") + np.searchsorted(known, knots, side="right")
    theirs = below / (2.0 * len(known))
    most = int(np.argmax(np.abs(theirs - ours)))
    return (f"at or below {knots[most]:,.6g}", name, float(ours[most]), float(theirs[most]), 1)


def _level(name: str, margin: LevelMargin, columns: Columns) -> Row:
    column = columns.categories[name]
    codes = column.codes[column.codes >= 0]
    counts = np.bincount(codes, minlength=len(column.levels)) / max(len(codes), 1)
    theirs = dict(zip(column.levels, counts.tolist(), strict=True)) if len(codes) else {}
    return _most(name, "is", {k: v / margin.total for k, v in margin.shared.items()}, theirs)


def _tool(name: str, margin: ToolMargin, columns: Columns) -> Row:
    column = columns.tools[name]
    total = int(column.known.sum())
    counts = np.asarray(column.uses.sum(axis=0)).ravel() / max(total, 1)
    theirs = dict(zip(column.names, counts.tolist(), strict=True)) if total else {}
    return _most(name, "holds", {k: v / margin.total for k, v in margin.counts.items()}, theirs)


def _most(name: str, verb: str, ours: dict[str, float], theirs: dict[str, float]) -> Row:
    """Largest difference in the share of one level or tool; nothing where no prospect has the field."""
    every = sorted(set(ours) | set(theirs))
    if not theirs or not every:
        return (verb, name, 0.0, 0.0, 1)
    most = max(every, key=lambda key: (abs(theirs.get(key, 0.0) - ours.get(key, 0.0)), key))
    return (f"{verb} {most}", name, ours.get(most, 0.0), theirs.get(most, 0.0), len(every))
