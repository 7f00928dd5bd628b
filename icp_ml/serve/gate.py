"""The gate: numbers of two models on the same accounts in, a decision with its reasons out.

Knows no model, table or registry. Whoever calls it vouches that neither model saw the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from icp_ml import parameters
from icp_ml.errors import NotEnoughDataError
from icp_ml.model.calibration import log_loss_rows
from icp_ml.model.evaluation import TRAINING_LUCK
from icp_ml.model.folds import group_codes
from icp_ml.model.metrics import metric_errors
from icp_ml.statistics.recalibration import calibration_intercept, calibration_slope

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MOST_MARGIN, MOST_ACCOUNTS, MOST_RESAMPLES = 1000.0, 10**9, 1_000_000
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Rules:
    """What a challenger has to hold.

    Parameters
    ----------
    margin
        Log loss by which a challenger may be worse and still count as not worse (non-inferiority).
    superiority
        Ask for proof that it's better instead of proof that it isn't worse.
    part_margin
        Log loss by which no tier or segment may be worse.
    part_accounts
        Accounts from which a tier or segment is judged.
    slope
        Lowest and highest calibration slope that is let pass although its interval leaves out 1.
    intercept
        Largest shift of log-odds that is let pass although its interval leaves out 0.
    auc_drop
        AUC that a first model may lose between the folds of its training and the newest accounts.
    alpha
        Chance of calling a model not worse that is worse by the margin; shared by all parts of one question.
    calibration_alpha
        Chance of calling a right calibration wrong, two-sided.
    resamples
        Bootstrap samples of accounts.
    """

    margin: float = 0.005
    superiority: bool = False
    part_margin: float = 0.02
    part_accounts: int = 30
    slope: tuple[float, float] = (0.8, 1.25)
    intercept: float = 0.2
    auc_drop: float = 0.05
    alpha: float = 0.025
    calibration_alpha: float = 0.01
    resamples: int = 2000

    def __post_init__(self) -> None:
        for name in ("margin", "part_margin", "intercept", "auc_drop"):
            parameters.number(name, getattr(self, name), 0.0, MOST_MARGIN)
        for name in ("alpha", "calibration_alpha"):
            parameters.number(name, getattr(self, name), 0.0, 0.5, inside=True)
        parameters.flag("superiority", self.superiority)
        parameters.whole("part_accounts", self.part_accounts, 1, MOST_ACCOUNTS)
        parameters.whole("resamples", self.resamples, 1, MOST_RESAMPLES)
        parameters.interval("slope", self.slope, 0.0, MOST_MARGIN)


@dataclass(frozen=True, eq=False)
class Judged:
    """One target of one cohort, as both models see it; all arrays have one entry per row.

    Parameters
    ----------
    target
        Its name.
    y
        Outcome, 0 or 1.
    champion, challenger
        Log-odds. Where there's no champion, those of the base rate known before.
    accounts
        Account of each row; rows of one account are resampled together.
    parts
        Name of a tier or segment → whether the row belongs to it.
    promised
        AUC of the challenger in the folds of its training, and its error; None where nothing was validated.
    """

    target: str
    y: Floats
    champion: Floats
    challenger: Floats
    accounts: npt.NDArray[Any]
    parts: Mapping[str, Flags] = field(default_factory=dict)
    promised: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked: estimate, interval, number of accounts, and what follows.

    Parameters
    ----------
    name
        What was measured.
    passed
        Whether it lets the challenger through; always true where nothing hangs on it.
    estimate, low, high
        With its interval.
    accounts
        Accounts it rests on.
    said
        The finding as a sentence.
    """

    name: str
    passed: bool
    estimate: float
    low: float
    high: float
    accounts: int
    said: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the challenger goes ahead, and everything that was asked.

    Parameters
    ----------
    promoted
        Whether every check passed.
    checks
        The checks; the first compares log loss.
    notes
        Figures on which nothing hangs, such as the profile's stability.
    """

    promoted: bool
    checks: tuple[Check, ...]
    notes: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why, in one line: the main comparison, or everything that failed."""
        failed = [check.said for check in self.checks if not check.passed]
        return "; ".join(failed) if failed else self.checks[0].said

    def to_state(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        checks = [{key: _plain(value) for key, value in asdict(check).items()} for check in self.checks]
        return {
            "promoted": self.promoted,
            "reason": self.reason,
            "checks": checks,
            "notes": {key: _plain(value) for key, value in self.notes.items()},
        }


def decide(
    judged: Sequence[Judged],
    *,
    first: bool = False,
    rules: Rules | None = None,
    notes: Mapping[str, float | str] | None = None,
    against: str = "the champion",
    seed: int = 0,
) -> Decision:
    """Decide whether a challenger may replace a champion.

    Parameters
    ----------
    judged
        One entry per target that both models know; the rows were seen by neither in training.
    first
        There is no champion: ``champion`` holds the base rate. The challenger must not be proven worse than
        it, nor proven to be out of calibration, nor proven to rank the newest accounts worse than the folds
        of its training promised, by more than ``auc_drop``.
    rules
        Margins and levels.
    notes
        Figures to keep beside the decision.
    against
        What to call the other side.
    seed
        Seed of the resampling.

    Returns
    -------
    The decision. Log loss is averaged over targets. A difference is challenger less champion, negative is
    better.

    Raises
    ------
    NotEnoughDataError
        There is no row to judge on.

    Notes
    -----
    Non-inferiority by the upper end of a one-sided 97.5 % interval: Piaggio et al. (2012), *JAMA* 308. Paired
    differences resampled by account: Davison and Hinkley (1997), 3.8. Tiers and segments share ``alpha``
    (Bonferroni) and fail only if proven worse *and* by more than ``part_margin``: with ten of them, luck
    would else refuse most good challengers.

    Examples
    --------
    >>> y = np.tile([0.0, 1.0], 200)
    >>> good, none = np.where(y == 1.0, 0.4, -0.4), np.zeros(400)
    >>> better = Judged("retained", y, champion=none, challenger=good, accounts=np.arange(400))
    >>> decide([better], rules=Rules(slope=(0.0, 99.0), intercept=9.0)).promoted
    True
    >>> worse = Judged("retained", y, champion=good, challenger=none, accounts=np.arange(400))
    >>> decide([worse]).promoted
    False
    """
    rules = rules or Rules()
    if not judged or not any(len(part.y) for part in judged):
        raise NotEnoughDataError(
            "expected accounts that neither model saw, found none: wait for a newer finished snapshot"
        )
    table, accounts = _differences(judged, rules.resamples, seed)
    checks = [_overall(table[""], accounts[""], rules, first=first, against=against)]
    judged_parts = {name: table[name] for name in table if name and accounts[name] >= rules.part_accounts}
    if not first:
        checks += [
            _part(name, found, accounts[name], rules, len(judged_parts))
            for name, found in judged_parts.items()
        ]
    for part in judged:
        checks += _calibrated(part, rules, first=first)
        if first:
            checks += _kept_auc(part, rules)
    return Decision(all(check.passed for check in checks), tuple(checks), dict(notes or {}))


def _differences(
    judged: Sequence[Judged], resamples: int, seed: int
) -> tuple[dict[str, tuple[float, Floats]], dict[str, int]]:
    """Return per part (the whole is "") the difference in log loss, its resamples, and the accounts."""
    codes = np.unique(np.concatenate([part.accounts.astype(str) for part in judged]), return_inverse=True)[1]
    n = int(codes.max()) + 1
    names = ["", *dict.fromkeys(name for part in judged for name in part.parts)]
    ends = np.cumsum([len(part.y) for part in judged])
    sums = np.zeros((len(judged), len(names), n))
    sizes = np.zeros_like(sums)
    for t, (part, mine) in enumerate(zip(judged, np.split(codes, ends[:-1]), strict=True)):
        gap = log_loss_rows(part.y, part.challenger) - log_loss_rows(part.y, part.champion)
        for k, name in enumerate(names):
            kept = part.parts.get(name, np.full(len(gap), not name))
            sums[t, k] = np.bincount(mine[kept], gap[kept], minlength=n)
            sizes[t, k] = np.bincount(mine[kept], minlength=n)
    drawn = np.concatenate([_means(sums, sizes, weights) for weights in _weights(n, resamples, seed)])
    found = _means(sums, sizes, np.ones((1, n)))[0]
    counts = {name: int((sizes[:, k].sum(axis=0) > 0).sum()) for k, name in enumerate(names)}
    return {name: (float(found[k]), drawn[:, k]) for k, name in enumerate(names)}, counts


def _means(sums: Floats, sizes: Floats, weights: Floats) -> Floats:
    """Return the mean over targets of each part's mean, shape (rows of weights, parts)."""
    top, bottom = sums @ weights.T, sizes @ weights.T
    means = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
    known = ~np.isnan(means)
    total = np.where(known, means, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.zeros(total.shape), where=count > 0).T)


def _weights(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw accounts with replacement, a block of resamples at a time, so that memory stays bounded."""
    rng = np.random.default_rng(seed)
    block = max(_CELLS // n, 1)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        yield rng.multinomial(n, np.full(n, 1.0 / n), size=size).astype(np.float64)


def _overall(found: tuple[float, Floats], accounts: int, rules: Rules, *, first: bool, against: str) -> Check:
    estimate, drawn = found
    low, high = (float(value) for value in np.quantile(drawn, [rules.alpha, 1.0 - rules.alpha]))
    interval = f"({1 - 2 * rules.alpha:.0%} interval {low:+.4f} to {high:+.4f}, {accounts} accounts)"
    figures = f"log loss {estimate:+.4f} against {against} {interval}"
    if first:
        passed = low <= 0.0
        head = "first model, not worse than the base rate" if passed else "worse than the base rate"
    elif rules.superiority:
        passed = high < 0.0
        head = "better than the champion" if passed else "not proven better than the champion"
    else:
        passed = high <= rules.margin
        head = "not worse than the champion" if passed else "may be worse than the champion"
        figures += f", {'within' if passed else 'beyond'} the margin of {rules.margin}"
    return Check("log loss", passed, estimate, low, high, accounts, f"{head}: {figures}")


def _part(name: str, found: tuple[float, Floats], accounts: int, rules: Rules, count: int) -> Check:
    estimate, drawn = found
    level = rules.alpha / count
    low, high = (float(value) for value in np.quantile(drawn, [level, 1.0 - level]))
    passed = low <= 0.0 or estimate <= rules.part_margin
    said = (
        f"{name}: log loss {estimate:+.4f} ({1 - 2 * level:.1%} interval {low:+.4f} to {high:+.4f}, "
        f"{accounts} accounts), {'within' if passed else 'worse by more than'} {rules.part_margin}"
    )
    return Check(name, passed, estimate, low, high, accounts, said)


def _calibrated(part: Judged, rules: Rules, *, first: bool) -> list[Check]:
    """Check slope and intercept; a fault that the champion has at least as much is no ground to keep it.

    A first model has no champion beside it: it fails if the whole interval is out of bounds, so that few
    accounts don't refuse it by chance. A slope above 1 is no ground: such a model stays nearer to the base
    rate than it has to, and the base rate is what there is without it.
    """
    accounts = len(np.unique(part.accounts))
    quantile = float(ndtri(1.0 - rules.calibration_alpha / 2))
    measured = {"challenger": part.challenger, "champion": part.champion}
    slopes = {who: calibration_slope(part.y, odds, part.accounts) for who, odds in measured.items()}
    shifts = {who: calibration_intercept(part.y, odds, part.accounts) for who, odds in measured.items()}
    checks = []
    for name, values, right, bounds, off in (
        ("slope", slopes, 1.0, rules.slope, _off_slope),
        ("intercept", shifts, 0.0, (-rules.intercept, rules.intercept), abs),
    ):
        estimate, error = values["challenger"]
        low, high = estimate - quantile * error, estimate + quantile * error
        holds = np.isnan(estimate) or low <= right <= high or bounds[0] <= estimate <= bounds[1]
        highest = np.inf if name == "slope" else bounds[1]
        holds = holds or (first and low <= highest and bounds[0] <= high)
        shared = (
            not first and not np.isnan(values["champion"][0]) and off(values["champion"][0]) >= off(estimate)
        )
        passed = bool(holds or shared)
        verdict = "holds" if holds else "no worse than the champion's"
        verdict = verdict if passed else f"should be {right:g}"
        said = (
            f"{part.target}: calibration {name} {estimate:.2f} ({1 - rules.calibration_alpha:.0%} interval "
            f"{low:.2f} to {high:.2f}), {verdict}"
        )
        checks.append(Check(f"calibration {name} {part.target}", passed, estimate, low, high, accounts, said))
    return checks


def _kept_auc(part: Judged, rules: Rules) -> list[Check]:
    """Check that a first model ranks the newest accounts about as well as its folds promised."""
    if part.promised is None or not 0.0 < part.y.mean() < 1.0:
        return []
    estimate, error = metric_errors(
        part.y, part.challenger, group_codes(part.accounts, len(part.y)), names=("auc",)
    )["auc"]
    folds, folds_error = part.promised
    quantile = float(ndtri(1.0 - rules.calibration_alpha / 2))
    spread = quantile * float(np.sqrt(error**2 + TRAINING_LUCK["auc"] * folds_error**2))
    gap = estimate - folds
    low, high, accounts = gap - spread, gap + spread, len(np.unique(part.accounts))
    passed = bool(np.isnan(high) or high >= -rules.auc_drop)
    said = (
        f"{part.target}: AUC {estimate:.3f} on the newest accounts, {folds:.3f} in the folds of the training "
        f"({1 - rules.calibration_alpha:.0%} interval of the difference {low:+.3f} to {high:+.3f}), "
        + ("holds" if passed else f"lost more than {rules.auc_drop:g}: what was learnt no longer holds")
    )
    return [Check(f"auc {part.target}", passed, gap, low, high, accounts, said)]


def _off_slope(slope: float) -> float:
    """Say how far a slope is from 1, alike for half and double; one that ranks backwards is furthest off."""
    return abs(float(np.log(slope))) if slope > 0.0 else float("inf")


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
