"""What else marks rows unlike the training rows; each flags 2.5 % of rows left out, as ours does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import KFold
from sklearn.neighbors import NearestNeighbors

Flags = Callable[[pd.DataFrame], np.ndarray]
QUANTILE = 0.975
TOOLS = "technologies"


class Encoder:
    """Ranks of numbers (0 to 1, median where unknown), levels and tools as 0/1 columns, unknown as 0/1."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
        self.texts = [name for name in frame if name not in self.numbers and name != TOOLS]
        self.sorted = {name: np.sort(frame[name].dropna().to_numpy(dtype=float)) for name in self.numbers}
        self.levels = {name: sorted(frame[name].dropna().unique()) for name in self.texts}
        self.tools = sorted({_fold(tool) for tools in frame[TOOLS].dropna() for tool in tools})

    def __call__(self, frame: pd.DataFrame) -> np.ndarray:
        parts = []
        for name in self.numbers:
            values = frame[name].to_numpy(dtype=float, na_value=np.nan)
            known = self.sorted[name]
            rank = np.searchsorted(known, values) / max(len(known), 1)
            parts += [np.where(np.isnan(values), 0.5, rank), np.isnan(values)]
        for name in self.texts:
            parts += [
                (frame[name] == level).to_numpy(dtype=bool, na_value=False) for level in self.levels[name]
            ]
            parts += [(~frame[name].isin(self.levels[name])).to_numpy()]
        place = {tool: j for j, tool in enumerate(self.tools)}
        held = np.zeros((len(frame), len(self.tools) + 1))
        for row, tools in enumerate(frame[TOOLS]):
            if isinstance(tools, list):
                held[row, [place.get(_fold(tool), len(self.tools)) for tool in tools]] = 1.0
        return np.column_stack([np.asarray(part, dtype=float) for part in parts] + [held])


def _fold(tool: str) -> str:
    return tool.casefold()


def ranges(frame: pd.DataFrame) -> Flags:
    """Flag any known field outside the 1st to 99th percentile (widened by a twentieth), or a new level."""
    encoder = Encoder(frame)
    spans = {}
    for name in encoder.numbers:
        low, high = frame[name].astype(float).quantile([0.01, 0.99])
        spans[name] = (low - 0.05 * (high - low), high + 0.05 * (high - low))

    def flags(rows: pd.DataFrame) -> np.ndarray:
        outside = np.zeros(len(rows), dtype=bool)
        for name, (low, high) in spans.items():
            values = rows[name].to_numpy(dtype=float, na_value=np.nan)
            outside |= (values < low) | (values > high)
        for name, levels in encoder.levels.items():
            outside |= (rows[name].notna() & ~rows[name].isin(levels)).to_numpy()
        known = set(encoder.tools)
        new = [
            isinstance(tools, list) and sum(_fold(tool) not in known for tool in tools) > 0.2 * len(tools)
            for tools in rows[TOOLS]
        ]
        return outside | np.array(new)

    return flags


def forest(frame: pd.DataFrame) -> Flags:
    """Isolation forest (Liu, Ting and Zhou 2008); threshold on rows left out."""

    def fit(matrix: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        model = IsolationForest(n_estimators=200, random_state=0).fit(matrix)
        return lambda rows: -model.score_samples(rows)

    return _cut(frame, fit)


def neighbours(frame: pd.DataFrame) -> Flags:
    """Mean distance to the five nearest training rows (Meyer and Pebesma 2021)."""

    def fit(matrix: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        model = NearestNeighbors(n_neighbors=5, metric="manhattan").fit(matrix)
        return lambda rows: model.kneighbors(rows)[0].mean(axis=1)

    return _cut(frame, fit)


def _cut(frame: pd.DataFrame, fit: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]) -> Flags:
    scores = np.zeros(len(frame))
    for others, inside in KFold(5, shuffle=True, random_state=0).split(frame):
        encoder = Encoder(frame.iloc[others])
        scores[inside] = fit(encoder(frame.iloc[others]))(encoder(frame.iloc[inside]))
    at, encoder = np.quantile(scores, QUANTILE), Encoder(frame)
    score = fit(encoder(frame))
    return lambda rows: score(encoder(rows)) > at


RIVALS: dict[str, Callable[[pd.DataFrame], Flags]] = {
    "ranges": ranges,
    "isolation forest": forest,
    "nearest neighbours": neighbours,
}
