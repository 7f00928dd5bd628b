"""Odd numbers through every public function: a sane answer or a named refusal, nothing else.

What comes of a case is one of: ok, refused (an error of ours), traceback (another error), nan (a result that
must be a number is none), hang, noise (a RuntimeWarning, or words of a dependency on stdout or stderr).

    python experiments/faults/odd_numbers.py            # all cases, written to odd_numbers.json
    python experiments/faults/odd_numbers.py --smoke    # parameters, and the data cases that take a moment
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import icp_ml as icp
from icp_ml.serve.gate import Rules

HERE = Path(__file__).resolve().parent
Case = tuple[str, Callable[[], object]]
PATIENCE = 120
GOOD = ("ok", "refused")


def frame(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    made = pd.DataFrame({"id": [f"a{i}" for i in range(n)], "x": rng.normal(size=n)})
    made["plan"] = rng.choice(["free", "team", "firm"], n)
    made["y"] = (rng.random(n) < 1 / (1 + np.exp(-made["x"]))).astype(int)
    return made


def dataset(made: pd.DataFrame, **more: object) -> icp.Dataset:
    return icp.Dataset.from_frame(made, account_id="id", labels={"retained": "y"}, **more)


def outcome(n: int, rate: float) -> np.ndarray:
    """Return an outcome of which an exact share is 1, spread over the rows."""
    y = np.zeros(n, dtype=int)
    y[np.random.default_rng(1).permutation(n)[: round(rate * n)]] = 1
    return y


@cache
def ready() -> tuple[icp.Dataset, icp.IcpModel]:
    data = dataset(frame(120))
    return data, icp.train(data, profile=False)


def whole_line(made: pd.DataFrame, *, profile: bool = True, **more: object) -> list[object]:
    """Train, score, evaluate, save, load and draw; return everything that has numbers in it."""
    data = dataset(made)
    model = icp.train(data, profile=profile, **more)
    scores = model.score(data.features)
    evaluation = icp.evaluate(model, data, n_bootstrap=20)
    found: list[object] = [scores, evaluation]
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        icp.save(model, bundle)
        found += [path.read_text() for path in sorted(bundle.glob("*.json"))]
        again = icp.load(bundle).score(data.features)
    if not again.equals(scores):
        raise AssertionError("the loaded model scores differently")
    each = data.features.drop_duplicates("account_id")
    found += [icp.applicability(model, data.features), icp.monitor(model, each), icp.shift(model, each)]
    if model.profile is not None:
        found += [model.profile, model.profile.to_text()]
        from icp_ml.view.report import write_report

        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "report.html"
            write_report(page, model, evaluation=evaluation)
            found.append(page.read_text())
    return found


def data_cases() -> Iterator[tuple[str, pd.DataFrame, bool]]:
    """Yield a name, a labelled frame, and whether it takes a moment only."""
    f = frame()
    rng = np.random.default_rng(2)
    yield "all rows alike", f.assign(x=1.0, plan="only"), True
    yield (
        "all rows alike but one number",
        f.assign(x=np.where(np.arange(300) < 1, 2.0, 1.0), plan="only"),
        False,
    )
    yield "all rows alike but one missing level", f.assign(x=1.0, plan=["only"] * 299 + [None]), False
    yield "numbers near 1e-320", f.assign(x=f.x * 1e-320), True
    yield (
        "numbers near 1e-310, all alike but one",
        f.assign(x=np.where(np.arange(300) < 1, 1e-310, 0.0)),
        False,
    )
    yield "numbers near 1e-160 (squares vanish)", f.assign(x=f.x * 1e-160), False
    yield "numbers near 1e308", f.assign(x=np.clip(f.x, -1.7, 1.7) * 1e308), False
    yield "numbers near 1e200 (squares overflow)", f.assign(x=f.x * 1e200), False
    yield "numbers near 1e154", f.assign(x=f.x * 1e154), False
    yield "one number of 1e308", f.assign(x=f.x.where(f.index > 0, 1e308)), False
    yield "from -1.7e308 to 1.7e308", f.assign(x=np.where(f.x > 0, 1.7e308, -1.7e308)), False
    yield "tiny and huge in one column", f.assign(x=np.where(f.x > 0, f.x * 1e300, f.x * 1e-300)), False
    yield "1e15 and a difference of 1", f.assign(x=1e15 + np.round(f.x)), False
    yield "infinities", f.assign(x=f.x.where(f.index > 3, np.inf)), False
    yield "a constant column", f.assign(c=3.0), False
    yield "only constant columns", f.drop(columns=["plan"]).assign(x=5.0), False
    yield "collinear columns", f.assign(x2=2 * f.x + 1, x3=-f.x, x4=f.x), False
    yield "a column all missing", f.assign(gone=np.nan), False
    yield "all columns all missing", f.assign(x=np.nan, plan=None), False
    yield "text all missing", f.assign(gone=None), False
    yield "one feature", f[["id", "x", "y"]], False
    yield "one category", f[["id", "plan", "y"]], False
    yield "five accounts", f.head(5), True
    yield "three rows of one account", f.head(3).assign(id="a"), True
    yield "two rows", f.head(2).assign(y=[0, 1]), True
    yield "every row the same account", f.assign(id="a"), True
    yield "doubled ids", f.assign(id=[f"a{i % 60}" for i in range(300)]), False
    yield "one class", f.assign(y=1), True
    yield "one row of the other class", f.assign(y=[0] + [1] * 299), True
    yield "20 events", f.assign(y=outcome(300, 20 / 300)), False
    wide = pd.DataFrame(rng.normal(size=(200, 300)), columns=[f"n{j}" for j in range(300)])
    yield "300 columns, 200 accounts", pd.concat([f[["id", "y"]].head(200), wide], axis=1), False
    for rate in (0.001, 0.999):
        many = frame(20_000, 3)[["id", "x"]].assign(y=outcome(20_000, rate))
        yield f"base rate of {rate:.1%}", many, False
    yield "base rate of .1 %, 2,000 accounts", frame(2_000, 3).assign(y=outcome(2_000, 0.001)), True
    yield "an outcome that a column says", f.assign(x=f.y.astype(float)), True
    yield "whole numbers of 64 bits", f.assign(x=(2**62 + np.arange(300)).astype("int64")), False
    yield "whole numbers of python, too long", f.assign(x=[10**400 + i for i in range(300)]), True
    yield "float32 at its end", f.assign(x=(f.x.clip(-1, 1) * 3.4e38).astype("float32")), False


SEEDS = (-1, "7", 2**70, True, 1.5, None, np.int64(3), np.int8(3), np.float64(3), float("nan"), [1])
JOBS = (0, "2", 1.5, -1, 10**9, True, np.int64(2), float("nan"))
SHARES = (-0.1, float("nan"), "0.1", 0, 0.0, 1.0, 1.5, float("inf"), None, True)
COUNTS = (-1, 1.5, "3", 0, None, True, float("nan"), 2**70)
FEW = 3
QUARTERS = pd.date_range("2020-03-31", periods=6, freq="YE")


def parameter_cases(*, smoke: bool) -> Iterator[Case]:
    """Yield calls with one parameter out of range or of another type; in short the first of each kind."""
    data, model = ready()
    features = data.features
    rng = np.random.default_rng(0)
    few = frame(24)
    small = dataset(few.assign(y=[0, 1] * 12))
    X, y = rng.normal(size=(40, 2)), np.tile([0, 1], 20)
    light = {"candidates": ("logistic",), "n_bags": 1, "n_folds": 2}
    settings = {
        "train": lambda **more: icp.train(small, **{"profile": False, "min_events": 2, **more}),
        "build_profile": lambda **more: icp.build_profile(small, {}, **{"n_permutations": 20, **more}),
        "evaluate": lambda **more: icp.evaluate(model, data, **{"n_bootstrap": 4, **more}),
        "negative_controls": lambda **more: icp.negative_controls(
            small, **{"n_permutations": 20, "n_runs": 1, **more}
        ),
        "PropensityClassifier": lambda **more: icp.PropensityClassifier(**{**light, **more}).fit(X, y),
        "HazardClassifier": lambda **more: icp.HazardClassifier(**{"horizon": 2, **light, **more}).fit(
            pd.DataFrame(X), np.tile([1, 2], 20), np.tile([True, True, False, False], 10)
        ),
        "split_out_of_time": lambda **more: icp.split_out_of_time(data, **more),
        "score": lambda **more: model.score(features, **more),
        "score_frame": lambda **more: icp.score_frame(model, features, **more),
        "monitor": lambda **more: icp.monitor(model, features, **more),
        "Rules": lambda **more: Rules(**more),
        "PurgedGroupTimeSplit": lambda **more: list(
            icp.PurgedGroupTimeSplit(**more).split(range(6), dates=QUARTERS)
        ),
        "rows_by_weight": lambda **more: icp.rows_by_weight([0.5, 1.5], **more),
        "censoring_weights": lambda **more: icp.censoring_weights(
            [1, 2, 2], [True, False, False], **{"horizon": 2, **more}
        ),
        "from_frame": lambda **more: dataset(few, **more),
        "Config": lambda **more: icp.Config(**more),
        "score_parquet": scored_file(model, features),
        "contributions": lambda **more: icp.contributions(
            icp.PropensityClassifier(**light).fit(X, y), X, **more
        ),
        "FastTreeContributions": fast_trees(X, y),
    }
    asked = {
        ("train", "build_profile", "evaluate", "negative_controls", "split_out_of_time", "rows_by_weight"): {
            "seed": SEEDS
        },
        (
            "train",
            "build_profile",
            "negative_controls",
            "PropensityClassifier",
            "HazardClassifier",
            "score_parquet",
            "FastTreeContributions",
        ): {"n_jobs": JOBS},
        ("build_profile", "negative_controls"): {"q": SHARES, "n_permutations": COUNTS},
        ("negative_controls",): {"n_runs": COUNTS},
        ("build_profile",): {"mode": ("", None, 1), "view": ("", None, 1), "preregistered": (1, [1], [{}])},
        ("train",): {
            "min_events": (*COUNTS,),
            "objective": ("", None, 1),
            "rising": ("x", ["none"], 1),
            "allow_leaks": (1, ["none"]),
            "sample_weight": (
                np.full(24, 1e308),
                np.full(24, 1e-320),
                [1e300, *[1e-300] * 23],
                np.zeros(24),
                "a",
                [-1.0] * 24,
                np.full(24, np.nan),
                np.full(3, 1.0),
                ["a"] * 24,
            ),
            "profile": ("yes",),
        },
        ("evaluate",): {"n_bootstrap": COUNTS},
        ("split_out_of_time",): {"test_share": SHARES, "embargo_months": COUNTS, "test_from": ("x", 1)},
        ("score", "score_frame", "score_parquet"): {"reasons": COUNTS},
        ("score_parquet",): {"batch_rows": COUNTS},
        ("monitor",): {"level": SHARES, "false_alarms": SHARES, "material": SHARES, "least_weight": SHARES},
        ("Rules",): {
            "margin": SHARES,
            "part_margin": SHARES,
            "part_accounts": COUNTS,
            "intercept": SHARES,
            "alpha": SHARES,
            "calibration_alpha": SHARES,
            "resamples": COUNTS,
            "slope": ((1.25, 0.8), (float("nan"), 1.0), (-1, 1), 1, "ab", (0.8,)),
        },
        ("PurgedGroupTimeSplit",): {"n_splits": COUNTS, "horizon_months": COUNTS, "embargo_days": COUNTS},
        ("censoring_weights",): {"horizon": COUNTS, "most": SHARES},
        ("HazardClassifier",): {"horizon": COUNTS},
        ("from_frame",): {"horizon_months": COUNTS},
        (
            "PropensityClassifier",
            "HazardClassifier",
        ): {
            "random_state": SEEDS,
            "n_folds": COUNTS,
            "n_bags": COUNTS,
            "n_jobs": JOBS,
            "candidates": ((), ("none",), "logistic", None, 1),
        },
        ("FastTreeContributions",): {"max_table_mb": SHARES, "dtype": ("x", None), "backend": ("x", None)},
    }
    done = set()
    for names, values in asked.items():
        for name in names:
            for parameter, given in values.items():
                if (name, parameter) in done:
                    continue
                done.add((name, parameter))
                for value in given[:FEW] if smoke else given:
                    shown = value if np.ndim(value) == 0 else f"{type(value).__name__} of {len(value)}"
                    label = f"{name}({parameter}={shown!r}, {type(value).__name__})"
                    yield label, lambda n=name, p=parameter, v=value: settings[n](**{p: v})


def scored_file(model: icp.IcpModel, features: pd.DataFrame) -> Callable[..., object]:
    def run(**more: object) -> object:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "in.parquet"
            features.to_parquet(source)
            found = icp.score_parquet(model, source, Path(folder) / "out", **more)
            return pd.read_parquet(found.files[0])

    return run


def fast_trees(X: np.ndarray, y: np.ndarray) -> Callable[..., object]:
    import lightgbm

    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(X, y), 2
    )
    return lambda **more: icp.FastTreeContributions(booster, **more).contributions(X)


def classifier_cases() -> Iterator[Case]:
    """Yield matrices and outcomes that a classifier may be given."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.tile([0, 1], 20)
    light = {"candidates": ("logistic", "additive", "bands", "bounded"), "n_bags": 1, "n_folds": 2}

    def fit(X: object, y: object, score: object = None, **more: object) -> object:
        model = icp.PropensityClassifier(**light).fit(X, y, **more)
        given = X if score is None else score
        return [model.predict_proba(given), model.contributions(given), *model.interval(given)]

    yield "fit: denormal", lambda: fit(X * 1e-320, y)
    yield "fit: 1e308", lambda: fit(np.clip(X, -1.7, 1.7) * 1e308, y)
    yield "fit: constant", lambda: fit(np.ones((40, 3)), y)
    yield "fit: all missing", lambda: fit(np.full((40, 3), np.nan), y)
    yield "fit: infinite", lambda: fit(np.full((40, 3), np.inf), y)
    yield "fit: one column", lambda: fit(X[:, :1], y)
    yield "fit: no column", lambda: fit(X[:, :0], y)
    yield "fit: no row", lambda: fit(X[:0], y[:0])
    yield "fit: one class", lambda: fit(X, np.ones(40))
    yield "fit: three classes", lambda: fit(X, np.arange(40) % 3)
    yield "fit: y missing", lambda: fit(X, np.where(y > 0, np.nan, 0.0))
    yield "fit: y infinite", lambda: fit(X, np.where(y > 0, np.inf, 0.0))
    yield "fit: y of another length", lambda: fit(X, y[:3])
    yield "fit: y None", lambda: fit(X, None)
    yield "fit: X None", lambda: fit(None, y)
    yield "fit: X text", lambda: fit("text", y)
    yield "fit: X of texts", lambda: fit(np.full((40, 3), "a"), y)
    yield "fit: X complex", lambda: fit(X.astype(complex), y)
    yield "fit: X of three dimensions", lambda: fit(X[:, :, None], y)
    yield "fit: groups of another length", lambda: fit(X, y, groups=[1, 2])
    yield "fit: groups missing", lambda: fit(X, y, groups=np.full(40, np.nan))
    yield "fit: one group", lambda: fit(X, y, groups=np.zeros(40))
    yield "score: denormal", lambda: fit(X, y, X * 1e-320)
    yield "score: 1e308", lambda: fit(X, y, np.clip(X, -1.7, 1.7) * 1e308)
    yield "score: infinite", lambda: fit(X, y, np.full((2, 3), np.inf))
    yield "score: other columns", lambda: fit(X, y, X[:, :2])
    yield "score: no rows", lambda: fit(X, y, X[:0])
    yield "score: text", lambda: fit(X, y, np.full((2, 3), "a"))


def scoring_cases() -> Iterator[Case]:
    """Yield rows that a sound model is asked about."""
    data, model = ready()
    rows = data.features
    for label, value in {
        "1e308": 1e308,
        "-1e308": -1e308,
        "1e-320": 1e-320,
        "missing": np.nan,
        "infinite": np.inf,
        "whole number, too long": 10**400,
        "0-d": np.float64(0.0),
        "negative zero": -0.0,
    }.items():
        bent = rows.assign(x=pd.Series([value] * len(rows), dtype=object if isinstance(value, int) else None))
        yield f"score rows of {label}", lambda b=bent: model.score(b)
        yield f"applicability of {label}", lambda b=bent: icp.applicability(model, b)
        yield f"monitor rows of {label}", lambda b=bent: icp.monitor(model, b)
        yield f"shift to rows of {label}", lambda b=bent: icp.shift(model, b)
        yield (
            f"evaluate on rows of {label}",
            lambda b=bent: icp.evaluate(
                model, icp.Dataset(b, data.labels, data.schema, data.groups), n_bootstrap=4
            ),
        )
    for n in (0, 1, 2):
        head = rows.head(n)
        yield f"score {n} rows", lambda h=head: model.score(h)
        yield f"applicability of {n} rows", lambda h=head: icp.applicability(model, h)
        yield f"monitor {n} rows", lambda h=head: icp.monitor(model, h)
        yield f"shift to {n} rows", lambda h=head: icp.shift(model, h)
        yield f"evaluate on {n} rows", lambda k=n: icp.evaluate(model, data.take(np.arange(k)), n_bootstrap=4)
    yield (
        "evaluate on one class",
        lambda: icp.evaluate(
            model, data.take(np.flatnonzero(data.target("retained")[1] == 1)), n_bootstrap=4
        ),
    )


def cases(*, smoke: bool) -> Iterator[Case]:
    yield from parameter_cases(smoke=smoke)
    yield from classifier_cases()
    yield from scoring_cases()
    for name, made, quick in data_cases():
        if quick or not smoke:
            yield f"whole line: {name}", lambda m=made: whole_line(m)


@contextmanager
def heard() -> Iterator[Callable[[], str]]:
    """Catch what is written on stdout and stderr, also by C and Fortran."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

        def said() -> str:
            sys.stdout.flush()
            sys.stderr.flush()
            file.seek(0)
            return file.read().decode(errors="replace").strip()

        try:
            yield said
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])


@contextmanager
def hang_guard() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"nothing after {PATIENCE} s")

    # Seconds of this process, so that a busy machine is no hang; and a long time on the wall.
    signal.signal(signal.SIGPROF, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    signal.alarm(10 * PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)


# Columns that may say "unknown": what isn't modelled, and what needs ARR.
UNKNOWN = ("p_expanded", "p_expanded_low", "p_expanded_high", "expected_nrr", "as_of")


def not_numbers(found: object) -> list[str]:
    """Say where a result holds NaN or an infinity that a reader would take for a number."""
    if isinstance(found, list | tuple):
        return [where for part in found for where in not_numbers(part)]
    if isinstance(found, icp.Evaluation):
        # What has no value (an AUC of one class) is NaN in the estimate and its interval; infinite is never.
        return _columns(found.metrics, finite_only=True) + _columns(found.deciles, finite_only=True)
    if isinstance(found, icp.Profile):
        return _columns(found.traits, finite_only=True) + _columns(found.segments, finite_only=True)
    if isinstance(found, icp.Monitoring):
        return _columns(found.drift, finite_only=True) + not_numbers(found.to_text())
    if isinstance(found, icp.Shift):
        return not_numbers(found.to_text())
    if isinstance(found, pd.DataFrame):
        return _columns(found.drop(columns=[name for name in UNKNOWN if name in found]))
    if isinstance(found, np.ndarray) and found.dtype.kind == "f":
        return [] if np.isfinite(found).all() else ["array"]
    if isinstance(found, str):
        words = found.replace(",", " ").replace(":", " ").replace(">", " ").replace("<", " ").split()
        return sorted(
            {word for word in words if word.strip("()%+-;\"'[]{}") in ("nan", "NaN", "inf", "Infinity")}
        )
    return []


def _columns(table: pd.DataFrame, *, finite_only: bool = False) -> list[str]:
    numbers = table.select_dtypes("number")
    bad = np.isinf(numbers) if finite_only else ~np.isfinite(numbers)
    return [str(name) for name in numbers if bad[name].any()]


def judge(run: Callable[[], object]) -> tuple[str, str]:
    """Run a case and say what came of it."""
    result: tuple[str, str]
    with heard() as said, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            with hang_guard():
                where = not_numbers(run())
            result = ("nan", ", ".join(where)) if where else ("ok", "")
        except TimeoutError as error:
            result = "hang", str(error)
        except icp.IcpError as error:
            result = "refused", f"{type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - a traceback of any kind is what is counted
            if isinstance(error, KeyboardInterrupt):
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            result = (
                "traceback",
                f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})",
            )
        words = said()
    loud = [
        f"{one.category.__name__}: {one.message}"
        for one in warned
        if not issubclass(one.category, icp.IcpWarning)
    ]
    if result[0] in GOOD and (words or loud):
        return "noise", "; ".join([words[:200], *loud][:3])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    bad: list[dict[str, str]] = []
    for name, run in cases(smoke=args.smoke):
        if args.only not in name:
            continue
        began = time.perf_counter()
        kind, detail = judge(run)
        counts[kind] += 1
        if kind not in GOOD:
            bad.append({"case": name, "kind": kind, "detail": detail[:300]})
            print(f"{kind:10} {name}: {detail[:300]}", flush=True)
        elif args.only:
            print(f"{kind:10} {name}: {detail[:300]} [{time.perf_counter() - began:.1f} s]", flush=True)
    total = sum(counts.values())
    print(f"{total} cases: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    if not args.smoke and not args.only:
        (HERE / "odd_numbers.json").write_text(
            json.dumps({"cases": total, **dict(sorted(counts.items())), "bad": bad}, indent=1) + "\n"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
