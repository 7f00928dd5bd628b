"""Several boosters on the same columns: their bins are shared, so a row is encoded once for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from icp_ml.model.columns import Floats
from icp_ml.model.fasttree.binning import build_binner
from icp_ml.model.fasttree.check import refuse_other, sample_rows
from icp_ml.model.fasttree.compile import compile_forest
from icp_ml.model.fasttree.engine import Backend, each_block, load_engine, path_dependent_look_up
from icp_ml.model.fasttree.parse import Forest
from icp_ml.model.fasttree.rows import read_rows
from icp_ml.model.fasttree.tables import path_dependent

TABLE_BYTES = 1 << 28


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
        made = [
            compile_forest(
                forest,
                dtype=np.float64,
                max_table_bytes=TABLE_BYTES,
                patterns=path_dependent,
                bins=(self._binner, left[start:end]),
            )
            for forest, start, end in zip(forests, ends[:-1], ends[1:], strict=True)
        ]
        self.base = np.array([one.base for one in made])
        self._look_ups = [path_dependent_look_up(self._engine, one) for one in made]

    def check(self, boosters: Sequence[Any]) -> None:
        """Hold the contributions of each booster against LightGBM's on a few rows.

        Raises
        ------
        InputMismatchError
            If they differ by more than rounding.
        """
        n_columns = len(self._together.feature_names)
        X = sample_rows(self._binner, n_columns)
        found = np.zeros((len(boosters), len(X), n_columns + 1))
        found[:, :, -1] = self.base[:, None]

        def work(bag: int, low: int, high: int, phi: Floats) -> None:
            found[bag, low:high, self._binner.features] = phi

        each_block(self._engine, self._binner, self._look_ups, read_rows(X, self._together), 1, work)
        for own, booster in zip(found, boosters, strict=True):
            refuse_other(own, booster, X, "float64")

    def raw_bags(self, X: Floats) -> Floats:
        """Return raw scores, shape (boosters, rows)."""
        return self.add_to(None, X, 0.0)

    def add_to(self, parts: Floats | None, X: Floats, scale: float) -> Floats:
        """Return :meth:`raw_bags`; add every booster's contributions, times ``scale``, to ``parts``.

        ``parts`` has shape (columns, rows); None: they aren't wanted.
        """
        rows = read_rows(X, self._together)
        raw, features = np.empty((len(self.base), rows.n)), self._binner.features.tolist()

        def work(bag: int, low: int, high: int, phi: Floats) -> None:
            self._engine.total(phi, self.base[bag], raw[bag, low:high])
            if parts is not None:
                for row, column in zip(phi, features, strict=True):
                    parts[column, low:high] += scale * row

        each_block(self._engine, self._binner, self._look_ups, rows, 1, work)
        return raw
