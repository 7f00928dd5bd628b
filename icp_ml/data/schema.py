"""What a feature column is: its kind, its family, and whether its past values are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from icp_ml.errors import ConfigError
from icp_ml.foreign import Given

Kind = Literal["numeric", "category", "boolean", "technologies"]
Family = Literal["firmographic", "technographic", "readiness", "post_sale"]

TARGETS = ("retained", "expanded", "churned_first_year")
#: Whether 1 is the good outcome of a target (1) or the bad one (-1).
GOOD = {"retained": 1, "expanded": 1, "churned_first_year": -1}
KEYS = ("account_id", "as_of")
KINDS: tuple[Kind, ...] = ("numeric", "category", "boolean", "technologies")
FAMILIES: tuple[Family, ...] = ("firmographic", "technographic", "readiness", "post_sale")
MOST_FEATURES = 20_000
_OPTIONAL = ("family", "point_in_time", "direction")


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
    direction
        1 where the chance must not fall as the value rises, -1 where it must not rise; numbers and yes/no
        only.
    """

    name: str
    kind: Kind
    family: Family = "firmographic"
    point_in_time: bool = True
    direction: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for JSON; without a direction there is no key of that name."""
        state = asdict(self)
        return state if self.direction else {key: state[key] for key in state if key != "direction"}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any] | Given) -> Feature:
        """Rebuild what :meth:`to_dict` wrote."""
        given = Given.of(state, "feature").record("name", "kind", optional=_OPTIONAL)
        kind = given["kind"].choice(KINDS)
        family, known, direction = (given.get(name) for name in _OPTIONAL)
        feature = cls(
            name=given["name"].text(least=1),
            kind=kind,
            family="firmographic" if family is None else family.choice(FAMILIES),
            point_in_time=True if known is None else known.flag(),
            direction=0 if direction is None else direction.whole(low=-1, high=1),
        )
        if feature.direction and kind not in ("numeric", "boolean"):
            given["direction"].refuse(f"no direction of a {kind} feature")
        return feature


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

    def directed(self, *, rising: Iterable[str] = (), falling: Iterable[str] = ()) -> Schema:
        """Return a schema with :attr:`Feature.direction` set for some features.

        Raises
        ------
        ConfigError
            If a name is no feature, is in both lists, or isn't a number or yes/no.
        """
        direction = dict.fromkeys(rising, 1)
        both = sorted(set(direction) & set(falling))
        direction |= dict.fromkeys(falling, -1)
        ordered = self.of_kind("numeric", "boolean")
        wrong = sorted(set(direction) - set(ordered))
        if wrong or both:
            raise ConfigError(
                "expected rising and falling to name different numeric or yes/no features, found "
                + ", ".join([*(f"{name!r} in both" for name in both), *(repr(name) for name in wrong)])
                + f": choose among {ordered}",
                both=both,
                unknown=wrong,
            )
        return replace(
            self,
            features=tuple(
                replace(feature, direction=direction.get(feature.name, feature.direction))
                for feature in self.features
            ),
        )

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
    def from_dict(cls, state: Mapping[str, Any] | Given) -> Schema:
        """Rebuild what :meth:`to_dict` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another type or out of range, or a feature occurs twice.
        """
        given = Given.of(state, "schema").record(
            "features", "account_id", "delimiters", "dropped", optional=("snapshot_date",)
        )
        features = tuple(map(Feature.from_dict, given["features"].each(least=1, most=MOST_FEATURES)))
        given["features"].once([feature.name for feature in features])
        snapshot_date = given.get("snapshot_date")
        return cls(
            features=features,
            account_id=given["account_id"].text(least=1),
            delimiters=_pairs(given["delimiters"], least=1),
            dropped=_pairs(given["dropped"]),
            snapshot_date=None if snapshot_date is None else snapshot_date.text(least=1),
        )


def _pairs(given: Given, least: int = 0) -> tuple[tuple[str, str], ...]:
    found = []
    for pair in given.each():
        name, other = pair.each(least=2, most=2)
        found.append((name.text(), other.text(least=least)))
    return tuple(found)
