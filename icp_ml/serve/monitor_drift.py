"""How the fields and the score of a batch differ from what the bundle stored of the training accounts.

Every effect is a share of accounts with a sign, so that a number, a level, a tool and the score can be
compared; every effect stands beside what a batch of that size would show without any change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betaincinv, ndtr, ndtri

from icp_ml.data.floor import FLOOR
from icp_ml.data.schema import Schema
from icp_ml.data.technologies import LIST_DTYPE
from icp_ml.data.values import TEXT_DTYPE
from icp_ml.model.columns import Columns
from icp_ml.serve.margins import LevelMargin, NumberMargin, ToolMargin
from icp_ml.serve.typicality import Detector, Typicality

if TYPE_CHECKING:
    from icp_ml.serve.icpmodel import IcpModel
    from icp_ml.serve.reference import Reference

Floats = npt.NDArray[np.float64]

DRIFT_COLUMNS = (
    "feature",
    "kind",
    "what",
    "effect",
    "noise_floor",
    "reference",
    "batch",
    "contribution_weight",
    "alarm",
)
SCORE, ALL_FIELDS = "fit score", "all fields"
SCORE_SHARE = 0.25
"""Part of the false-alarm chance that the score and the mix of fields take together; the fields share the
rest field by field, so that one column of a thousand levels doesn't blind the others."""
MIX_BIAS, MIX_SPREAD = 0.5, 16.0
"""What fitting the typicality on m accounts adds to the mean rank of fresh ones (times 1/sqrt(m)), and to its
standard deviation (times 1/m): measured on simulated accounts of 46 fields, m from 150 to 3,000."""
WEIGHT_ROWS, WEIGHT_SEED = 512, 20_262


@dataclass(frozen=True, slots=True)
class Limits:
    """When a difference is an alarm.

    Parameters
    ----------
    chance
        Chance of any false drift alarm in a batch of the same population.
    material
        Least effect, as a share of accounts; a smaller one is listed and no alarm.
    least_weight
        Least share of a field in the score; a field below it is listed and no alarm.
    """

    chance: float = 0.02
    material: float = 0.05
    least_weight: float = 0.01


@dataclass(frozen=True, slots=True)
class Change:
    """One comparison before it's judged.

    Parameters
    ----------
    feature, kind, what
        Field; ``number``, ``level``, ``tool``, ``new``, ``unknown``, ``score`` or ``mix``; which value of it.
    effect, floor
        Share of accounts with a sign, and what luck stays below.
    reference, batch
        The two shares compared.
    """

    feature: str
    kind: str
    what: str
    effect: float
    floor: float
    reference: float
    batch: float

    @property
    def excess(self) -> float:
        """Effect in units of what luck reaches."""
        return abs(self.effect) / max(self.floor, 1e-12)


def drift_rows(model: IcpModel, columns: Columns, fit_score: Floats, limits: Limits) -> pd.DataFrame:
    """Compare a batch with the training accounts, field by field and as a whole.

    Parameters
    ----------
    model
        A trained model.
    columns
        The batch, one row per account.
    fit_score
        The score that ranks its accounts, per row.
    limits
        When a difference is an alarm.

    Returns
    -------
    Rows with the columns of ``DRIFT_COLUMNS``; alarms first, then those beyond the floor, then by effect
    times weight. Of the levels and tools of a field the most changed one is listed, and every other one
    beyond the floor.
    """
    typicality = model.reference.typicality
    weights = field_weights(model)
    whole = limits.chance * SCORE_SHARE / 2.0
    changes = [_score(model.reference, fit_score, whole), _mix(typicality, columns, whole)]
    chances = shared_chances(weights, limits)
    changes += list(_fields(typicality, columns, chances))
    rows = []
    for change in changes:
        weight = 1.0 if change.kind in ("score", "mix") else weights[change.feature]
        seen = change.effect if change.kind == "mix" else abs(change.effect)
        alarm = seen > max(change.floor, limits.material) and weight >= limits.least_weight
        rows.append(
            (
                change.feature,
                change.kind,
                change.what,
                change.effect,
                change.floor,
                change.reference,
                change.batch,
                weight,
                alarm,
            )
        )
    table = pd.DataFrame(rows, columns=list(DRIFT_COLUMNS))
    size = (table["effect"].abs() * table["contribution_weight"]).to_numpy()
    beyond = (table["effect"].abs() > table["noise_floor"]).to_numpy()
    names = [table[name].to_numpy(dtype=str) for name in ("what", "kind", "feature")]
    order = np.lexsort((*names, -size, ~beyond, ~table["alarm"].to_numpy(dtype=bool)))
    return table.iloc[order].reset_index(drop=True)


def _score(reference: Reference, fit_score: Floats, chance: float) -> Change:
    """Chance that an account of the batch scores above a training account, minus one half."""
    n, m = len(fit_score), reference.typicality.n_accounts
    above = float(reference.percentile(fit_score).mean() / 100.0)
    floor = _normal_floor(chance, n, m)
    return Change(
        SCORE, "score", f"{reference.basis} above a training account's", above - 0.5, floor, 0.5, above
    )


def _mix(typicality: Typicality, columns: Columns, chance: float) -> Change:
    """Chance that an account of the batch is more unlike the training accounts than one of these."""
    above = float(typicality.percentile(columns).mean() / 100.0)
    floor = mix_floor(chance, columns.n_rows, typicality.n_accounts)
    return Change(ALL_FIELDS, "mix", "unlike the training accounts", above - 0.5, floor, 0.5, above)


def _normal_floor(chance: float, n: int, m: int) -> float:
    """Return what a mean rank in (0, 1) of n among m stays below (Mann and Whitney 1947)."""
    return float(-ndtri(chance / 2.0) * np.sqrt((1.0 / n + 1.0 / m) / 12.0))


def mix_floor(chance: float, n: int, m: int) -> float:
    """Return what the mean atypicality of n fresh accounts stays below; it was fitted on m others."""
    spread = np.sqrt((1.0 / n + 1.0 / m) / 12.0 + (MIX_SPREAD / m) ** 2)
    return float(MIX_BIAS / np.sqrt(m) - ndtri(chance) * spread)


def shared_chances(weights: Mapping[str, float], limits: Limits) -> dict[str, float]:
    """Share the chance of a false alarm among the fields that can raise one, half of it by their weight.

    Weighted Bonferroni (Genovese, Roeder and Wasserman 2006, *Biometrika* 93, 509-524): the weights don't
    depend on the batch. A field too light for an alarm gets a floor as if all fields were alike.
    """
    chance = limits.chance * (1.0 - SCORE_SHARE)
    heavy = {name: weight for name, weight in weights.items() if weight >= limits.least_weight}
    total = sum(heavy.values())
    found = dict.fromkeys(weights, chance / max(len(weights), 1))
    for name, weight in heavy.items():
        found[name] = chance * (0.5 / len(heavy) + (0.5 * weight / total if total > 0 else 0.5 / len(heavy)))
    return found


def _fields(typicality: Typicality, columns: Columns, chances: Mapping[str, float]) -> Iterator[Change]:
    detector, m = typicality.detector, typicality.n_accounts
    said = detector.surprises(columns)
    margins: list[tuple[str, LevelMargin | ToolMargin]] = [*detector.levels.items(), *detector.tools.items()]
    kinds = {name: 2.0 if name in detector.numbers else 3.0 for name in chances}
    each = {name: chance / kinds[name] for name, chance in chances.items()}
    for name, margin in detector.numbers.items():
        yield _number(name, margin, columns.numbers[name], detector.known[name] * m, each[name])
    for name, level_margin in detector.levels.items():
        yield from _shares(
            name, "level", level_margin.shared, level_margin.total, _levels(columns, name), each[name]
        )
    for name, tool_margin in detector.tools.items():
        yield from _shares(
            name, "tool", tool_margin.counts, tool_margin.total, _tools(columns, name), each[name]
        )
    for name, either in margins:
        n = int((~said.missing[name]).sum())
        expected = float(np.exp(-either.new))
        share = float((said.new[name] > 0).sum()) / max(n, 1)
        yield _share(name, "new", "has values never seen", expected, share, n, either.total, each[name])
    for name, gone in said.missing.items():
        expected = float(1.0 - detector.known[name])
        yield _share(
            name, "unknown", "is unknown", expected, float(gone.mean()), columns.n_rows, m, each[name]
        )


def _number(name: str, margin: NumberMargin, values: Floats, m: float, chance: float) -> Change:
    """Largest difference between shares above a value; the floor is that of Dvoretzky, Kiefer, Wolfowitz.

    The constant is Massart's (1990, *Annals of Probability* 18, 1269-1283), for both samples.
    """
    known = np.sort(values[np.isfinite(values)])
    if len(known) == 0:
        return Change(name, "number", "above any value", 0.0, 1.0, float("nan"), float("nan"))
    knots = np.asarray(margin.knots)
    theirs = 1.0 - ndtr(np.asarray(margin.scores))
    above = 2 * len(known) - np.searchsorted(known, knots, "left") - np.searchsorted(known, knots, "right")
    ours = above / (2.0 * len(known))
    most = int(np.argmax(np.abs(ours - theirs)))
    floor = float(np.sqrt(np.log(2.0 / chance) / 2.0 * (1.0 / len(known) + 1.0 / max(m, 1.0))))
    found, expected = float(ours[most]), float(theirs[most])
    return Change(name, "number", f"above {knots[most]:,.6g}", found - expected, floor, expected, found)


def _levels(columns: Columns, name: str) -> tuple[dict[str, int], int]:
    column = columns.categories[name]
    codes = column.codes[column.codes >= 0]
    counts = np.bincount(codes, minlength=len(column.levels))
    return dict(zip(column.levels, counts.tolist(), strict=True)), len(codes)


def _tools(columns: Columns, name: str) -> tuple[dict[str, int], int]:
    column = columns.tools[name]
    counts = np.asarray(column.uses.sum(axis=0)).ravel().astype(int)
    return dict(zip(column.names, counts.tolist(), strict=True)), int(column.known.sum())


def _shares(
    name: str,
    kind: str,
    counts: Mapping[str, int],
    total: int,
    found: tuple[Mapping[str, int], int],
    chance: float,
) -> Iterator[Change]:
    """Yield the most changed level or tool, and every other one beyond its floor."""
    batch, n = found
    every = sorted({*counts, *(key for key, count in batch.items() if count >= FLOOR)})
    if n == 0 or not every:
        return
    verb = "is" if kind == "level" else "holds"
    changes = [
        _share(
            name,
            kind,
            f"{verb} {key}",
            counts.get(key, 0) / max(total, 1),
            batch.get(key, 0) / n,
            n,
            total,
            chance / len(every),
        )
        for key in every
    ]
    most = max(changes, key=lambda change: (change.excess, change.what))
    for change in changes:
        if change is most or abs(change.effect) > change.floor:
            yield change


def _share(
    feature: str, kind: str, what: str, reference: float, batch: float, n: int, m: float, chance: float
) -> Change:
    effect = batch - reference
    floor = share_floor(reference, n, m, chance, rise=effect >= 0)
    return Change(feature, kind, what, effect, floor, reference, batch)


def share_floor(share: float, n: float, m: float, chance: float, *, rise: bool) -> float:
    """Return how far luck moves a share that was seen in m accounts, in a batch of n.

    Parameters
    ----------
    share
        Share among the m accounts, 0 to 1.
    n, m
        Sizes of batch and reference.
    chance
        Chance that luck moves it further, both directions together.
    rise
        Whether the share rose; falls and rises have different floors near 0 and 1.

    Notes
    -----
    Predictive distribution under Jeffreys' prior, as a beta distribution of the same mean and variance; half
    an account is added for the steps of a count.

    Examples
    --------
    >>> round(share_floor(0.0, 1000, 1000, 1e-4, rise=True), 3)
    0.015
    >>> round(share_floor(0.3, 1000, 1000, 0.05, rise=True), 3)
    0.042
    """
    if n <= 0 or m <= 0:
        return 1.0
    middle = (share * m + 0.5) / (m + 1.0)
    size = n * m / (n + m)
    tail = 1.0 - chance / 2.0 if rise else chance / 2.0
    end = float(betaincinv(middle * size, (1.0 - middle) * size, tail))
    return max(end - share if rise else share - end, 0.0) + 0.5 / n


def field_weights(model: IcpModel) -> dict[str, float]:
    """Return how much each field contributes to the score: shares that add up to 1.

    A field's part is the mean distance of its contribution (log-odds) from its own mean, over 512 accounts
    drawn from the stored fields of the training accounts, each field on its own; averaged over targets. It
    doesn't depend on the batch. A model without skill weighs all fields alike.
    """
    rows = reference_rows(model.reference.typicality.detector, model.schema, WEIGHT_ROWS)
    parts = np.zeros(len(model.schema.names))
    for classifier in model.propensities.values():
        values = classifier.contributions(rows)[model.schema.names].to_numpy()
        spread = np.abs(values - values.mean(axis=0)).mean(axis=0)
        if spread.sum() > 0:
            parts += spread / spread.sum()
    weights = parts / parts.sum() if parts.sum() > 0 else np.full(len(parts), 1.0 / len(parts))
    return dict(zip(model.schema.names, weights.tolist(), strict=True))


def reference_rows(detector: Detector, schema: Schema, n: int) -> pd.DataFrame:
    """Draw accounts from what the bundle stored of each field, the fields independent of each other."""
    rng = np.random.default_rng(WEIGHT_SEED)
    columns: dict[str, Any] = {}
    for feature in schema.features:
        name = feature.name
        gone = rng.random(n) > detector.known[name]
        spread = rng.permutation((np.arange(n) + 0.5) / n)
        if name in detector.levels:
            columns[name] = _drawn_levels(detector.levels[name], spread, gone)
        elif name in detector.tools:
            columns[name] = _drawn_tools(detector.tools[name], rng, gone)
        elif name in detector.numbers:
            drawn = _drawn_numbers(detector.numbers[name], spread, boolean=feature.kind == "boolean")
            columns[name] = np.where(gone, np.nan, drawn)
        else:
            columns[name] = np.full(n, np.nan)
    return pd.DataFrame(columns)


def _drawn_numbers(margin: NumberMargin, spread: Floats, *, boolean: bool) -> Floats:
    if not boolean:
        return np.asarray(np.interp(ndtri(spread), margin.scores, margin.knots))
    # the stored score of a value is that of the middle of its accounts
    zeros = 2.0 * float(ndtr(margin.scores[0])) if margin.knots[0] == 0.0 else margin.lower.share
    return (spread >= zeros).astype(np.float64)


def _drawn_levels(margin: LevelMargin, spread: Floats, gone: npt.NDArray[np.bool_]) -> pd.Series[Any]:
    levels = np.array([*margin.counts, None], dtype=object)
    ends = np.cumsum(list(margin.counts.values())) / max(margin.total, 1)
    picked = levels[np.searchsorted(ends, spread)]
    picked[gone] = None
    return pd.Series(picked, dtype=TEXT_DTYPE)


def _drawn_tools(margin: ToolMargin, rng: np.random.Generator, gone: npt.NDArray[np.bool_]) -> pd.Series[Any]:
    names = np.array(list(margin.counts), dtype=object)
    shares = np.array(list(margin.counts.values()), dtype=np.float64) / max(margin.total, 1)
    held = rng.random((len(gone), len(names))) < shares
    lists = [None if lost else names[has].tolist() for has, lost in zip(held, gone, strict=True)]
    return pd.Series(lists, dtype=LIST_DTYPE)
