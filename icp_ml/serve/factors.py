"""What fields have in common: a factor model of normal scores, level and tool flags, fit for missing values.

One number says how far an account lies along the common factors (such as company size, read from all fields
that follow it), another how badly its fields go together. A field that is unknown counts on neither side.
Sums are taken column by column, so that a row's numbers don't depend on its batch by a single bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.errors import InputMismatchError
from icp_ml.foreign import Given
from icp_ml.model.arrays import check_finite, check_shape
from icp_ml.model.contributions import by_kernel

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

MOST_FACTORS = 8
CHUNK = 4096
_ROUNDS = 25
_LEAST_UNIQUE = 0.05
_RIDGE = 10.0
_LEAST_STORED, _MOST_LOADING = 0.01, 100.0


@dataclass(frozen=True, eq=False, slots=True)
class Groups:
    """Coordinates that are known or unknown together, such as the flags of a category, already added up.

    Parameters
    ----------
    known
        Shape (n_groups, n_rows).
    grams
        What each group adds to a row's matrix, :meth:`Factors.gram`, shape (n_groups, n_factors, n_factors).
    sums
        What :meth:`Factors.sums` gives, added over groups and 0 where unknown, shape (n_factors + 2, n_rows).
    """

    known: Flags
    grams: Floats
    sums: Floats

    def take(self, rows: slice) -> Groups:
        """Return some of the rows."""
        return Groups(self.known[:, rows], self.grams, self.sums[:, rows])


@dataclass(frozen=True, eq=False, slots=True)
class Factors:
    """Loadings of standardised coordinates on common factors.

    Parameters
    ----------
    loadings
        Shape (n_coordinates, n_factors); factors in falling order of what they explain.
    unique
        Variance of each coordinate that no factor explains, shape (n_coordinates,).

    Raises
    ------
    InputMismatchError
        If shapes don't agree, a number isn't finite or a variance isn't above 0: compiled code relies on it.
    """

    loadings: Floats
    unique: Floats

    def __post_init__(self) -> None:
        check_shape("unique variances", self.unique, (self.unique.size,))
        check_shape("loadings", self.loadings, (len(self.unique), self.loadings.shape[-1]))
        check_finite("loadings", self.loadings, self.unique)
        if self.unique.min(initial=np.inf) <= 0.0:
            raise InputMismatchError("expected unique variances above 0, found others: save the model again")

    @classmethod
    def fit(cls, z: Floats) -> Factors:
        """Fit by principal axes on pairwise-known correlations.

        Parameters
        ----------
        z
            Standardised coordinates, NaN unknown, shape (n_accounts, n_coordinates). As many factors are kept
            as there are eigenvalues above what noise of this shape has (Marchenko and Pastur), at most 8.
        """
        n, p = z.shape
        z = np.ascontiguousarray(z)
        known = np.isfinite(z)
        filled = np.where(known, z, 0.0)
        pairs = known.astype(np.float64).T @ known.astype(np.float64)
        correlation = (filled.T @ filled) / (pairs + _RIDGE)
        np.fill_diagonal(correlation, 1.0)
        noise = (1.0 + np.sqrt(p / max(float(np.median(pairs)) if p else 1.0, 1.0))) ** 2
        values = np.linalg.eigvalsh(correlation) if p else np.zeros(0)
        count = int(min(MOST_FACTORS, (values > 1.1 * noise).sum(), p // 3))
        unique = np.ones(p)
        loadings = np.zeros((p, count))
        for _ in range(_ROUNDS if count else 0):
            reduced = correlation - np.diag(unique)
            size, vectors = np.linalg.eigh(reduced)
            loadings = vectors[:, ::-1][:, :count] * np.sqrt(np.maximum(size[::-1][:count], 0.0))
            unique = np.clip(1.0 - (loadings**2).sum(axis=1), _LEAST_UNIQUE, 1.0)
        return cls(loadings, unique)

    def sums(self, z: Floats, at: Ints) -> Floats:
        """Return what known coordinates add to a row's sums, shape (n_rows, n_factors + 2).

        Parameters
        ----------
        z
            Standardised coordinates, none unknown, shape (n_rows, len(at)).
        at
            Which coordinates these are.
        """
        squares, weights = z * z, self.loadings[at] / self.unique[at, None]
        lengths = [(squares / self.unique[at]).sum(axis=1), squares.sum(axis=1)]
        return np.column_stack([*lengths, *((z * weight).sum(axis=1) for weight in weights.T)])

    def gram(self, at: Ints) -> Floats:
        """Return what known coordinates add to a row's matrix, shape (n_factors, n_factors)."""
        return np.asarray((self.loadings[at] / self.unique[at, None]).T @ self.loadings[at])

    def measure(self, z: Floats, groups: Groups | None = None) -> tuple[Floats, Floats]:
        """Return per row the distance along the factors and the distance off them.

        Parameters
        ----------
        z
            Standardised coordinates, NaN unknown: all of them, or the first ones, shape (n_rows, n).
        groups
            The other coordinates.

        Returns
        -------
        along
            Sum over factors of the squared factor score times the square of what the factor explains: the
            more fields a factor moves, the more it counts.
        off
            Squared Mahalanobis distance less the sum of squared coordinates: twice the log likelihood ratio
            of fields without and with the common factors, up to a constant.
        """
        scores, rest, plain = self._solve(z, groups)
        along = np.zeros(len(z))
        for size, score in zip((self.loadings**2).sum(axis=0), scores, strict=True):
            along += size**2 * score**2
        return along, rest - plain

    def scores(self, z: Floats) -> Floats:
        """Return the factor scores given the known coordinates, shape (n_rows, n_factors)."""
        return self._solve(z, None)[0].T

    def shared(self, z: Floats) -> Floats:
        """Return how much each known coordinate speaks for the row's place along the factors; NaN unknown."""
        weight = (self.loadings**2).sum(axis=0)
        common = (self.scores(z) * weight) @ self.loadings.T
        return np.asarray(np.maximum(z * common, 0.0))

    def residuals(self, z: Floats) -> Floats:
        """Return what the factors leave of each coordinate, in units of its unique spread; NaN unknown."""
        return np.asarray((z - self.scores(z) @ self.loadings.T) / np.sqrt(self.unique))

    def _solve(self, z: Floats, groups: Groups | None) -> tuple[Floats, Floats, Floats]:
        """Return factor scores, squared Mahalanobis distances and plain squared lengths per row."""
        rows, count = len(z), self.loadings.shape[1]
        if groups is None:
            none = np.zeros((0, rows), dtype=bool)
            groups = Groups(none, np.zeros((0, count, count)), np.zeros((count + 2, rows)))
        check_shape("coordinates", z, (rows, min(z.shape[-1], len(self.unique))))
        check_shape("what groups add", groups.sums, (count + 2, rows))
        check_shape("matrices of groups", groups.grams, (len(groups.known), count, count))
        check_shape("known groups", groups.known, (len(groups.known), rows))
        scores, rest, plain = np.zeros((count, rows)), np.zeros(rows), np.zeros(rows)
        for start in range(0, rows, CHUNK):
            own = slice(start, start + CHUNK)
            scores[:, own], rest[own], plain[own] = self._solve_some(z[own], groups.take(own))
        return scores, rest, plain

    def _solve_some(self, z: Floats, groups: Groups) -> tuple[Floats, Floats, Floats]:
        rows, count = len(z), self.loadings.shape[1]
        squares, plain, *_ = sums = np.array(groups.sums)
        sums, explained, scores = sums[2:], np.zeros(rows), np.zeros((count, rows))
        if by_kernel(rows):
            from icp_ml.serve.factorkernel import solve

            known, grams = groups.known, groups.grams
            solve(z, self.loadings, self.unique, known, grams, sums, squares, plain, scores, explained)
            return scores, squares - explained, plain
        gram = np.zeros((count, count, rows))
        gram[np.arange(count), np.arange(count)] = 1.0
        for value, loading, unique in zip(z.T, self.loadings, self.unique, strict=False):
            known = np.isfinite(value).astype(np.float64)
            value = np.where(known > 0, value, 0.0)
            squares += value * value / unique
            plain += value * value
            for a in range(count):
                sums[a] += value * (loading[a] / unique)
                for b in range(a + 1):
                    gram[a, b] += known * (loading[a] * loading[b] / unique)
        for is_known, own in zip(groups.known, groups.grams, strict=True):
            for a in range(count):
                for b in range(a + 1):
                    gram[a, b] += is_known * own[a, b]
        _eliminate(gram, sums, scores)
        for a in range(count):
            explained += sums[a] * scores[a]
        return scores, squares - explained, plain

    def to_state(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return {"loadings": self.loadings.tolist(), "unique": self.unique.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given, n_coordinates: int | None = None) -> Factors:
        """Rebuild what :meth:`to_state` wrote, of so many coordinates.

        Raises
        ------
        BundleError
            Rows aren't as many or as long as they must be, or numbers are out of range.
        """
        given = Given.of(state, "factors").record("loadings", "unique")
        unique = given["unique"].numbers(low=_LEAST_STORED, high=1.0, length=n_coordinates)
        rows = given["loadings"].each(least=len(unique), most=len(unique))
        count = len(rows[0].each(most=MOST_FACTORS)) if rows else 0
        loadings = [row.numbers(low=-_MOST_LOADING, high=_MOST_LOADING, length=count) for row in rows]
        return cls(np.array(loadings, dtype=np.float64).reshape(len(unique), count), unique)


def _eliminate(gram: Floats, sums: Floats, scores: Floats) -> None:
    """Solve by the factors L D L' of each row's matrix, whose lower half is given and overwritten."""
    count = len(sums)
    for a in range(count):
        for b in range(a):
            ratio = gram[a, b] / gram[b, b]
            for c in range(b + 1, a + 1):
                # rows after b still hold their entries times the pivot
                gram[a, c] -= ratio * (gram[c, b] * gram[b, b] if c < a else gram[a, b])
            gram[a, b] = ratio
    for a in range(count):
        scores[a] = sums[a]
        for b in range(a):
            scores[a] -= gram[a, b] * scores[b]
    for a in range(count - 1, -1, -1):
        scores[a] /= gram[a, a]
        for b in range(a + 1, count):
            scores[a] -= gram[b, a] * scores[b]
