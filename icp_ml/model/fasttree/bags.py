"""Several boosters on the same columns: their bins are shared, so a row is encoded once for all."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from icp_ml.model.columns import Floats
from icp_ml.model.fasttree.binning import build_binner
from icp_ml.model.fasttree.check import refuse_other, sample_rows
from icp_ml.model.fasttree.compile import compile_tables, pack_forest
from icp_ml.model.fasttree.engine import Backend, LookUp, Work, each_block, load_engine, table_look_up
from icp_ml.model.fasttree.groups import MOST_STEPS
from icp_ml.model.fasttree.parse import Forest
from icp_ml.model.fasttree.rows import Rows, read_rows
from icp_ml.model.fasttree.tables import path_dependent

TABLE_VALUES = 1 << 25


class BaggedTrees:
    """Exact contributions of a bag of boosters with the same columns, float64, on one thread.

    Parameters
    ----------
    forests
        One per booster.
    backend
        See :class:`~icp_ml.FastTreeContributions`.
    """

    def __init__(self, forests: Sequence[Forest], backend: Backend = "auto") -> None:
        every = tuple(tree for forest in forests for tree in forest.trees)
        self._together = Forest(every, forests[0].feature_names, forests[0].categories)
        self._binner, left = build_binner(self._together)
        self._engine = load_engine(backend)
        ends = np.cumsum([0, *(len(forest.trees) for forest in forests)]).tolist()
        self._packed = [
            pack_forest(forest, TABLE_VALUES, (self._binner, left[start:end]), MOST_STEPS // len(forests))
            for forest, start, end in zip(forests, ends[:-1], ends[1:], strict=True)
        ]
        self.base = np.array([packed.base for packed in self._packed])
        # Leaves without a table have no total to look up, then it is the sum of all contributions.
        self._has_totals = not any(packed.wide for packed in self._packed)
        self._made: dict[bool, list[LookUp]] = {}
        self._lock = Lock()

    def _look_ups(self, explain: bool) -> list[LookUp]:
        """Return what adds contributions and the total after them, or the total alone."""
        with self._lock:
            if explain not in self._made:
                patterns = path_dependent if explain else None
                tables = [
                    compile_tables(packed, dtype=np.float64, patterns=patterns, totals=self._has_totals)
                    for packed in self._packed
                ]
                self._made[explain] = [table_look_up(self._engine, one) for one in tables]
            return self._made[explain]

    def check(self, boosters: Sequence[Any]) -> None:
        """Hold score and contributions of each booster against LightGBM's on a few rows.

        Raises
        ------
        InputMismatchError
            If they differ by more than rounding.
        """
        n_columns = len(self._together.feature_names)
        X = sample_rows(self._binner, n_columns)
        found = np.zeros((len(boosters), len(X), n_columns + 1))
        n_features = len(self._binner.features)

        def work(bag: int, low: int, high: int, phi: Floats) -> None:
            found[bag, low:high, self._binner.features] = phi[:n_features]

        self._each_block(read_rows(X, self._together), True, work)
        # What the score has beyond the contributions must be the base value.
        found[:, :, -1] = self.raw_bags(X) - found.sum(axis=2)
        for own, booster in zip(found, boosters, strict=True):
            refuse_other(own, booster, X, "float64")

    def raw_bags(self, X: Floats) -> Floats:
        """Return raw scores, shape (boosters, rows)."""
        return self.add_to(None, X, 0.0)

    def add_to(self, parts: Floats | None, X: Floats, scale: float) -> Floats:
        """Return :meth:`raw_bags`; add every booster's contributions, times ``scale``, to ``parts``.

        ``parts`` has shape (columns, rows); None asks for scores alone, which are looked up faster.
        """
        rows = read_rows(X, self._together)
        raw, features = np.empty((len(self.base), rows.n)), self._binner.features.tolist()

        def work(bag: int, low: int, high: int, phi: Floats) -> None:
            if self._has_totals:
                raw[bag, low:high] = self._packed[bag].constant + phi[-1]
            else:
                self._engine.total(phi, self.base[bag], raw[bag, low:high])
            if parts is not None:
                for row, column in zip(phi[: len(features)], features, strict=True):
                    parts[column, low:high] += scale * row

        self._each_block(rows, parts is not None or not self._has_totals, work)
        return raw

    def _each_block(self, rows: Rows, explain: bool, work: Work) -> None:
        height = (len(self._binner.features) if explain else 0) + self._has_totals
        each_block(self._engine, self._binner, self._look_ups(explain), height, rows, 1, work)
