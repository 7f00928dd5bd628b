"""What a simulated base is really like: planted traits, exact probabilities and fresh populations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from icp_ml.errors import ConfigError
from icp_ml.simulation.planted import (
    TECHNOLOGIES,
    Trait,
    holds,
    key_of,
    links,
    planted_segments,
    planted_traits,
)
from icp_ml.simulation.world import VERSION, BoolArray, Draw, FloatArray, World, draw, stream

TARGETS = ("retained", "expanded", "churned_first_year")
DRIFTING = "Salesforce"
_POPULATION = 20_000
_POPULATION_SEED = 202_611


@dataclass(frozen=True)
class Truth:
    """The truth behind a simulated base.

    Parameters
    ----------
    world
        The rules the base was drawn from.
    traits
        Planted traits of all targets: dicts of target, feature, operator, value, direction, odds_ratio.
    segments
        Planted conjunctions: dicts of target, name, conditions, direction, odds_ratio; usually none.
    proxies
        Column or ``technologies:TOOL`` to the planted one it follows, for any target; see :meth:`kind_of`.
    confounded
        Columns associated with the outcome only through another one.
    nulls
        Columns that are independent of all three targets.
    intercepts
        Log-odds of a company that holds nothing, by target; ``expanded`` among retained accounts.
    prevalence
        Share of the population that holds each effect, by target; used where a field is unknown.
    version
        Changes whenever the same arguments give other data.

    Examples
    --------
    >>> from icp_ml.simulation import make_frame
    >>> truth = make_frame(100).truth
    >>> truth.kind_of("retained", "revenue_musd"), truth.kind_of("retained", "hq_state")
    ('proxy', 'null')
    """

    world: World
    traits: list[Trait] = field(default_factory=list)
    segments: list[Trait] = field(default_factory=list)
    proxies: dict[str, str] = field(default_factory=dict)
    confounded: list[str] = field(default_factory=list)
    nulls: list[str] = field(default_factory=list)
    intercepts: dict[str, float] = field(default_factory=dict)
    prevalence: dict[str, list[float]] = field(default_factory=dict)
    version: str = VERSION

    def of(self, target: str) -> list[Trait]:
        """Return the planted traits of one target."""
        return [trait for trait in self.traits if trait["target"] == target]

    def mask(self, claim: Mapping[str, Any], frame: pd.DataFrame) -> BoolArray:
        """Return which rows hold a trait or segment, planted or reported; not those with an unknown field.

        Parameters
        ----------
        claim
            Dict with feature, operator (in, between, has, lacks, is missing), value; or with ``conditions``.
        frame
            Rows with the columns named, such as :meth:`population`.
        """
        return np.asarray(holds(frame, claim) == 1.0)

    def probability(
        self, frame: pd.DataFrame | Draw, target: str = "retained", *, given_retained: bool = False
    ) -> FloatArray:
        """Return P(target = 1 | x) of each row: what the labels are drawn from, label noise included.

        Exact for complete rows. Where a planted field is unknown, the average over holding it or not, weighed
        by its share in the population (an approximation: the other columns may tell more).

        Parameters
        ----------
        frame
            Rows with the planted columns; ``snapshot_date`` is used in a world that drifts.
        target
            retained, expanded or churned_first_year (of an account's first year).
        given_retained
            For ``expanded``: the probability among retained accounts instead of among all.
        """
        if target not in TARGETS:
            raise ConfigError(f"expected a target out of {list(TARGETS)}, found {target!r}", found=target)
        chance = self._noisy(frame, target)
        if target == "expanded" and not given_retained:
            chance = chance * self._noisy(frame, "retained")
        return chance

    def population(self, n: int = 100_000, seed: int = 1) -> pd.DataFrame:
        """Return a fresh complete sample of the same world: all features, nothing missing, and labels.

        Parameters
        ----------
        n
            Number of companies.
        seed
            Its seed; take one that no training base has.
        """
        companies = draw(self.world, n, seed)
        frame = pd.DataFrame({**companies.columns, TECHNOLOGIES: companies.lists()})
        rng = stream(seed, "population labels")
        for target in TARGETS:
            given = self.probability(companies, target, given_retained=True)
            frame[target] = rng.random(n) < given
        frame["expanded"] &= frame["retained"]
        return frame

    def rate(
        self, claim: Mapping[str, Any] | BoolArray, frame: pd.DataFrame, target: str = "retained"
    ) -> float:
        """Return the true rate of ``target`` among the rows of ``frame`` that hold the claim; NaN if none.

        Parameters
        ----------
        claim
            A trait, a segment, or a boolean mask with one value per row.
        frame
            A population without missing values; its size sets the Monte Carlo error.
        target
            The outcome.
        """
        members = self.mask(claim, frame) if isinstance(claim, Mapping) else np.asarray(claim, dtype=bool)
        if not members.any():
            return float("nan")
        return float(self.probability(frame, target)[members].mean())

    def lift(
        self, claim: Mapping[str, Any] | BoolArray, frame: pd.DataFrame, target: str = "retained"
    ) -> float:
        """Return the rate among holders minus the rate among all, as a share (0.05 = 5 points)."""
        return self.rate(claim, frame, target) - self.rate(np.ones(len(frame), dtype=bool), frame, target)

    def kind_of(self, target: str, feature: str, value: object = None) -> str:
        """Say what a reported column or tool is for a target.

        Parameters
        ----------
        target
            The outcome.
        feature
            Column name.
        value
            For ``technologies`` the tool.

        Returns
        -------
        str
            planted; component (of a planted conjunction); proxy; confounded; echo (planted, or linked to what
            is planted, for an outcome that this one contains); leak; null.
        """
        key = key_of(feature, value)
        if feature == "health_score":
            return "leak"
        own = self._planted(target)
        parts = {
            key_of(part["feature"], part["value"])
            for segment in self.segments
            if segment["target"] == target
            for part in segment["conditions"]
        }
        linked = set(links(self.world).get(key, ()))
        if key in own:
            return "planted"
        if key in parts:
            return "component"
        if linked & (own | parts):
            return "confounded" if key in self.confounded else "proxy"
        inner = self._planted({"expanded": "retained"}.get(target, ""))
        if self.world.source == "tables" and target in ("retained", "expanded"):
            inner = inner | self._planted("churned_first_year")
        return "echo" if key in inner or linked & inner else "null"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a plain dict for JSON."""
        return asdict(self)

    def _planted(self, target: str) -> set[str]:
        return {key_of(trait["feature"], trait["value"]) for trait in self.of(target)}

    def _effects(self, target: str) -> list[tuple[Trait, float]]:
        return effects(self.traits, self.segments, target)

    def _noisy(self, frame: pd.DataFrame | Draw, target: str) -> FloatArray:
        noise = self.world.traps.label_noise
        return np.asarray(
            (1 - noise) * self._mixture(frame, target) + noise * wanted_rates(self.world)[target]
        )

    def _mixture(self, frame: pd.DataFrame | Draw, target: str) -> FloatArray:
        late = self._late(frame)
        states, weights = [], []
        for claim, weight in self._effects(target):
            states.append(holds(frame, claim))
            weights.append(np.where(late & (claim.get("value") == DRIFTING), 0.5 * weight, weight))
        logit = np.full(len(frame), self.intercepts[target])
        unknown = np.zeros(len(frame), dtype=bool)
        for state, size in zip(states, weights, strict=True):
            logit += np.nan_to_num(state) * size
            unknown |= np.isnan(state)
        out = np.asarray(1 / (1 + np.exp(-logit)))
        if unknown.any():
            out[unknown] = self._average(
                [state[unknown] for state in states], [size[unknown] for size in weights], target
            )
        return out

    def _average(self, states: list[FloatArray], weights: list[FloatArray], target: str) -> FloatArray:
        total = np.zeros(len(states[0]))
        for pattern in product((False, True), repeat=len(states)):
            logit = np.full(len(total), self.intercepts[target])
            chance = np.ones(len(total))
            for on, state, size, share in zip(pattern, states, weights, self.prevalence[target], strict=True):
                held = np.where(np.isnan(state), share, state)
                chance *= held if on else 1 - held
                logit += size if on else 0.0
            total += chance / (1 + np.exp(-logit))
        return total

    def _late(self, frame: pd.DataFrame | Draw) -> BoolArray:
        if not self.world.drift_from or isinstance(frame, Draw) or "snapshot_date" not in frame:
            return np.zeros(len(frame), dtype=bool)
        return np.asarray(frame["snapshot_date"] >= pd.Timestamp(self.world.drift_from), dtype=bool)


def wanted_rates(world: World) -> dict[str, float]:
    """Return the rate each target's intercept is solved for; ``expanded`` among retained accounts."""
    return {
        "retained": 1 - world.churn,
        "expanded": world.expansion,
        "churned_first_year": world.first_year_churn,
    }


def effects(traits: list[Trait], segments: list[Trait], target: str) -> list[tuple[Trait, float]]:
    """Return each planted claim of a target with its log odds ratio, signed."""
    claims = [trait for trait in traits if trait["target"] == target]
    claims += [segment for segment in segments if segment["target"] == target]
    return [(claim, claim["direction"] * float(np.log(claim["odds_ratio"]))) for claim in claims]


def make_truth(world: World) -> Truth:
    """Return the truth of a world, its intercepts solved on a large sample of it.

    Parameters
    ----------
    world
        The rules.
    """
    traits, segments = planted_traits(world), planted_segments(world)
    sample = draw(replace(world, n_tools=40), _POPULATION, _POPULATION_SEED, nulls=False)
    wanted = wanted_rates(world)
    intercepts: dict[str, float] = {}
    prevalence: dict[str, list[float]] = {}
    weights = np.ones(len(sample))
    for target in TARGETS:
        states = [(holds(sample, claim), weight) for claim, weight in effects(traits, segments, target)]
        prevalence[target] = [float(state.mean()) for state, _ in states]
        score = np.sum([state * weight for state, weight in states], axis=0) + np.zeros(len(sample))
        used = weights if target == "expanded" else np.ones(len(sample))
        intercepts[target] = float(brentq(_gap, -20, 20, args=(score, used, wanted[target])))
        if target == "retained":
            weights = 1 / (1 + np.exp(-intercepts[target] - score))
    linked = links(world)
    planted = {key_of(trait["feature"], trait["value"]) for trait in traits}
    planted |= {
        key_of(part["feature"], part["value"]) for segment in segments for part in segment["conditions"]
    }
    followers = {
        name: next(end for end in ends if end in planted)
        for name, ends in linked.items()
        if name not in planted and planted & set(ends)
    }
    confounded = [name for name in ("region",) if name in followers]
    columns = [*draw(world, 1, 0).columns, *(key_of(TECHNOLOGIES, tool) for tool in world.tools())]
    return Truth(
        world=world,
        traits=traits,
        segments=segments,
        proxies={name: end for name, end in followers.items() if name not in confounded},
        confounded=confounded,
        nulls=[name for name in columns if name not in planted and name not in followers],
        intercepts=intercepts,
        prevalence=prevalence,
    )


def _gap(intercept: float, score: FloatArray, weights: FloatArray, wanted: float) -> float:
    return float(np.average(1 / (1 + np.exp(-intercept - score)), weights=weights)) - wanted
