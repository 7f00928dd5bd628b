"""What users do today to find traits: each rival takes a plain table and returns claims.

Needs nothing of icp_ml, so that a python with other packages can run it:
python rival_methods.py NAME FOLDER (tables as parquet in, claims as json out)
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

Q, TOP, LEAST, TARGET = 0.10, 10, 10, "retained"
TOOL = "technologies="

Claim = dict[str, Any]


def widen(frame: pd.DataFrame, features: list[str]) -> pd.DataFrame:
    """Return one plain column a feature: numbers and flags as floats, tools as flags, categories as text."""
    wide: dict[str, Any] = {}
    for name in features:
        column = frame[name]
        if name == "technologies":
            known = column.map(lambda cell: isinstance(cell, list))
            held = column[known].explode().dropna().value_counts()
            for tool in sorted(held.index[held >= LEAST]):
                has = column.map(lambda cell, tool=tool: float(isinstance(cell, list) and tool in cell))
                wide[TOOL + tool] = has.where(known)
        elif pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            wide[name] = column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            wide[name] = column.astype(object).where(column.notna(), None)
    return pd.DataFrame(wide)


def kind_of(column: pd.Series[Any]) -> str:
    """Return category, flag or number."""
    if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
        return "category"
    return "flag" if set(column.dropna().unique()) <= {0.0, 1.0} else "number"


def levels_of(column: pd.Series[Any]) -> list[str]:
    return sorted(column.dropna().unique())


def claim(
    name: str, operator: str, value: Any, direction: float, lift: float | None = None, *, bare: bool = False
) -> Claim:
    """Return a claim in the words of the truth object.

    ``lift`` only where the rival names one; ``bare`` where it names a sign but no threshold or level.
    """
    tool = name.startswith(TOOL)
    if tool:
        value = name.removeprefix(TOOL)
    return {
        "feature": "technologies" if tool else name,
        "operator": operator,
        "value": value,
        "direction": 1 if direction >= 0 else -1,
        "lift": lift,
        "bare": bare,
    }


def more_is_better(column: pd.Series[Any], direction: float) -> Claim:
    """Say a bare sign as a claim: the upper half of the values (or of the level codes) does better."""
    name, kind = str(column.name), kind_of(column)
    if kind == "flag":
        return claim(name, "has", True, direction)
    if kind == "number":
        return claim(name, "between", [float(column.median()), None], direction, bare=True)
    levels = levels_of(column)
    return claim(name, "in", levels[len(levels) // 2 :], direction, bare=True)


def codes(wide: pd.DataFrame) -> pd.DataFrame:
    """Return the columns as numbers, categories by their code in alphabetical order."""
    return wide.apply(
        lambda c: (
            c.map({level: float(i) for i, level in enumerate(levels_of(c))}).astype(float)
            if kind_of(c) == "category"
            else c
        )
    )


def sign_of_link(values: pd.Series[Any], scores: np.ndarray) -> float:
    known = values.notna().to_numpy()
    if known.sum() < 3 or np.ptp(scores[known]) == 0 or values[known].nunique() < 2:
        return 1.0
    return float(np.sign(np.corrcoef(values[known], scores[known])[0, 1]))


def dummies(wide: pd.DataFrame) -> tuple[np.ndarray, list[tuple[str, str | None]]]:
    """Return standardised columns, one a level, missing values imputed; and what each column is."""
    parts, names = [], []
    for name, column in wide.items():
        if kind_of(column) == "category":
            for level in levels_of(column):
                parts.append((column == level).astype(float).to_numpy())
                names.append((str(name), level))
        else:
            middle = column.median() if kind_of(column) == "number" else column.mean()
            parts.append(column.fillna(middle).to_numpy())
            names.append((str(name), None))
    matrix = np.column_stack(parts)
    spread = matrix.std(axis=0)
    kept = spread > 0
    scaled = (matrix[:, kept] - matrix[:, kept].mean(axis=0)) / spread[kept]
    return scaled, [what for what, keep in zip(names, kept, strict=True) if keep]


def shap_top_ten(wide: pd.DataFrame, y: np.ndarray, seed: int) -> list[Claim]:
    """Top 10 by mean absolute SHAP of a default LightGBM, sign of the correlation of value and SHAP."""
    from lightgbm import LGBMClassifier

    x = codes(wide).set_axis([f"c{i}" for i in range(wide.shape[1])], axis=1)
    categories = [i for i, name in enumerate(wide) if kind_of(wide[name]) == "category"]
    x = x.astype({f"c{i}": "category" for i in categories})
    model = LGBMClassifier(verbose=-1, n_jobs=1, random_state=seed).fit(x, y)
    parts = np.asarray(model.booster_.predict(x, pred_contrib=True))[:, :-1]
    order = np.argsort(-np.abs(parts).mean(axis=0))[:TOP]
    plain = codes(wide)
    return [
        more_is_better(wide.iloc[:, j], sign_of_link(plain.iloc[:, j], parts[:, j]))
        for j in order
        if np.abs(parts[:, j]).any()
    ]


def splits_of(column: pd.Series[Any]) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Give every condition that is tried on a column: deciles, levels, or the flag itself."""
    if kind_of(column) == "flag":
        yield "has", True, column.to_numpy() == 1
    elif kind_of(column) == "number":
        for cut in np.unique(column.quantile(np.arange(0.1, 1.0, 0.1))):
            yield "between", [float(cut), None], column.to_numpy() >= cut
    else:
        for level in levels_of(column):
            yield "in", [level], column.to_numpy() == level


def best_split(column: pd.Series[Any], y: np.ndarray) -> tuple[float, Claim] | None:
    """Return the p-value and the claim of the best condition on a column, both from the same accounts."""
    known, best = column.notna().to_numpy(), None
    for operator, value, held in splits_of(column):
        inside, outside = y[held & known], y[~held & known]
        if min(len(inside), len(outside)) < LEAST:
            continue
        spread = np.sqrt(max(y[known].var(), 1e-9) * (1 / len(inside) + 1 / len(outside)))
        z = (inside.mean() - outside.mean()) / spread
        if best is None or abs(z) > abs(best[0]):
            best = z, operator, value, inside, outside
    if best is None:
        return None
    z, operator, value, inside, outside = best
    table = [[part.sum(), len(part) - part.sum()] for part in (inside, outside)]
    said = claim(str(column.name), operator, value, z, float(inside.mean() - y.mean()))
    return float(stats.fisher_exact(table)[1]), said


def accepted(tested: list[tuple[float, Claim]]) -> list[Claim]:
    """Return the claims that Benjamini-Hochberg accepts."""
    q_values = stats.false_discovery_control([p for p, _ in tested])
    return [said for (_, said), q in zip(tested, q_values, strict=True) if q <= Q]


def same_data_thresholds(wide: pd.DataFrame, y: np.ndarray, seed: int) -> list[Claim]:
    """Best threshold or level of each column, tested by Fisher on the accounts that chose it, then BH."""
    return accepted([found for name in wide if (found := best_split(wide[name], y))])


def univariate(wide: pd.DataFrame, y: np.ndarray, seed: int) -> list[Claim]:
    """Mann-Whitney or chi-squared a column, then BH; a level is named only to have a sign to judge."""
    tested = []
    for name in wide:
        column, known = wide[name], wide[name].notna().to_numpy()
        if kind_of(column) == "number":
            good, bad = column[known & (y == 1)], column[known & (y == 0)]
            found = stats.mannwhitneyu(good, bad)
            side = found.statistic - len(good) * len(bad) / 2
            tested.append((float(found.pvalue), more_is_better(column, side)))
        elif best := best_split(column, y):
            table = pd.crosstab(column[known], y[known])
            p = float(stats.chi2_contingency(table, correction=False).pvalue)
            tested.append((p, best[1] | {"lift": None}))
    return accepted(tested)


def stability_selection(wide: pd.DataFrame, y: np.ndarray, seed: int) -> list[Claim]:
    """Meinshausen-Buhlmann: L1 logistic on 100 half-samples, threshold .6, penalty for E[V] <= 1."""
    from sklearn.linear_model import LogisticRegression

    x, names = dummies(wide)
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(len(y))[: len(y) // 2] for _ in range(100)]
    aim, low, high = np.sqrt(0.2 * len(names)), -4.0, 1.0

    def fit(strength: float, rows: np.ndarray) -> np.ndarray:
        model = LogisticRegression(
            l1_ratio=1, C=10**strength, solver="liblinear", intercept_scaling=30, tol=1e-3, random_state=0
        )
        return model.fit(x[rows], y[rows]).coef_[0]

    for _ in range(8):  # the penalty under which about `aim` columns come in
        middle = (low + high) / 2
        count = np.mean([(fit(middle, rows) != 0).sum() for rows in halves[:6]])
        low, high = (middle, high) if count < aim else (low, middle)
    found = np.array([fit(low, rows) for rows in halves])
    share = (found != 0).mean(axis=0)
    chosen = [j for j in np.argsort(-share) if share[j] >= 0.6]
    return [one_column(wide, names[j], float(found[:, j].mean())) for j in chosen]


def one_column(wide: pd.DataFrame, what: tuple[str, str | None], side: float) -> Claim:
    name, level = what
    if level is None:
        return more_is_better(wide[name], side)
    return claim(name, "in", [level], side)


def ebm(wide: pd.DataFrame, y: np.ndarray, seed: int) -> list[Claim]:
    """Top 10 terms of a default EBM without pairs; for categories the levels whose score is positive."""
    from interpret.glassbox import ExplainableBoostingClassifier

    x = wide.set_axis([f"c{i}" for i in range(wide.shape[1])], axis=1)
    model = ExplainableBoostingClassifier(interactions=0, n_jobs=1, random_state=seed).fit(x, y)
    scores, plain = model.eval_terms(x), codes(wide)
    claims = []
    for term in np.argsort(-model.term_importances())[:TOP]:
        j = model.term_features_[term][0]
        column = wide.iloc[:, j]
        if kind_of(column) != "category":
            claims.append(more_is_better(column, sign_of_link(plain.iloc[:, j], scores[:, term])))
            continue
        good = sorted(set(column[(scores[:, term] > 0) & column.notna()]))
        claims.append(claim(str(column.name), "in", good, 1))
    return claims


def subgroups(wide: pd.DataFrame, y: np.ndarray, seed: int) -> list[Claim]:
    """Best five subgroups of at most two conditions by weighted relative accuracy (pysubgroup, beam)."""
    import pysubgroup as ps

    yes_no = {
        name: (wide[name] == 1).astype(object).where(wide[name].notna(), np.nan)
        for name in wide
        if kind_of(wide[name]) == "flag"
    }
    table = wide.assign(**yes_no)
    table[TARGET] = y == 1
    space = [s for s in ps.create_selectors(table, ignore=[TARGET]) if "isnull" not in str(s)]
    task = ps.SubgroupDiscoveryTask(
        table, ps.BinaryTarget(TARGET, True), space, result_set_size=5, depth=2, qf=ps.WRAccQF()
    )
    claims = []
    for _, group, _ in ps.BeamSearch().execute(task).results:
        lift = float(y[np.asarray(group.covers(table))].mean() - y.mean())
        claims.append({"conditions": [_condition(part) for part in group.selectors], "lift": lift})
    return claims


def _condition(part: Any) -> Claim:
    name = str(part.attribute_name)
    if hasattr(part, "lower_bound"):
        ends = [float(end) if np.isfinite(end) else None for end in (part.lower_bound, part.upper_bound)]
        return claim(name, "between", ends, 1)
    value = part.attribute_value
    if isinstance(value, bool | np.bool_):
        return claim(name, "has" if value else "lacks", True, 1)
    return claim(name, "in", [str(value)], 1)


def ipss_boosting(wide: pd.DataFrame, y: np.ndarray, seed: int) -> list[Claim]:
    """Integrated path stability selection at a false-discovery rate of .1, its default gradient boosting."""
    return _ipss(wide, y, seed, "gb")


def ipss_l1(wide: pd.DataFrame, y: np.ndarray, seed: int) -> list[Claim]:
    """Integrated path stability selection at a false-discovery rate of .1, L1 base."""
    return _ipss(wide, y, seed, "l1")


def _ipss(wide: pd.DataFrame, y: np.ndarray, seed: int, selector: str) -> list[Claim]:
    from ipss import ipss

    np.random.seed(seed)  # noqa: NPY002  (the package draws from the global generator)
    x, names = dummies(wide)
    found = ipss(x, y.astype(float), selector=selector, target_fdr=Q)["selected_features"]
    return [one_column(wide, names[int(j)], 1.0) for j in found]


Rival = Callable[[pd.DataFrame, np.ndarray, int], list[Claim]]
HOME: dict[str, Rival] = {
    "shap": shap_top_ten,
    "thresholds": same_data_thresholds,
    "stability": stability_selection,
    "univariate": univariate,
}
ELSEWHERE: dict[str, tuple[str, Rival]] = {
    "ebm": ("interpret", ebm),
    "pysubgroup": ("pysubgroup", subgroups),
    "ipss": ("ipss", ipss_boosting),
    "ipss_l1": ("ipss", ipss_l1),
}
SIGNLESS = ("ipss", "ipss_l1")


def timed(rival: Rival, wide: pd.DataFrame, y: np.ndarray, seed: int) -> tuple[list[Claim], float]:
    start = time.perf_counter()
    claims = rival(wide, y, seed)
    return claims, time.perf_counter() - start


def work(name: str, folder: Path) -> None:
    """Run one rival of the other python on every table of a folder ."""
    for path in sorted(folder.glob("*.parquet")):
        table = pd.read_parquet(path)
        y = table.pop(TARGET).to_numpy(dtype=float)
        claims, seconds = timed(ELSEWHERE[name][1], table, y, int(path.stem.split("_")[1]))
        said = json.dumps({"claims": claims, "seconds": seconds})
        path.with_suffix(f".{name}.json").write_text(said, encoding="utf-8")
        print(f"{name} {path.stem} {seconds:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
