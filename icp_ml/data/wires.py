"""Signs that a column was written after the outcome, one function each: a dataset in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import bdtr, chdtr, ndtri

from icp_ml.data.dataset import Dataset
from icp_ml.data.leakage import auc_of, deal_folds, separations
from icp_ml.data.technologies import encode, flatten
from icp_ml.data.twins import CHANCE, LEAST_TELLING, TELLING, _agreement, _codes
from icp_ml.data.values import by_distinct

Floats = npt.NDArray[np.float64]
Severity = Literal["refuse", "quarantine", "note"]

#: Odds ratio above which no honest single trait is believed; a pure group must be too large even for it, and
#: for the luckiest of so many traits as strong as that.
STRONG_TRAIT, MOST_STRONG = 5.0, 20
# A tool is taken out of the lists; for a level or an empty cell the whole column goes, so more is asked.
_PURE_TOOL, _PURE_COLUMN, _ECHO_LEVEL = 0.01, 1e-4, 1e-6
_LEAST_AREA, _LEAST_ERRORS = 0.60, 5.0
_UNIQUE, _DENSE, _IN_ORDER, _TIME_AREA = 0.98, 20.0, 0.99, 0.95
_LATE_SHARE, _LATE_ROWS = 0.01, 10
_FROZEN_RATIO, _MOVING = 0.2, 0.2
_SHADOW, _SHADOW_ROWS, _MOST_SHADOWS = 0.995, 5_000, 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One tripwire that a column set off.

    Parameters
    ----------
    column
        Feature; empty where it concerns all rows.
    wire
        Which one: ``alone``, ``name``, ``missing``, ``pure``, ``echo``, ``id``, ``after``, ``time``,
        ``frozen``, ``shadow``, ``jump``, ``twins``, ``shuffle`` or ``canary``.
    severity
        ``refuse``: no fit; ``quarantine``: the fit goes on without the column; ``note``: a fact to be known.
    evidence
        The number the wire looks at (mostly an area under the ROC curve, 0.5 to 1).
    sentence
        What was found, in words.
    target
        Outcome it gives away; empty where none.
    tool
        The one tool of a list column that is meant; None where the column is.
    """

    column: str
    wire: str
    severity: Severity
    evidence: float
    sentence: str
    target: str = ""
    tool: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One target on its known rows: positions in the dataset, values, and the areas of single features."""

    name: str
    rows: npt.NDArray[np.intp]
    y: Floats
    areas: dict[str, tuple[float, float]]

    def carries(self, column: str) -> bool:
        """Whether a column by itself tells the outcome better than luck: AUC .60, five standard errors."""
        area, errors = self.areas.get(column, (0.5, 0.0))
        return area >= _LEAST_AREA and errors >= _LEAST_ERRORS


def pure_groups(dataset: Dataset, outcome: Outcome) -> Iterator[Finding]:
    """Find tools, levels and empty cells whose accounts all had one outcome, too many for a strong trait.

    The chance of no exception is that of a trait with an odds ratio of 5, times at most 20 such traits.
    """
    groups = pd.factorize(dataset.groups[outcome.rows])[0]
    odds = outcome.y.mean() / (1.0 - outcome.y.mean())
    high = float(STRONG_TRAIT * odds / (1.0 + STRONG_TRAIT * odds))
    low = float(STRONG_TRAIT / odds / (1.0 + STRONG_TRAIT / odds))
    counted: list[tuple[str, str, str | None, int, int, int]] = []
    for feature in dataset.schema.features:
        column = dataset.features[feature.name].iloc[outcome.rows].reset_index(drop=True)
        for text, tool, rows in _groups_of(column, feature.kind):
            accounts = np.unique(groups[rows])
            counted.append((feature.name, text, tool, len(rows), int(outcome.y[rows].sum()), len(accounts)))
    tried = min(len(counted), MOST_STRONG)
    for name, text, tool, n_rows, events, n_accounts in counted:
        if 0 < events < n_rows or not n_rows:
            continue
        chance = tried * (high if events else low) ** n_accounts
        if chance < (_PURE_COLUMN if tool is None else _PURE_TOOL):
            said = f"all {n_accounts} accounts with {text} have {outcome.name} = {bool(events)}"
            yield Finding(name, "pure", "quarantine", float(chance), said, outcome.name, tool)


def _groups_of(column: pd.Series[Any], kind: str) -> Iterator[tuple[str, str | None, npt.NDArray[Any]]]:
    empty = np.flatnonzero(column.isna().to_numpy())
    if len(empty):
        yield "an empty cell", None, empty
    if kind == "technologies":
        row, tools, _ = flatten(column)
        codes, distinct = encode(tools)
    elif kind == "numeric":
        return
    else:
        codes, distinct = by_distinct(column)
        row = np.arange(len(column))
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(distinct) + 1))
    for place, level in enumerate(distinct):
        rows = row[order[starts[place] : starts[place + 1]]]
        tool = str(level) if kind == "technologies" else None
        yield (f"the tool {level!r}" if tool else f"the value {level!r}"), tool, rows


def echoes(dataset: Dataset, outcome: Outcome) -> Iterator[Finding]:
    """Find numbers that repeat the outcome's own mean: target encodings that counted the row itself.

    Rates of an honest number scatter about any line as coin flips do; rates of an encoding lie on it. Said
    where the chi-square of the scatter is too small for luck (lower tail below one in a million).
    """
    for name in dataset.schema.of_kind("numeric"):
        values = dataset.features[name].to_numpy(dtype=np.float64)[outcome.rows]
        known = ~np.isnan(values)
        level, code = np.unique(values[known], return_inverse=True)
        if not 8 <= len(level) <= known.sum() / 3:
            continue
        n = np.bincount(code).astype(np.float64)
        rate = np.bincount(code, weights=outcome.y[known]) / n
        slope, shift = np.polyfit(level, rate, 1, w=np.sqrt(n))
        line = np.clip(slope * level + shift, 1e-3, 1.0 - 1e-3)
        inner = (n >= 2) & (line > 0.02) & (line < 0.98)
        scatter = float((n * (rate - line) ** 2 / (line * (1.0 - line)))[inner].sum())
        freedom = int(inner.sum()) - 2
        if freedom < 5 or not outcome.carries(name):
            continue
        chance = float(chdtr(freedom, scatter))
        if chance < _ECHO_LEVEL:
            said = f"its {len(level)} values are the mean of {outcome.name} of the rows that have them"
            yield Finding(name, "echo", "quarantine", chance, said, outcome.name)


def id_like(dataset: Dataset, outcome: Outcome) -> Iterator[Finding]:
    """Find whole numbers that hardly repeat and run dense, or in the order of rows: account numbers."""
    first = ~pd.Series(dataset.groups).duplicated().to_numpy()
    for name in dataset.schema.of_kind("numeric"):
        values = dataset.features[name].to_numpy(dtype=np.float64)[first]
        values = values[~np.isnan(values)]
        if len(values) < 50 or (values != np.round(values)).any():
            continue
        if len(np.unique(values)) < _UNIQUE * len(values):
            continue
        rank = pd.Series(values).rank().to_numpy()
        order = abs(float(np.corrcoef(rank, np.arange(len(rank)))[0, 1]))
        if np.ptp(values) > _DENSE * len(values) and order < _IN_ORDER:
            continue
        area = outcome.areas.get(name, (0.5, 0.0))[0]
        bad = outcome.carries(name)
        said = f"looks like an account number ({len(values)} different whole numbers)" + (
            f" and tells {outcome.name}" if bad else ""
        )
        yield Finding(name, "id", "quarantine" if bad else "note", area, said, outcome.name)


def after_snapshot(dataset: Dataset, outcome: Outcome) -> Iterator[Finding]:
    """Find numbers that are dates (years, yyyymmdd, Unix seconds or milliseconds) later than the snapshot."""
    days = pd.DatetimeIndex(dataset.labels["snapshot_date"].iloc[outcome.rows])
    if days.isna().any():
        return
    for name in dataset.schema.of_kind("numeric"):
        values = dataset.features[name].to_numpy(dtype=np.float64)[outcome.rows]
        later = _later(values, days)
        if later is None or later.sum() < max(_LATE_ROWS, _LATE_SHARE * len(later)):
            continue
        area = auc_of(later.astype(np.float64), outcome.y)
        area = max(area, 1.0 - area)
        events = float(outcome.y.sum())
        error = np.sqrt((len(later) + 1.0) / (12.0 * events * (len(later) - events)))
        bad = area >= 0.55 and area - 0.5 >= _LEAST_ERRORS * error
        said = f"holds dates after the snapshot in {int(later.sum())} of {len(later)} rows"
        yield Finding(name, "after", "quarantine" if bad else "note", area, said, outcome.name)


def _later(values: Floats, days: pd.DatetimeIndex) -> npt.NDArray[np.bool_] | None:
    known = values[~np.isnan(values)]
    if not len(known) or (known != np.round(known)).any():
        return None
    low, high = known.min(), known.max()
    if low >= 1900 and high <= 2100:
        limit = days.year.to_numpy(dtype=np.float64)
    elif low >= 19000101 and high <= 21001231:
        limit = (days.year * 10_000 + days.month * 100 + days.day).to_numpy(dtype=np.float64)
    elif low >= 3e8 and high <= 4.2e9:
        limit = days.to_numpy().astype("datetime64[s]").astype(np.float64) + 86_400.0
    elif low >= 3e11 and high <= 4.2e12:
        limit = days.to_numpy().astype("datetime64[ms]").astype(np.float64) + 86_400_000.0
    else:
        return None
    return np.asarray(values > limit)


def tells_time(dataset: Dataset, outcome: Outcome) -> Iterator[Finding]:
    """Find columns that tell late snapshots from early ones (AUC .95), and the outcome as well."""
    days = dataset.labels["snapshot_date"].iloc[outcome.rows].to_numpy()
    if np.isnat(days).any() or len(np.unique(days)) < 2:
        return
    late = (days > np.sort(days)[(len(days) - 1) // 2]).astype(np.float64)
    if not 0 < late.sum() < len(late):
        return
    folds = deal_folds(dataset.groups[outcome.rows])
    for feature in dataset.schema.features:
        if feature.kind == "technologies":
            continue
        column = dataset.features[feature.name].iloc[outcome.rows].reset_index(drop=True)
        area = max((auc for _, auc, _ in separations(column, feature.kind, late, folds)), default=0.5)
        if area >= _TIME_AREA:
            bad = outcome.carries(feature.name)
            said = "tells late snapshots from early ones" + (f" and tells {outcome.name}" if bad else "")
            yield Finding(feature.name, "time", "quarantine" if bad else "note", area, said, outcome.name)


def frozen(dataset: Dataset, outcome: Outcome) -> Iterator[Finding]:
    """Find columns that move from snapshot to snapshot, but hardly ever for accounts that left.

    So look fields that were read again after the account had left, and written over its whole past.
    """
    if outcome.name != "retained":
        return
    ids = pd.factorize(dataset.labels["account_id"].iloc[outcome.rows])[0]
    days = dataset.labels["snapshot_date"].iloc[outcome.rows].to_numpy()
    order = np.lexsort((days, ids))
    same = ids[order][1:] == ids[order][:-1]
    left = np.zeros(int(ids.max()) + 1, dtype=np.bool_)
    left[ids[outcome.y == 0]] = True
    gone = left[ids[order][1:]] & same
    stayed = same & ~gone
    if gone.sum() < 20 or stayed.sum() < 20:
        return
    for feature in dataset.schema.features:
        codes = _codes(dataset.features[feature.name].iloc[outcome.rows], feature.kind)[order]
        moved = codes[1:] != codes[:-1]
        usual, theirs = float(moved[stayed].mean()), float(moved[gone].mean())
        if usual < _MOVING or theirs > _FROZEN_RATIO * usual:
            continue
        limit = _FROZEN_RATIO * usual * 2.0
        if bdtr(int(moved[gone].sum()), int(gone.sum()), limit) < 1e-3:
            said = (
                f"changes in {usual:.0%} of steps between snapshots, in {theirs:.0%} for accounts that left"
            )
            yield Finding(feature.name, "frozen", "quarantine", theirs, said, outcome.name)


def near_twins(dataset: Dataset) -> Iterator[Finding]:
    """Count accounts of different groups that agree in all fields but one at the same snapshot."""
    joined = int(dataset.facts.get("twins", 0))
    if joined:
        said = f"{joined} accounts agree with another one in every field; they share a fold"
        yield Finding("", "twins", "note", float(joined), said)
    features = dataset.schema.features
    columns = [_codes(dataset.features[feature.name], feature.kind) for feature in features]
    agree = np.array([_agreement(codes) for codes in columns])
    telling = np.flatnonzero(agree <= TELLING)
    n = len(dataset)
    share = np.maximum(agree[telling], 1e-9)
    if len(telling) <= LEAST_TELLING or 0.5 * n * (n - 1) * float(np.prod(np.sort(share)[1:])) > CHANCE:
        return
    rng = np.random.default_rng(0)
    groups = pd.factorize(dataset.groups)[0]
    mixed = [_mixed(codes, rng) for codes in (pd.factorize(dataset.features["as_of"])[0], *columns)]
    whole: npt.NDArray[Any] = np.stack(mixed).sum(axis=0, dtype=np.uint64)
    filled = np.stack([dataset.features[features[place].name].notna() for place in telling], axis=1)
    usable = np.flatnonzero(filled.sum(axis=1) > LEAST_TELLING)
    pairs: set[tuple[int, int]] = set()
    for part in mixed[1:]:
        rest = whole[usable] - part[usable]
        order = np.argsort(rest, kind="stable")
        same = np.flatnonzero(rest[order][1:] == rest[order][:-1])
        one, other = groups[usable[order[same]]], groups[usable[order[same + 1]]]
        apart = one != other
        low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
        pairs.update(zip(low.tolist(), high.tolist(), strict=True))
    if pairs:
        said = f"{len(pairs)} pairs of accounts agree in all fields but one; they may lie in different folds"
        yield Finding("", "twins", "note", float(len(pairs)), said)


def _mixed(codes: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    table: npt.NDArray[Any] = rng.integers(0, 2**63, int(codes.max()) + 2).astype(np.uint64)
    return np.asarray(table[codes], dtype=np.uint64)


def shadows(dataset: Dataset, outcome: Outcome, leaks: list[str]) -> Iterator[Finding]:
    """Find numbers from which a quarantined number can be computed (a sum or difference with other columns).

    Of the columns that are needed to compute it, the one that tells most of the outcome is named.
    """
    rows = outcome.rows[:: max(1, len(outcome.rows) // _SHADOW_ROWS)]
    numbers = [feature.name for feature in dataset.schema.features if feature.kind in ("numeric", "boolean")]
    hidden = set(leaks)
    for leak in [name for name in leaks if name in numbers]:
        wanted = dataset.features[leak].to_numpy(dtype=np.float64)[rows]
        for _ in range(_MOST_SHADOWS):
            rest = [name for name in numbers if name not in hidden]
            known, share = _explained(dataset, rest, rows, wanted)
            if share < _SHADOW:
                break
            needed = [
                name
                for name in rest
                if _explained(dataset, [n for n in rest if n != name], rows, wanted)[1] < share - 0.05
            ]
            named = max(needed or rest, key=lambda name: outcome.areas.get(name, (0.5, 0.0))[0])
            hidden.add(named)
            said = f"with other columns it gives {leak} back (R squared {share:.3f} in {known} rows)"
            yield Finding(named, "shadow", "quarantine", share, said, outcome.name)


def _explained(
    dataset: Dataset, names: list[str], rows: npt.NDArray[Any], wanted: Floats
) -> tuple[int, float]:
    """Return how many rows are known, and the share of variance of ``wanted`` that a plane explains."""
    if not names:
        return 0, 0.0
    table = dataset.features[names].to_numpy(dtype=np.float64)[rows]
    table = np.where(np.isnan(table), np.nanmedian(table, axis=0, keepdims=True), table)
    known = ~np.isnan(wanted)
    z = ndtri(0.999)
    if known.sum() < z * len(names) + 50:
        return int(known.sum()), 0.0
    design, aim = table[known], wanted[known]
    spread = design.std(axis=0)
    design = (design - design.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    aim = aim - aim.mean()
    total = float((aim**2).sum())
    if total == 0.0:
        return int(known.sum()), 0.0
    rest = aim - design @ np.linalg.lstsq(design, aim, rcond=None)[0]
    return int(known.sum()), 1.0 - float((rest**2).sum()) / total
