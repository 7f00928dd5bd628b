"""Fitted candidates: log-odds and exact contributions of a bag of models on the same encoded columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from icp_ml.errors import BundleError, InputMismatchError
from icp_ml.foreign import MOST, Given
from icp_ml.model import linear, steps
from icp_ml.model.bounded import BoundedModel, Bounds
from icp_ml.model.columns import Floats
from icp_ml.model.contributions import StepTables, add_bags, compile_steps
from icp_ml.model.estimator import booster_from_text
from icp_ml.model.fasttree.sound import SAVED, STUMPS
from icp_ml.model.linear import LinearModel
from icp_ml.model.steps import StepModel
from icp_ml.model.treetexts import read_texts

if TYPE_CHECKING:
    from icp_ml.model.fasttree.bags import BaggedTrees


MOST_MODELS = 10_000
_FIELDS = {
    "additive": ("n_columns",),
    "trees": (),
    "steps": ("n_columns", "models"),
    "linear": ("models",),
    "bounded": ("models",),
}


class Member(Protocol):
    """A fitted candidate: a small bag of models of one family on the same encoded columns."""

    @property
    def base(self) -> float:
        """Expected log-odds, averaged over the bag."""

    def raw(self, X: Floats) -> Floats:
        """Return log-odds of the bag as a whole."""

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each model of the bag, shape (bags, rows)."""

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Add contributions, times ``scale``, to ``parts``; return :meth:`raw` and :meth:`raw_bags`.

        ``parts`` has shape (encoded columns, rows); with :attr:`base` contributions add up to :meth:`raw`,
        and the two returned are the same to the last bit.
        """

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and LightGBM texts."""


class _Tabled:
    """What holds a function of steps or lines per encoded column is looked up in them."""

    tables: StepTables

    @property
    def n_columns(self) -> int:
        """Number of encoded columns."""
        return self.tables.n_columns

    @property
    def base(self) -> float:
        """Expected log-odds, averaged over the bag."""
        return float(self.tables.base.mean())

    def raw(self, X: Floats) -> Floats:
        """Return log-odds averaged over the bag."""
        return self.tables.raw(X)

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each booster, shape (bags, rows)."""
        return self.tables.raw_bags(X)

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Add scaled contributions to ``parts``; return log-odds and those of each model."""
        return self.tables.add_to(parts, X, scale)


@dataclass(frozen=True)
class AdditiveMember(_Tabled):
    """Boosters whose trees have one split."""

    texts: tuple[str, ...]
    tables: StepTables

    @classmethod
    def from_texts(cls, texts: tuple[str, ...], n_columns: int, names: Sequence[str] = ()) -> AdditiveMember:
        """Compile the step tables of model texts; ``names`` are those of their files, for errors."""
        return cls(texts, compile_steps(read_texts(texts, STUMPS, n_columns, names), n_columns))

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and LightGBM texts."""
        return {"kind": "additive", "n_columns": self.tables.n_columns}, list(self.texts)


@dataclass(frozen=True)
class StepMember(_Tabled):
    """Sums of steps."""

    models: tuple[StepModel, ...]
    tables: StepTables

    @classmethod
    def from_models(cls, models: tuple[StepModel, ...], n_columns: int) -> StepMember:
        """Put the steps of all models into one table per column."""
        return cls(models, steps.tables_of(models, n_columns))

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and no texts."""
        models = [model.to_state() for model in self.models]
        return {"kind": "steps", "n_columns": self.tables.n_columns, "models": models}, []


class TreeMember:
    """Boosters with deeper trees, looked up in tables that are made at the first use and never stored.

    Log-odds come from the tables too, whatever the number of rows: LightGBM's own would differ in the last
    bits, and an account has one score. What was saved is scored without LightGBM, which takes longer to load
    than a thousand accounts to score.

    Parameters
    ----------
    texts
        LightGBM texts, one per booster.
    n_columns
        Number of encoded columns; None takes that of the first text.
    names
        Names of their files, for errors.

    Raises
    ------
    BundleError
        If a text isn't that of a LightGBM model, isn't sound, or is one for other columns.
    """

    def __init__(
        self, texts: tuple[str, ...], n_columns: int | None = None, names: Sequence[str] = ()
    ) -> None:
        self.texts = texts
        self._forests = read_texts(texts, SAVED, n_columns, names)
        self._tables: BaggedTrees | None = None
        self._lock = Lock()

    @classmethod
    def checked(cls, texts: tuple[str, ...]) -> TreeMember:
        """Make the tables now and hold them against LightGBM."""
        member = cls(texts)
        member._compiled().check([booster_from_text(text) for text in texts])
        return member

    def __reduce__(self) -> tuple[type[TreeMember], tuple[tuple[str, ...]]]:
        return TreeMember, (self.texts,)

    @property
    def base(self) -> float:
        """Expected log-odds, averaged over the bag."""
        return float(self._compiled().base.mean())

    def raw(self, X: Floats) -> Floats:
        """Return log-odds averaged over the bag."""
        bags = self.raw_bags(X)
        return add_bags(bags) / len(bags)

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each booster, shape (bags, rows)."""
        return self._compiled().raw_bags(X)

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Add scaled contributions to ``parts``; return log-odds and those of each booster."""
        bags = self._compiled().add_to(parts, X, scale / len(self.texts))
        return add_bags(bags) / len(bags), bags

    @property
    def n_columns(self) -> int:
        """Number of encoded columns."""
        return len(self._forests[0].feature_names)

    def _compiled(self) -> BaggedTrees:
        if self._tables is None:
            from icp_ml.model.fasttree.bags import BaggedTrees

            with self._lock:
                if self._tables is None:
                    self._tables = BaggedTrees(self._forests)
        return self._tables

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and LightGBM texts."""
        return {"kind": "trees"}, list(self.texts)


@dataclass(frozen=True)
class LinearMember(_Tabled):
    """Ridge logistic regressions on normal scores: lines that bend at quantiles."""

    models: tuple[LinearModel, ...]
    tables: StepTables

    @classmethod
    def from_models(cls, models: tuple[LinearModel, ...]) -> LinearMember:
        """Put the lines of all models into one table per column."""
        return cls(models, linear.tables_of(models))

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and no texts."""
        return {"kind": "linear", "models": [model.to_state() for model in self.models]}, []


@dataclass(frozen=True)
class BoundedMember:
    """Ridge logistic regressions whose chance stays between bounds.

    Index and bounds are averaged over the bag, so that a row is looked up once: log-odds aren't averages of
    those of the models, but within what sets these apart.
    """

    models: tuple[BoundedModel, ...]
    tables: StepTables
    bounds: Bounds

    @classmethod
    def from_models(cls, models: tuple[BoundedModel, ...]) -> BoundedMember:
        """Put the lines of all models into one table per column."""
        floor = sum(model.bounds.floor for model in models) / len(models)
        gap = sum(model.bounds.gap for model in models) / len(models)
        return cls(models, linear.tables_of(tuple(model.linear for model in models)), Bounds(floor, gap))

    @property
    def n_columns(self) -> int:
        """Number of encoded columns."""
        return self.tables.n_columns

    @property
    def base(self) -> float:
        """Log-odds of an account that is average in everything."""
        return float(self.bounds.log_odds(self.tables.base.mean()))

    def raw(self, X: Floats) -> Floats:
        """Return log-odds of the bag as a whole."""
        return self.bounds.log_odds(self.tables.raw(X))

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each model, shape (bags, rows)."""
        return self._each(self.tables.raw_bags(X))

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Add scaled contributions to ``parts``; return log-odds and those of each model."""
        own = np.zeros(X.shape[::-1])
        index, bags = self.tables.add_to(own, X, 1.0)
        slopes = scale * self.bounds.slopes(index, float(self.tables.base.mean()))
        for table in self.tables.tables:
            parts[table.column] += slopes * own[table.column]
        return self.bounds.log_odds(index), self._each(bags)

    def _each(self, bags: Floats) -> Floats:
        return np.array(
            [model.bounds.log_odds(index) for model, index in zip(self.models, bags, strict=True)]
        )

    def to_state(self) -> tuple[dict[str, Any], list[str]]:
        """Return a JSON-able dict and no texts."""
        return {"kind": "bounded", "models": [model.to_state() for model in self.models]}, []


AnyMember = AdditiveMember | StepMember | TreeMember | LinearMember | BoundedMember


def member_from_state(
    state: Mapping[str, Any] | Given,
    texts: Sequence[str],
    n_columns: int | None = None,
    names: Sequence[str] = (),
) -> AnyMember:
    """Rebuild a member from what its ``to_state`` gave.

    Parameters
    ----------
    state
        What ``to_state`` gave, with or without the names of the texts.
    texts
        LightGBM texts, one per booster.
    n_columns
        Number of encoded columns; None takes the member's own.
    names
        Names of the files of the texts, for errors.

    Raises
    ------
    BundleError
        If a field is missing, of another type or out of range, models don't go together, or a text isn't
        that of a LightGBM model of these columns.
    """
    given = Given.of(state, "member")
    given.record("kind", optional=("models", "n_columns", "texts"))
    kind = given["kind"].choice(list(_FIELDS))
    given.record("kind", *_FIELDS[kind], optional=("texts",))
    if bool(texts) == ("models" in _FIELDS[kind]):
        given.refuse("models in it or model texts of its own, not both", f"{len(texts)} texts")
    try:
        member = _read_member(kind, given, tuple(texts), names)
    except InputMismatchError as problem:
        raise BundleError(
            f"{names[0] if names else given.file or 'model'}: {problem}", **problem.facts
        ) from problem
    if n_columns is not None and member.n_columns != n_columns:
        given.refuse(f"models of {n_columns:,} encoded columns", f"models of {member.n_columns:,}")
    return member


def _read_member(kind: str, given: Given, texts: tuple[str, ...], names: Sequence[str]) -> AnyMember:
    if kind == "additive":
        return AdditiveMember.from_texts(texts, given["n_columns"].whole(low=1, high=MOST), names)
    if kind == "trees":
        return TreeMember(texts, None, names)
    models = given["models"].each(least=1, most=MOST_MODELS)
    if kind == "steps":
        n_columns = given["n_columns"].whole(low=1, high=MOST)
        return StepMember.from_models(
            tuple(StepModel.from_state(model, n_columns) for model in models), n_columns
        )
    if kind == "linear":
        linear_read = tuple(map(LinearModel.from_state, models))
        _same_width(given, linear_read)
        return LinearMember.from_models(linear_read)
    bounded_read = tuple(map(BoundedModel.from_state, models))
    _same_width(given, [model.linear for model in bounded_read])
    return BoundedMember.from_models(bounded_read)


def _same_width(given: Given, models: Sequence[LinearModel]) -> None:
    widths = sorted({len(model.coefficients) for model in models})
    if len(widths) > 1:
        given["models"].refuse("models of as many encoded columns", f"models of {widths[:5]}")
