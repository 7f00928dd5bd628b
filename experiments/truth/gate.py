"""How often does the gate decide rightly? Calibrated models of known skill, simulated on their chances."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from icp_ml.serve.gate import Decision, Judged, Rules, decide
from icp_ml.statistics import wilson

HERE = Path(__file__).resolve().parent
ACCOUNTS = 1000
RUNS = 200
SEEDS = 11  # the levels were chosen on seeds of 7
BASE = 1.0  # log-odds; about 70 % are retained
SHARED = 0.85  # log-odds per unit of what both models know
NODES, MASS = np.polynomial.hermite_e.hermegauss(41)
MASS = MASS / MASS.sum()
POPULATION = 400_000


def known_part(log_odds: np.ndarray, unknown: float) -> np.ndarray:
    """Return calibrated log-odds of one who doesn't know a normal part of standard deviation ``unknown``."""
    return logit(expit(log_odds[:, None] + unknown * NODES) @ MASS)


def draw(rng: np.random.Generator, n: int, extra: float, mine: float) -> tuple[np.ndarray, ...]:
    """Outcomes, and the log-odds of two calibrated models: A knows the ``mine`` part, B the ``extra`` one."""
    shared, a, b = rng.normal(size=(3, n))
    y = (rng.random(n) < expit(BASE + SHARED * shared + mine * a + extra * b)).astype(float)
    one = known_part(BASE + SHARED * shared + mine * a, extra)
    other = known_part(BASE + SHARED * shared + extra * b, mine)
    return y, one, other


def auc(y: np.ndarray, score: np.ndarray) -> float:
    ranks = np.empty(len(y))
    ranks[np.argsort(score)] = np.arange(1, len(y) + 1)
    good = y.sum()
    return float((ranks[y == 1].sum() - good * (good + 1) / 2) / (good * (len(y) - good)))


def loss(y: np.ndarray, f: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0.0, f) - y * f))


def solve(gain: Callable[[float], float], target: float) -> float:
    return float(brentq(lambda extra: gain(extra) - target, 0.01, 2.0, xtol=1e-3))


def gained_auc(extra: float) -> float:
    y, one, other = draw(np.random.default_rng(1), POPULATION, extra, 0.0)
    return auc(y, other) - auc(y, one)


def gained_loss(extra: float) -> float:
    y, one, other = draw(np.random.default_rng(1), POPULATION, extra, 0.0)
    return loss(y, one) - loss(y, other)


def parts(rng: np.random.Generator, score: np.ndarray) -> dict[str, np.ndarray]:
    """Four tiers by score and four segments of any accounts."""
    tier = np.digitize(score, np.quantile(score, [0.25, 0.5, 0.75]))
    found = {f"tier {name}": tier == k for k, name in enumerate("DCBA")}
    return found | {f"segment {k}": rng.random(len(score)) < 0.25 for k in range(4)}


def judged(
    rng: np.random.Generator, y: np.ndarray, champion: np.ndarray, challenger: np.ndarray
) -> list[Judged]:
    return [Judged("retained", y, champion, challenger, np.arange(len(y)), parts(rng, champion))]


def cells() -> dict[str, tuple[str, float, Callable[[np.random.Generator], Decision]]]:
    """Name → (what is counted, its bar, one comparison)."""
    better, margin = solve(gained_auc, 0.02), solve(gained_loss, Rules().margin)
    own = better  # what each of two equal models knows that the other doesn't

    def equal(rng: np.random.Generator, **changes: bool) -> Decision:
        y, one, other = draw(rng, ACCOUNTS, own, own)
        return decide(judged(rng, y, one, other), rules=Rules(**changes))

    def ahead(rng: np.random.Generator, extra: float = better) -> Decision:
        y, less, more = draw(rng, ACCOUNTS, extra, 0.0)
        return decide(judged(rng, y, less, more))

    def behind(rng: np.random.Generator, extra: float) -> Decision:
        y, less, more = draw(rng, ACCOUNTS, extra, 0.0)
        return decide(judged(rng, y, more, less))

    def distorted(rng: np.random.Generator, slope: float, shift: float, extra: float = better) -> Decision:
        y, less, more = draw(rng, ACCOUNTS, extra, 0.0)
        return decide(judged(rng, y, less, shift + BASE + slope * (more - BASE)))

    def broken_segment(rng: np.random.Generator) -> Decision:
        y, less, more = draw(rng, 4 * ACCOUNTS, 2 * better, 0.0)
        inside = rng.random(len(y)) < 0.15
        challenger = np.where(inside, rng.permutation(more), more)
        return decide(
            [Judged("retained", y, less, challenger, np.arange(len(y)), {"segment": inside, "rest": ~inside})]
        )

    return {
        "equal models, superiority asked": ("promoted", 0.05, lambda rng: equal(rng, superiority=True)),
        "worse by the margin (0.005 log loss)": ("promoted", 0.05, lambda rng: behind(rng, margin)),
        "worse by 2 points of AUC": ("promoted", 0.05, lambda rng: behind(rng, better)),
        "equal models, default": ("promoted", 1.0, equal),
        "better by 2 points of AUC": ("promoted", -0.80, ahead),
        "better by 2 points, overconfident x1.5": ("refused", -0.95, lambda rng: distorted(rng, 1.5, 0.0)),
        "better by 2 points, overconfident x2": ("refused", -0.95, lambda rng: distorted(rng, 2.0, 0.0)),
        "better by 2 points, underconfident x0.6": ("refused", -0.95, lambda rng: distorted(rng, 0.6, 0.0)),
        "better by 2 points, shifted by 0.5": ("refused", -0.95, lambda rng: distorted(rng, 1.0, 0.5)),
        "better by 2 points, shifted by -0.5": ("refused", -0.95, lambda rng: distorted(rng, 1.0, -0.5)),
        "better but random in one segment": ("refused", -0.95, broken_segment),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few comparisons, nothing written")
    parser.add_argument("--out", type=Path, default=None, help="folder for gate.json (default: beside this)")
    said = parser.parse_args()
    runs = 10 if said.smoke else RUNS
    result = {"accounts": ACCOUNTS, "runs": runs, "cells": []}
    for name, (counted, bar, compare) in cells().items():
        decisions = [compare(np.random.default_rng([SEEDS, seed])) for seed in range(runs)]
        hits = sum(found.promoted == (counted == "promoted") for found in decisions)
        low, high = (float(value) for value in wilson(hits, runs))
        holds = hits / runs <= bar if bar > 0 else hits / runs >= -bar
        row = {"cell": name, "counted": counted, "share": hits / runs, "low": low, "high": high, "n": runs}
        row |= {"bar": f"{'at most' if bar > 0 else 'at least'} {abs(bar):.0%}", "holds": bool(holds)}
        failed: dict[str, int] = {}
        for found in decisions:
            for check in found.checks:
                if not check.passed:
                    failed[check.name] = failed.get(check.name, 0) + 1
        result["cells"].append(row | {"refused_by": failed})
        print(
            f"{name:42} {counted} {hits / runs:6.1%} ({low:.1%} to {high:.1%}, n {runs}), {row['bar']}"
            f"{'' if holds else '  MISSED'}   refused by {failed}"
        )
    folder = said.out or (None if said.smoke else HERE)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gate.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
