"""Tripwires that need a model: a column too good beside all others, shuffled outcomes, columns of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from icp_ml.data.dataset import Dataset
from icp_ml.data.leakage import Leak, auc_of, check_leakage, measure
from icp_ml.data.schema import Schema
from icp_ml.data.tripwires import LEAST_ERRORS, find_tripwires, quarantine
from icp_ml.data.wires import Finding
from icp_ml.model.candidates import SCORED_ROLES
from icp_ml.model.columns import Columns, Floats, Ints, read_columns
from icp_ml.model.contributions import sums_by_source
from icp_ml.model.encoding import Encoder
from icp_ml.model.folds import group_codes, group_folds, group_subsample, possible_folds
from icp_ml.model.ridge import fit_linear_path
from icp_ml.statistics.threads import one_blas_thread

MOST_ROWS, MOST_SUSPECTS, N_FOLDS, PENALTY, N_NOISE = 3_000, 2, 3, 16.0, 5
JUMP, SUSPECT, SHUFFLE_LEVEL, CANARY_RANK = 0.10, 0.70, 0.001, 10
# Areas of fits to shuffled outcomes spread 1.3 to 1.4 times as far as those of one column of noise (five
# public sets, 40 shuffles each): the folds share most of their training rows.
SHUFFLE_SPREAD = 1.4


@dataclass(frozen=True)
class _Base:
    """A target on at most 3,000 rows, whole groups only."""

    name: str
    schema: Schema
    columns: Columns
    y: Floats
    codes: Ints
    seed: int


def watch(
    dataset: Dataset, *, allow: Sequence[str] = (), seed: int = 0
) -> tuple[Dataset, tuple[Finding, ...]]:
    """Run every tripwire before a fit: refuse, leave out, or note.

    Parameters
    ----------
    dataset
        Labelled accounts.
    allow
        Columns that are known to be honest: no wire speaks of them.
    seed
        Decides which accounts are looked at where there are many, how outcomes are shuffled, and the noise.

    Returns
    -------
    dataset, findings
        What may be fitted, and all that was found.

    Raises
    ------
    LeakageError
        If a single feature separates a target, or no column is left.

    Warns
    -----
    LeakageWarning
        If columns or tools were left out.
    """
    measured = measure(dataset)
    check_leakage(dataset, allow, measured)
    found = list(find_tripwires(dataset, allow, measured))
    out = {finding.column for finding in found if finding.severity == "quarantine" and finding.tool is None}
    with one_blas_thread():
        for target in dict.fromkeys(leak.target for leak in measured):
            own = [leak for leak in measured if leak.target == target]
            found += find_jumps(dataset, target, own, skip={*allow, *out}, seed=seed)
    kept = quarantine(dataset, found)
    with one_blas_thread():
        for target in dict.fromkeys(leak.target for leak in measured):
            base = _base(kept, target, seed)
            if base is not None:
                found += [*_shuffled(base), *_canary(base)]
    return kept, tuple(found)


def find_jumps(
    dataset: Dataset, target: str, measured: Sequence[Leak], *, skip: set[str], seed: int = 0
) -> list[Finding]:
    """Find the column without which the out-of-fold AUC of all others falls by .10 or more.

    Looked at are the two strongest features with an AUC of .70 or more by themselves, beside a ridge logistic
    of all columns that aren't in ``skip``. A note only: on public sets honest columns reach .17 (employees of
    five columns in smcrm, age in the bank's churn) and call durations .14.
    """
    areas: dict[str, float] = {}
    for leak in measured:
        if leak.column not in skip and leak.errors >= LEAST_ERRORS and leak.tool is None:
            areas[leak.column] = max(areas.get(leak.column, 0.0), leak.auc)
    suspects = sorted((name for name in areas if areas[name] >= SUSPECT), key=lambda name: -areas[name])
    base = _base(dataset, target, seed, without=skip) if suspects else None
    if base is None or len(base.schema.features) < 3:
        return []
    with_all = _area(base, base.y)
    found = []
    for name in suspects[:MOST_SUSPECTS]:
        rest = with_all - _area(_without(base, name), base.y)
        if rest >= JUMP:
            said = f"the out-of-fold AUC for {target} is {with_all:.3f}, without it {with_all - rest:.3f}"
            found.append(Finding(name, "jump", "note", rest, said, target))
    return found


def shuffled_outcomes(dataset: Dataset, target: str, seed: int = 0) -> list[Finding]:
    """Shuffle a target among groups; the out-of-fold AUC must lie in its null interval (99.9 %)."""
    base = _base(dataset, target, seed)
    return [] if base is None else _shuffled(base)


def noise_canary(dataset: Dataset, target: str, seed: int = 0) -> list[Finding]:
    """Say at which rank the best of five columns of pure noise stands, if among the first ten."""
    base = _base(dataset, target, seed)
    return [] if base is None else _canary(base)


def _base(dataset: Dataset, target: str, seed: int, without: set[str] | None = None) -> _Base | None:
    kept = tuple(feature for feature in dataset.schema.features if feature.name not in (without or set()))
    rows, y = dataset.target(target)
    if not kept or not 0 < y.sum() < len(y):
        return None
    codes = group_codes(dataset.groups[rows], len(rows))
    chosen = group_subsample(codes, y, MOST_ROWS / len(rows), seed)
    schema = Schema(kept)
    if possible_folds(y[chosen], codes[chosen], N_FOLDS) < N_FOLDS:
        return None
    columns = read_columns(dataset.features.iloc[rows[chosen]], schema)
    return _Base(target, schema, columns, y[chosen], group_codes(codes[chosen], len(chosen)), seed)


def _without(base: _Base, name: str) -> _Base:
    kept = tuple(feature for feature in base.schema.features if feature.name != name)
    return _Base(base.name, Schema(kept), base.columns, base.y, base.codes, base.seed)


def _scored(encoder: Encoder) -> npt.NDArray[np.bool_]:
    return np.array([part.role in SCORED_ROLES for part in encoder.parts], dtype=np.bool_)


def _out_of_fold(base: _Base, y: Floats, folds: Ints) -> Floats:
    log_odds = np.empty(len(y))
    for k in range(N_FOLDS):
        train, held = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        group = np.unique(base.codes[train], return_inverse=True)[1]
        encoder, matrix = Encoder.fit_transform(
            base.columns.take(train), base.schema, y[train], group, base.seed
        )
        (model,) = fit_linear_path(matrix, y[train], _scored(encoder), (PENALTY,))
        log_odds[held] = model.raw(encoder.transform(base.columns.take(held)))
    return log_odds


def _area(base: _Base, y: Floats) -> float:
    folds = group_folds(y, base.codes, N_FOLDS, base.seed)
    return _mean_area(_out_of_fold(base, y, folds), y, folds)


def _mean_area(log_odds: Floats, y: Floats, folds: Ints) -> float:
    """Return the mean of the folds' areas; pooled folds would carry their different base rates."""
    return float(np.mean([auc_of(log_odds[folds == k], y[folds == k]) for k in range(N_FOLDS)]))


def _shuffled(base: _Base) -> list[Finding]:
    y = _shuffle(base)
    folds = group_folds(y, base.codes, N_FOLDS, base.seed)
    if any(not 0 < y[folds == k].sum() < (folds == k).sum() for k in range(N_FOLDS)):
        return []
    area = _mean_area(_out_of_fold(base, y, folds), y, folds)
    half = SHUFFLE_SPREAD * ndtri(1.0 - SHUFFLE_LEVEL / 2.0) * _null_error(y, base.codes)
    said = f"with shuffled {base.name} the out-of-fold AUC is {area:.3f}, within .5 +- {half:.3f}"
    if abs(area - 0.5) > half:
        said = f"with shuffled {base.name} the out-of-fold AUC is {area:.3f}, outside .5 +- {half:.3f}: " + (
            "rows that belong together may lie in different folds"
        )
    return [Finding("", "shuffle", "note", area, said, base.name)]


def _shuffle(base: _Base) -> Floats:
    """Exchange the outcomes of groups of equal size, so that rows of a group keep what they share."""
    rng = np.random.default_rng(base.seed)
    size = np.bincount(base.codes)
    order = np.argsort(base.codes, kind="stable")
    start = np.cumsum(size) - size
    y = np.empty(len(base.y))
    for n in np.unique(size):
        place = order[start[size == n][:, None] + np.arange(n)]
        y[place] = base.y[place][rng.permutation(len(place))]
    return y


def _null_error(y: Floats, codes: Ints) -> float:
    """Return the standard error of the AUC of nothing, as if each group were one row."""
    rows_per_group = len(y) / (int(codes.max()) + 1)
    events = float(y.sum()) / rows_per_group
    others = float(len(y) - y.sum()) / rows_per_group
    return float(np.sqrt((events + others + 1.0) / (12.0 * events * others)))


def _canary(base: _Base) -> list[Finding]:
    encoder, matrix = Encoder.fit_transform(base.columns, base.schema, base.y, base.codes, base.seed)
    noise = np.random.default_rng(base.seed).standard_normal((len(matrix), N_NOISE))
    scored = np.concatenate([_scored(encoder), np.ones(N_NOISE, dtype=np.bool_)])
    full = np.concatenate([matrix, noise], axis=1)
    (model,) = fit_linear_path(full, base.y, scored, (PENALTY,))
    parts = model.contributions(full)
    n_sources = len(base.schema.features)
    total = sums_by_source(parts, encoder.source_of, n_sources)
    best = float(parts[:, -N_NOISE:].std(axis=0).max())
    rank = 1 + int((total.std(axis=0) > best).sum())
    if rank > min(CANARY_RANK, n_sources):
        return []
    said = f"the best of {N_NOISE} columns of pure noise ranks {rank} of {n_sources + 1} for {base.name}"
    return [Finding("", "canary", "note", float(rank), said, base.name)]


def facts_of(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return findings as plain dicts, the gravest first, for the facts of a model."""
    grave = {"refuse": 0, "quarantine": 1, "note": 2}
    return [finding.to_dict() for finding in sorted(findings, key=lambda finding: grave[finding.severity])]
