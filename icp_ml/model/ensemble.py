"""Fitted members, their weights, their calibration: from an encoded matrix to log-odds and contributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from icp_ml.errors import BundleError
from icp_ml.foreign import Given, shown
from icp_ml.model.calibration import Z90, Calibration
from icp_ml.model.columns import Floats
from icp_ml.model.contributions import add_bags
from icp_ml.model.encoding import Encoder
from icp_ml.model.members import Member, member_from_state

BASELINE = "logistic"
MOST_MEMBERS, MOST_NAME = 100, 200
_NEAR_ONE = 1e-6


@dataclass(frozen=True)
class Ensemble:
    """What a fitted classifier needs in order to score.

    Parameters
    ----------
    encoder
        From frame to matrix.
    members
        Candidate name → fitted member; those with weight, and the logistic baseline.
    weights
        Candidate name → convex weight on log-odds.
    calibration
        From combined to calibrated log-odds.
    baseline
        Calibration of the logistic alone; None if it was no candidate.
    bag_variance
        Factor from the variance over bags to the variance of their mean over samples of accounts.
    """

    encoder: Encoder
    members: dict[str, Member]
    weights: dict[str, float]
    calibration: Calibration
    baseline: Calibration | None
    bag_variance: float

    @property
    def base_value(self) -> float:
        """Calibrated log-odds before any contribution."""
        combined = sum(weight * self.members[name].base for name, weight in self.weights.items())
        return float(self.calibration.slope * combined + self.calibration.intercept)

    def log_odds(self, matrix: Floats) -> Floats:
        """Return calibrated log-odds per row of an encoded matrix."""
        return self.calibration.apply(self._combined(matrix))

    def contributions(self, matrix: Floats) -> Floats:
        """Return contributions per encoded column; they and :attr:`base_value` add up to :meth:`log_odds`."""
        return self.explained(matrix)[2]

    def interval(self, matrix: Floats) -> tuple[Floats, Floats]:
        """Return the ends of a 90 % interval of the probability: bag spread and calibration uncertainty."""
        bags = {name: self.members[name].raw_bags(matrix) for name in self.weights}
        return self._ends(self._combined(matrix), self._weighted(bags))

    def explained(self, matrix: Floats) -> tuple[Floats, tuple[Floats, Floats], Floats]:
        """Return :meth:`log_odds`, :meth:`interval` and :meth:`contributions`, bit for bit, in one pass."""
        parts = np.zeros(matrix.shape[::-1])
        found = {
            name: self.members[name].add_to(parts, matrix, self.calibration.slope * weight)
            for name, weight in self.weights.items()
        }
        raw, bags = (self._weighted({name: values[i] for name, values in found.items()}) for i in range(2))
        return self.calibration.apply(raw), self._ends(raw, bags), parts.T

    def _ends(self, combined: Floats, bags: Floats) -> tuple[Floats, Floats]:
        variance = self.calibration.variance(combined)
        if len(bags) > 1:
            mean = add_bags(bags) / len(bags)
            spread = add_bags((bags - mean) ** 2) / (len(bags) - 1)
            variance = variance + self.calibration.slope**2 * self.bag_variance * spread
        centre, half = self.calibration.apply(combined), Z90 * np.sqrt(variance)
        return expit(centre - half), expit(centre + half)

    def baseline_log_odds(self, matrix: Floats) -> Floats | None:
        """Return calibrated log-odds of the logistic alone, None if there is none."""
        if self.baseline is None:
            return None
        return self.baseline.apply(self.members[BASELINE].raw(matrix))

    def _combined(self, matrix: Floats) -> Floats:
        return self._weighted({name: self.members[name].raw(matrix) for name in self.weights})

    def _weighted(self, values: Mapping[str, Floats]) -> Floats:
        names = iter(self.weights)
        first = next(names)
        # The arrays are the members' gift, so they may be overwritten.
        total = values[first]
        total *= self.weights[first]
        for name in names:
            total += self.weights[name] * values[name]
        return total

    def to_state(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return a JSON-able dict and LightGBM texts by name."""
        texts: dict[str, str] = {}
        members: dict[str, Any] = {}
        for name, member in self.members.items():
            state, own = member.to_state()
            keys = [f"{name}_{bag}" for bag in range(len(own))]
            texts.update(zip(keys, own, strict=True))
            members[name] = {**state, "texts": keys}
        state = {
            "encoder": self.encoder.to_state(),
            "members": members,
            "weights": self.weights,
            "calibration": self.calibration.to_dict(),
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
            "bag_variance": self.bag_variance,
        }
        return state, texts

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any] | Given, texts: Mapping[str, str], target: str = ""
    ) -> Ensemble:
        """Rebuild what :meth:`to_state` gave; ``target`` names the files of texts in errors.

        Raises
        ------
        BundleError
            If a field is missing, of another type or out of range, members, weights and encoder don't go
            together, or a model text is missing or unreadable.
        """
        given = Given.of(state, "ensemble").record(
            "encoder", "members", "weights", "calibration", "baseline", "bag_variance"
        )
        encoder = Encoder.from_state(given["encoder"])
        stored = given["members"].entries(least=1, most=MOST_MEMBERS)
        own = _texts_of(given["members"], stored, texts)
        members: dict[str, Member] = {
            name: member_from_state(
                member,
                [texts[key] for key in own[name]],
                len(encoder.parts),
                [f"{target}.{key}.txt" if target else key for key in own[name]],
            )
            for name, member in stored.items()
        }
        baseline = given.get("baseline")
        if baseline is not None and BASELINE not in members:
            baseline.refuse(f"null without a member {BASELINE!r}")
        return cls(
            encoder=encoder,
            members=members,
            weights=_weights(given["weights"], stored),
            calibration=Calibration.from_dict(given["calibration"]),
            baseline=None if baseline is None else Calibration.from_dict(baseline),
            bag_variance=given["bag_variance"].number(low=0.0),
        )


def _texts_of(
    given: Given, stored: Mapping[str, Given], texts: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return the names of the texts of each member; each text belongs to one."""
    keys = {
        name: member.record("texts", optional=member.entries())["texts"].texts(longest=MOST_NAME)
        for name, member in stored.items()
    }
    needed = [key for own in keys.values() for key in own]
    given.once(needed)
    missing = [key for key in needed if key not in texts]
    if missing:
        raise BundleError(
            f"expected {len(needed)} model texts, {len(missing)} are missing: {missing[:5]}; "
            "save the model again",
            missing=missing,
        )
    return keys


def _weights(given: Given, stored: Mapping[str, Given]) -> dict[str, float]:
    """Return convex weights of members that are bags of one size."""
    weights = {}
    for name, weight in given.entries(least=1).items():
        if name not in stored:
            weight.refuse(f"a weight of one of the members {', '.join(stored)}", f"one of {shown(name)}")
        weights[name] = weight.number(low=0.0, high=1.0)
    if abs(sum(weights.values()) - 1.0) > _NEAR_ONE:
        given.refuse("weights that add up to 1", f"{sum(weights.values()):g}")
    sizes = {name: _bags(stored[name]) for name in weights}
    if len(set(sizes.values())) > 1:
        given.refuse("weights of members that are bags of one size", f"sizes {sorted(set(sizes.values()))}")
    return weights


def _bags(member: Given) -> int:
    models = member.get("models")
    return len(member["texts"].value if models is None else models.value)
