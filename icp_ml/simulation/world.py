"""The rules of a simulated world: its companies, their tool stacks and what is switched on.

A world has no memory of a seed: two frames from one world with different seeds are two samples of the same
companies, so what is learned on one can be judged on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from icp_ml.errors import ConfigError
from icp_ml.simulation.names import (
    BUSINESS_MODELS,
    ENGINEERING,
    HOME_MODEL,
    INDUSTRIES,
    NULL_COLUMNS,
    REGIONS,
    STACKS,
    STAGES,
)
from icp_ml.simulation.traps import Traps

VERSION = "1"
SIGNALS = {"null": 1.0, "weak": 1.5, "medium": 2.2, "strong": 3.5}
PROXY_CORRELATION = 0.85
STAGE_SHARES = (0.26, 0.15, 0.17, 0.14, 0.11, 0.08, 0.09)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class World:
    """Everything that fixes P(x) and P(y | x); JSON-able through :func:`dataclasses.asdict`.

    Parameters
    ----------
    odds_ratio
        Odds ratio of each planted trait; 1 is a world without any signal.
    churn
        Share of accounts not retained, 0.02 to 0.5; the intercept is solved for it.
    expansion
        Share of retained accounts that expand.
    first_year_churn
        Share of accounts that leave in their first year.
    n_tools
        Number of tools, 40 to 100, in six stacks.
    n_nulls
        Number of columns that are independent of everything, of every type.
    interaction
        ``"none"``, ``"added"`` (one harmful conjunction beside the traits) or ``"only"`` (one good
        conjunction and nothing else).
    source
        ``"frame"`` or ``"tables"``: which maker the world belongs to.
    drift_from
        ISO date from which the first planted tool's effect is halved; empty: never.
    traps
        The traps that are on.
    """

    odds_ratio: float = 2.2
    churn: float = 0.15
    expansion: float = 0.30
    first_year_churn: float = 0.15
    n_tools: int = 60
    n_nulls: int = 24
    interaction: str = "none"
    source: str = "frame"
    drift_from: str = ""
    traps: Traps = field(default_factory=Traps)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("churn", 0.02, 0.5),
            ("expansion", 0.02, 0.9),
            ("first_year_churn", 0.02, 0.5),
            ("n_tools", 40, 100),
            ("n_nulls", 0, 500),
            ("odds_ratio", 1.0, 50.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    f"expected {name} between {low} and {high}, found {getattr(self, name)}: change it",
                    setting=name,
                    found=getattr(self, name),
                )

    @property
    def is_null(self) -> bool:
        """Whether nothing is planted."""
        return self.odds_ratio == 1.0

    def stacks(self) -> dict[str, list[str]]:
        """Return the tools of each of the six stacks; the first five of a stack exclude each other."""
        share, more = divmod(self.n_tools, len(STACKS))
        return {
            stack: [*tools, *(f"{stack} tool {i}" for i in range(len(tools), 17))][: share + (k < more)]
            for k, (stack, tools) in enumerate(STACKS.items())
        }

    def tools(self) -> list[str]:
        """Return all tools, stack by stack."""
        return [tool for tools in self.stacks().values() for tool in tools]


def odds_ratio_of(signal: str | float) -> float:
    """Return the odds ratio behind a signal's name; 0 and ``"null"`` are 1.

    Parameters
    ----------
    signal
        One of null, weak, medium, strong, or an odds ratio itself.

    Raises
    ------
    ConfigError
        If the name is unknown.

    Examples
    --------
    >>> odds_ratio_of("medium"), odds_ratio_of(0), odds_ratio_of(2.8)
    (2.2, 1.0, 2.8)
    """
    if isinstance(signal, str):
        if signal not in SIGNALS:
            raise ConfigError(
                f"expected signal out of {list(SIGNALS)} or an odds ratio, found {signal!r}", found=signal
            )
        return SIGNALS[signal]
    return 1.0 if signal == 0 else float(signal)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of one block of columns, so that switching a trap moves no other block."""
    return np.random.default_rng([seed, crc32(name.encode())])


@dataclass(frozen=True, slots=True)
class Draw:
    """Companies drawn from a world, before anything is hidden.

    Parameters
    ----------
    columns
        Feature name to array of ``n`` values; everything but the technologies.
    tools
        Matrix (n, tools), True where a company uses the tool.
    names
        The tools, in the order of the matrix's columns.
    size
        Standard normal latent size, ``n`` values; steers missing values and contract sizes, never observed.
    """

    columns: dict[str, NDArray[Any]]
    tools: BoolArray
    names: list[str]
    size: FloatArray

    def __len__(self) -> int:
        return len(self.size)

    def has(self, tool: str) -> BoolArray:
        """Return who uses ``tool``; nobody if the world doesn't know it."""
        if tool not in self.names:
            return np.zeros(len(self), dtype=bool)
        return np.asarray(self.tools[:, self.names.index(tool)], dtype=bool)

    def lists(self) -> NDArray[Any]:
        """Return an object array with each company's list of tools."""
        names = np.array(self.names, dtype=object)
        rows, positions = np.nonzero(self.tools)
        ends = np.cumsum(np.bincount(rows, minlength=len(self)))
        flat = names[positions].tolist()
        out = np.empty(len(self), dtype=object)
        begin = 0
        for row, end in enumerate(ends.tolist()):
            out[row] = flat[begin:end]
            begin = end
        return out


def draw(world: World, n: int, seed: int, *, shift: float = 0.0, nulls: bool = True) -> Draw:
    """Draw ``n`` companies.

    Parameters
    ----------
    world
        The rules.
    n
        Number of companies.
    seed
        Seed of every block of columns.
    shift
        0: companies like the customers. 1: prospects that are far smaller, mostly from regions and industries
        no customer comes from, with thinner stacks; between: in between.
    nulls
        Whether to draw the columns that are independent of everything.
    """
    latent = stream(seed, "latent")
    size = latent.standard_normal(n) - 2.5 * shift
    maturity, growth, engineering = (latent.standard_normal(n) for _ in range(3))
    columns: dict[str, NDArray[Any]] = {}
    columns["employees"] = np.maximum(1.0, np.round(np.exp(4.75 + 1.5 * size)))
    columns["revenue_growth"] = np.round(0.20 + 0.22 * growth, 3)
    columns["funding_stage"] = _stages(seed, size, growth)
    columns["industry"] = _industries(seed, n, shift)
    columns["region"] = _regions(world, seed, size, columns["funding_stage"], shift)
    columns["has_data_team"] = stream(seed, "data team").random(n) < 0.4
    columns.update(_proxies(world, seed, size, growth, maturity, columns["industry"]))
    tools = _tools(world, seed, maturity - shift, engineering - shift)
    if nulls:
        columns.update(_nulls(world.n_nulls, seed, n))
    return Draw(columns, tools, world.tools(), size)


def _stages(seed: int, size: FloatArray, growth: FloatArray) -> NDArray[Any]:
    noise = stream(seed, "stage").standard_normal(len(size))
    latent = 0.35 * size + 0.35 * growth + np.sqrt(1 - 2 * 0.35**2) * noise
    # cut points are the standard normal quantiles of the cumulated STAGE_SHARES
    cuts = np.array([-0.6433, -0.2275, 0.2019, 0.5828, 0.9542, 1.3408])
    return np.asarray(np.array(STAGES, dtype=object)[np.searchsorted(cuts, latent)])


def _industries(seed: int, n: int, shift: float) -> NDArray[Any]:
    rng = stream(seed, "industry")
    weights = 1.0 / np.arange(1, len(INDUSTRIES) + 1)
    levels = rng.choice(np.array(INDUSTRIES, dtype=object), size=n, p=weights / weights.sum())
    foreign = rng.random(n) < 0.6 * shift
    return np.where(foreign, rng.choice(np.array(["Mining", "Agriculture"], dtype=object), size=n), levels)


def _regions(world: World, seed: int, size: FloatArray, stage: NDArray[Any], shift: float) -> NDArray[Any]:
    rng = stream(seed, "region")
    n = len(size)
    # the middle of the planted band of employees lies at size 0.2; region follows only size and funding
    middle = np.exp(-(((size - 0.2) / 0.8) ** 4))
    funded = np.isin(stage, STAGES[2:5])
    pull = 4.0 * middle + 2.4 * funded - 3.4 if world.traps.confounder else np.zeros(n)
    home = rng.random(n) < 1 / (1 + np.exp(-pull))
    other = rng.choice(np.array(REGIONS[1:], dtype=object), size=n)
    regions = np.where(home, REGIONS[0], other)
    foreign = rng.random(n) < 0.8 * shift
    return np.where(foreign, rng.choice(np.array(["Latin America", "Africa"], dtype=object), size=n), regions)


def _proxies(
    world: World,
    seed: int,
    size: FloatArray,
    growth: FloatArray,
    maturity: FloatArray,
    industry: NDArray[Any],
) -> dict[str, NDArray[Any]]:
    rng = stream(seed, "proxies")
    n = len(size)

    def follow(base: FloatArray, correlation: float) -> FloatArray:
        noise = rng.standard_normal(n)
        link = correlation if world.traps.proxies else 0.0
        return np.asarray(link * base + np.sqrt(1 - link**2) * noise)

    close = PROXY_CORRELATION
    columns: dict[str, NDArray[Any]] = {
        "revenue_musd": np.round(np.exp(2.6 + 1.6 * follow(size, close)), 2),
        "sites": np.maximum(1.0, np.round(np.exp(1.2 + 0.9 * follow(size, close)))),
        "it_spend_kusd": np.round(np.exp(6.0 + 1.4 * follow(size, close)), 0),
        "hiring_rate": np.round(0.12 + 0.10 * follow(growth, close), 3),
        "web_rank": np.round(np.exp(12.0 - 1.3 * follow(size, 0.6))),
        "founded_year": np.round(np.clip(2008 - 11 * follow(size, 0.45), 1900, 2019)),
        "it_maturity": np.round(50 + 15 * follow(maturity, 0.7), 1),
    }
    models = np.array(BUSINESS_MODELS, dtype=object)
    home = models[np.array([HOME_MODEL.get(level, 0) for level in industry.tolist()], dtype=int)]
    copies = (rng.random(n) < 0.75) & world.traps.proxies
    columns["business_model"] = np.where(copies, home, rng.choice(models, size=n))
    return columns


def _tools(world: World, seed: int, maturity: FloatArray, engineering: FloatArray) -> BoolArray:
    blocks = []
    for stack, tools in world.stacks().items():
        rng = stream(seed, f"stack {stack}")
        base = engineering if stack in ENGINEERING else maturity
        latent = np.sqrt(0.6) * base + np.sqrt(0.4) * rng.standard_normal(len(base))
        # one main vendor or none: the best utility wins, so that vendors of one stack exclude each other
        level = np.array([1.4, 0.6, 0.7, -0.2, -0.4, 0.1])
        slope = np.array([0.9, 0.2, -0.9, 0.0, 0.3, -0.5])
        utility = level + latent[:, None] * slope
        main = np.argmax(utility + rng.gumbel(size=utility.shape), axis=1)
        extras = len(tools) - 5
        # shares from 32 % down to 3 %, rare tools last
        logit = np.log(np.geomspace(0.45, 0.03, extras))[None, :] + 0.9 * latent[:, None]
        more = rng.random((len(base), extras)) < 1 / (1 + np.exp(-logit))
        blocks.append(np.hstack([main[:, None] == np.arange(5)[None, :], more]))
    return np.hstack(blocks)


def _nulls(count: int, seed: int, n: int) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for i in range(count):
        name, kind, size = NULL_COLUMNS[i % len(NULL_COLUMNS)]
        lap = i // len(NULL_COLUMNS)
        name = name if lap == 0 else f"{name}_{lap + 1}"
        columns[name] = _NULL_KINDS[kind](stream(seed, f"null {name}"), n, size)
    return columns


def _levels(rng: np.random.Generator, n: int, size: float) -> NDArray[Any]:
    weights = 1.0 / np.arange(1, int(size) + 1) ** 0.7
    names = np.array([f"L{i:02d}" for i in range(1, int(size) + 1)], dtype=object)
    return np.asarray(rng.choice(names, size=n, p=weights / weights.sum()))


_NULL_KINDS: Mapping[str, Callable[[np.random.Generator, int, float], NDArray[Any]]] = {
    "category": _levels,
    "flag": lambda rng, n, size: rng.random(n) < size,
    "normal": lambda rng, n, size: np.round(rng.normal(0, size, n), 3),
    "uniform": lambda rng, n, size: np.round(rng.uniform(0, size, n)),
    "lognormal": lambda rng, n, size: np.round(np.exp(rng.normal(3, size, n)), 2),
    "pareto": lambda rng, n, size: np.round(rng.pareto(size, n), 3),
    "count": lambda rng, n, size: rng.poisson(rng.gamma(0.5, 2 * size, n)).astype(np.float64),
}
