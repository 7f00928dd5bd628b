"""What a feature column is: its kind, its family, and whether its past values are known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["numeric", "category", "boolean", "technologies"]
Family = Literal["firmographic", "technographic", "readiness", "post_sale"]

TARGETS = ("retained", "expanded", "churned_first_year")
KEYS = ("account_id", "as_of")


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature column of a features frame.

    Parameters
    ----------
    name
        Column name in the features frame.
    kind
        ``numeric`` (float64, NaN = unknown), ``category`` (text or None), ``boolean`` (1.0 / 0.0 / NaN),
        ``technologies`` (a list of tool names; an empty list is "scanned, none found", None "stack unknown").
    family
        What sort of knowledge it is; ``post_sale`` is never in the fit model unless asked for.
    point_in_time
        False where only today's value exists, so that a past snapshot sees the present.
    """

    name: str
    kind: Kind
    family: Family = "firmographic"
    point_in_time: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Schema:
    """The feature columns of a dataset, in order, and how a raw frame becomes them.

    Parameters
    ----------
    features
        The columns, in the order of the features frame.
    account_id
        Name of the account column in the user's own frame (``Dataset.from_frame``), else ``"account_id"``.
    delimiters
        For each technologies column given as text, the delimiter that splits it.
    dropped
        Columns of the source that are no features, with the reason.
    snapshot_date
        Name of the date column in the user's own frame; None where rows have no date.
    """

    features: tuple[Feature, ...]
    account_id: str = "account_id"
    delimiters: tuple[tuple[str, str], ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    snapshot_date: str | None = None

    @property
    def names(self) -> list[str]:
        """Feature names in order."""
        return [feature.name for feature in self.features]

    def kind(self, name: str) -> Kind:
        """Return the kind of the feature ``name``."""
        return next(feature.kind for feature in self.features if feature.name == name)

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Return the names of all features of the given kinds, in order."""
        return [feature.name for feature in self.features if feature.kind in kinds]

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return {
            "features": [feature.to_dict() for feature in self.features],
            "account_id": self.account_id,
            "delimiters": [list(pair) for pair in self.delimiters],
            "dropped": [list(pair) for pair in self.dropped],
            "snapshot_date": self.snapshot_date,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Schema:
        """Rebuild what :meth:`to_dict` wrote."""
        return cls(
            features=tuple(Feature(**feature) for feature in state["features"]),
            account_id=state["account_id"],
            delimiters=tuple((str(name), str(mark)) for name, mark in state["delimiters"]),
            dropped=tuple((str(name), str(why)) for name, why in state["dropped"]),
            snapshot_date=state.get("snapshot_date"),
        )
