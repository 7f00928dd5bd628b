"""Which kernel looks up, and how a block of rows goes through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from icp_ml.errors import ConfigError, MissingDependencyError
from icp_ml.model.columns import Floats
from icp_ml.model.fasttree.background import add_wide, patterns_of_background
from icp_ml.model.fasttree.binning import Binner
from icp_ml.model.fasttree.compile import Compiled
from icp_ml.model.fasttree.rows import Rows
from icp_ml.model.fasttree.tables import Plan, build_plan

Backend = Literal["auto", "numba", "numpy"]
Codes = npt.NDArray[Any]
LookUp = Callable[[Codes, Floats], None]
"""From codes (features, rows) to contributions, added to an array of the same shape."""
Work = Callable[[int, int, int, Floats], None]
BLOCK_VALUES = 1 << 20
MIN_BLOCK, MAX_BLOCK = 1024, 16_384


def load_engine(backend: Backend) -> Any:
    """Return the module that looks up."""
    if backend not in ("auto", "numba", "numpy"):
        raise ConfigError(f'expected backend "auto", "numba" or "numpy", found {backend!r}', backend=backend)
    has_numba = find_spec("numba") is not None
    if backend == "numba" and not has_numba:
        raise MissingDependencyError('expected numba, found none: pip install numba, or backend="numpy"')
    name = "plain" if backend == "numpy" or not has_numba else "kernel"
    return import_module(f"icp_ml.model.fasttree.{name}")


def encode(engine: Any, b: Binner, X: Floats, codes: Codes) -> None:
    """Write the bin of each value of a block of rows."""
    engine.encode(
        X, b.features, b.categorical, b.n_bins, b.edges, b.edge_start, b.levels, b.level_start, codes
    )


def table_look_up(engine: Any, made: Compiled) -> LookUp:
    """Return what adds what the tables hold: path-dependent contributions, totals or both."""
    plan = made.plan

    def look_up(codes: Codes, phi: Floats) -> None:
        _add_groups(engine, plan, codes, phi)
        if len(plan.wide_value):
            engine.accumulate_wide(
                codes,
                plan.wide_start,
                plan.wide_feature,
                plan.wide_share,
                plan.wide_value,
                plan.wide_begin,
                plan.wide_step_start,
                plan.wide_step_code,
                plan.wide_step,
                made.node_start,
                made.nodes,
                made.weights,
                phi,
            )

    return look_up


def interventional_look_up(engine: Any, made: Compiled, sample: Floats) -> LookUp:
    """Return what adds contributions against the rows of a background sample."""
    packed, binner = made.packed, made.packed.binner
    codes = np.empty((len(binner.features), len(sample)), dtype=binner.code_dtype)
    encode(engine, binner, sample, codes)
    n_bins = binner.n_bins.tolist()
    plan = build_plan(
        packed.groups, [], n_bins, made.plan.tables.dtype, patterns_of_background(codes, n_bins)
    )

    def look_up(own: Codes, phi: Floats) -> None:
        _add_groups(engine, plan, own, phi)
        add_wide(packed.wide, codes, own, n_bins, phi)

    return look_up


def each_block(
    engine: Any,
    binner: Binner,
    look_ups: Sequence[LookUp],
    height: int,
    rows: Rows,
    n_jobs: int,
    work: Work,
) -> None:
    """Call ``work`` with the place of a look-up, a block of rows, and what it adds, shape (height, rows)."""
    size = min(max(BLOCK_VALUES // max(1, len(binner.features)), MIN_BLOCK), MAX_BLOCK, max(rows.n, 1))
    rounds = -(-rows.n // (size * n_jobs))
    # Blocks of equal size, as many for each thread.
    size = min(size, max(-(-rows.n // max(1, rounds * n_jobs)), MIN_BLOCK))
    starts = range(0, rows.n, size)

    def share(first: int) -> None:
        codes = np.empty((len(binner.features), size), dtype=binner.code_dtype)
        phi = np.empty((height, size))
        for low in starts[first::n_jobs]:
            high = min(low + size, rows.n)
            if high - low < size:
                codes, phi = codes[:, : high - low].copy(), phi[:, : high - low].copy()
            encode(engine, binner, rows.block(low, high), codes)
            for place, look_up in enumerate(look_ups):
                phi[:] = 0.0
                look_up(codes, phi)
                work(place, low, high, phi)

    if n_jobs == 1 or len(starts) < 2:
        for first in range(min(n_jobs, len(starts))):
            share(first)
        return
    with ThreadPoolExecutor(n_jobs) as pool:
        list(pool.map(share, range(n_jobs)))


def _add_groups(engine: Any, plan: Plan, codes: Codes, phi: Floats) -> None:
    engine.accumulate(
        codes,
        plan.start,
        plan.slot_feature,
        plan.table_start,
        plan.tables,
        plan.begin,
        plan.step_start,
        plan.step_feature,
        plan.step_code,
        plan.step,
        phi,
    )
