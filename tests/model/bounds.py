"""Every kernel at the edges of its tiles and with odd numbers; run by test_kernels with bounds checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from icp_ml.errors import IcpError
from icp_ml.insight import reasons
from icp_ml.model import contributions, plans
from icp_ml.model.columns import Categories, Tools
from icp_ml.model.contributions import StepTable, StepTables, sums_by_source
from icp_ml.model.fasttree.public import FastTreeContributions
from icp_ml.model.plans import CategoryPlan, ToolPlan
from icp_ml.serve import factors, margins
from icp_ml.serve.factors import Factors, Groups
from icp_ml.serve.margins import NumberMargin, Tail, normal_scores

ROWS = (0, 1, 63, 65, 1025)
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e308, -1e308, 1.0, 2.0])
rng = np.random.default_rng(0)


def odd(*shape: int) -> Any:
    """Return an array of ordinary and odd numbers."""
    return np.where(rng.random(shape) < 0.3, rng.choice(ODD, shape), rng.normal(size=shape))


def both(work: Callable[[], Any]) -> None:
    """Do something by numba and by numpy; the results are the same."""
    found = []
    for by_kernel in (True, False):
        for module in (contributions, plans, factors, margins, reasons):
            module.by_kernel = lambda rows, by_kernel=by_kernel: by_kernel  # type: ignore[attr-defined]
        found.append(work())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def refused(work: Callable[[], Any]) -> None:
    """Check that something is refused by name, by numba as by numpy."""
    for by_kernel in (True, False):
        for module in (contributions, plans, factors, margins, reasons):
            module.by_kernel = lambda rows, by_kernel=by_kernel: by_kernel  # type: ignore[attr-defined]
        try:
            work()
        except IcpError:
            continue
        raise AssertionError(f"expected a named error: {work}")


def step_table(column: int, n: int, *, slopes: bool = False) -> StepTable:
    cuts = np.sort(rng.normal(size=n))
    steps = rng.normal(size=(n + 1, 2))
    return StepTable(
        column, cuts, steps, rng.normal(size=2), rng.normal(size=steps.shape) if slopes else None
    )


def steps() -> None:
    base = np.zeros(2)
    for slopes in (False, True):
        tables = StepTables(
            tuple(step_table(j, n, slopes=slopes) for j, n in ((0, 1), (3, 2), (6, 40))), base, 7
        )
        for n in ROWS:
            X = rng.choice(np.array([np.nan, -3.0, 0.0, 3.0, 1e9]), (n, 7))
            parts = np.zeros((7, n))
            both(lambda X=X, tables=tables: [tables.raw(X), tables.raw_bags(X)])
            both(lambda X=X, tables=tables, parts=parts: [*tables.add_to(parts.copy(), X, 0.5)])
    tables = StepTables((step_table(6, 3),), base, 7)
    refused(lambda: tables.raw(np.zeros((10, 6))))
    refused(lambda: tables.add_to(np.zeros((6, 10)), np.zeros((10, 7)), 1.0))
    for column in (-1, 7, 10**9):
        refused(lambda column=column: StepTables((step_table(column, 3),), base, 7))
    good = step_table(0, 3)
    for bad in (
        StepTable(0, good.thresholds[:2], good.steps, good.missing),
        StepTable(0, good.thresholds[:0], good.steps[:1], good.missing),
        StepTable(0, good.thresholds[::-1], good.steps, good.missing),
        StepTable(0, good.thresholds * np.nan, good.steps, good.missing),
        StepTable(0, good.thresholds, good.steps[:, :1], good.missing),
        StepTable(0, good.thresholds, good.steps, good.missing[:1]),
        StepTable(0, good.thresholds, good.steps, good.missing, good.steps[:2]),
        StepTable(0, good.thresholds, good.steps * np.inf, good.missing),
    ):
        refused(lambda bad=bad: StepTables((bad,), base, 7))


def sources() -> None:
    for n in ROWS:
        parts = odd(n, 4)
        both(lambda parts=parts: [sums_by_source(parts, np.array([0, 2, 2, 1]), 3)])
    for bad in ([0, 3, 1, 1], [0, -1, 1, 1], [0, 1, 1, 1, 1], [0.0, 1.0, 1.0, 1.0]):
        refused(lambda bad=bad: sums_by_source(odd(5, 4), np.array(bad), 3))


def flags() -> None:
    for other in (False, True):
        plan = CategoryPlan(("a", "b"), other, True, {"a": 0.5}, 0.0, 0.0, ("a", "b", "c"))
        width = len(plan.parts("x"))
        for n in ROWS:
            column = Categories(rng.integers(-1, 4, n), ("a", "b", "c", "d"))

            def encoded(plan: Any = plan, column: Any = column, shape: Any = (n, width)) -> list[Any]:
                into = np.zeros(shape)
                plan.encode(column, into)
                return [into]

            both(encoded)
            refused(lambda encoded=encoded, shape=(n, width - 1): encoded(shape=shape))
    wild = CategoryPlan(("a", "b"), 500, True, None, 0.0, 0.0, ("a",))  # type: ignore[arg-type]
    wide = np.zeros((9, len(wild.parts("x"))))
    wild.encode(Categories(rng.integers(-1, 3, 9), ("a", "b", "c")), wide)
    tools = ToolPlan(("t1", "t9"), True, ("t1",))
    for n in ROWS:
        uses = sparse.csr_matrix((rng.random((n, 3)) < 0.4).astype(float).reshape(n, 3))
        stack = Tools(uses, ("t0", "t1", "t2"), rng.random(n) < 0.7)

        def counted(stack: Any = stack, shape: Any = (n, 5)) -> list[Any]:
            into = np.zeros(shape)
            tools.encode(stack, into)
            return [into]

        both(counted)
        refused(lambda counted=counted, n=n: counted(shape=(n, 3)))


def factor_models() -> None:
    model = Factors(rng.normal(size=(6, 2)), np.full(6, 0.5))
    for n in ROWS:
        z = rng.choice(np.array([np.nan, 0.0, 1.0, -2.0]), (n, 4))
        groups = Groups(rng.random((1, n)) < 0.5, np.eye(2)[None], np.zeros((4, n)))
        both(lambda z=z, groups=groups: [*model.measure(z, groups), *model.measure(z)])
        refused(lambda n=n: model.measure(np.zeros((n, 7))))
        refused(
            lambda z=z, n=n: model.measure(
                z, Groups(np.ones((2, n), bool), np.eye(2)[None], np.zeros((4, n)))
            )
        )
        refused(
            lambda z=z, n=n: model.measure(
                z, Groups(np.ones((1, n), bool), np.eye(3)[None], np.zeros((4, n)))
            )
        )
    for loadings, unique in (
        (np.ones((1, 2)), np.ones(6)),
        (np.ones(6), np.ones(6)),
        (np.ones((6, 2)), np.zeros(6)),
        (np.full((6, 2), np.nan), np.ones(6)),
    ):
        refused(lambda loadings=loadings, unique=unique: Factors(loadings, unique))


def margin(knots: tuple[float, ...], scores: tuple[float, ...]) -> NumberMargin:
    tail = Tail(1e9, 0.05, 1.0, 0.25)
    return NumberMargin(knots, scores, tail, tail, 0.0, 1.0)


def knots() -> None:
    lines = [margin((1.0,), (0.0,)), margin((0.0, 1.0, 2.0), (-1.0, 0.0, 1.0))]
    for n in ROWS:
        values = rng.choice(np.array([np.nan, -1.0, 0.0, 0.5, 1.0, 7.0]), (2, n))
        both(lambda values=values: [normal_scores(lines, list(values))])
    for bad in (margin((0.0, 1.0), (0.0,)), margin((), ()), margin((0.0,), (0.0, 1.0))):
        refused(lambda bad=bad: normal_scores([bad], [np.zeros(5)]))
    refused(lambda: normal_scores(lines, [np.zeros(5)]))


def chosen() -> None:
    for n in ROWS:
        for width in (0, 1, 9):
            for count in (0, 1, 3, 12):
                values = np.round(rng.normal(size=(n, width)), 2)
                both(lambda values=values, count=count: [reasons._chosen(values, count)])
                reasons._chosen(odd(n, width), count)
        rows, signs = rng.integers(0, max(n, 1), 2 * n), rng.choice([-1, 1], 2 * n)
        parts = rng.normal(size=(n, 6))
        both(lambda p=parts, r=rows, s=signs: [*reasons._strongest(p, np.array([1, 5]), r, s)])
        refused(lambda p=parts, r=rows, s=signs: reasons._strongest(p, np.array([1, 6]), r, s))
    refused(lambda: reasons._strongest(np.zeros((3, 2)), np.array([0]), np.array([3]), np.array([1])))


def trees(text: str) -> None:
    for budget in (64, 0):
        one, other = (FastTreeContributions(text, max_table_mb=budget, backend=b) for b in ("numba", "numpy"))
        for n in (*ROWS, 4097):
            X = odd(n, 8)
            np.testing.assert_allclose(one.contributions(X), other.contributions(X), rtol=0, atol=1e-9)
            np.testing.assert_allclose(one.predict_raw(X), other.predict_raw(X), rtol=0, atol=1e-9)
            for k in (1, 20):
                np.testing.assert_array_equal(one.top(X, k).positive, other.top(X, k).positive)
        refused(lambda one=one: one.contributions(np.zeros((5, 7))))


if __name__ == "__main__":
    import sys

    for work in (steps, sources, flags, factor_models, knots, chosen):
        work()
    for one in sys.stdin.read().split("\x00"):
        trees(one)
