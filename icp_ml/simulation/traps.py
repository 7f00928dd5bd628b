"""What makes a simulated base hard to read: each trap can be switched alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from icp_ml.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Traps:
    """What makes a simulated base hard to read truthfully; each can be switched alone.

    Parameters
    ----------
    proxies
        Revenue, sites, IT spend, web rank, founding year, hiring rate, business model and IT maturity follow
        planted features (correlation .85 for the close ones); off: they are independent of everything.
    confounder
        Region depends on size and funding, the outcome on these: it is associated, without an own effect.
    missing
        Share of values missing completely at random, in every feature column (stacks unknown: a third of it).
    missing_by_size
        Share of values of size, money and funding columns missing more often the smaller the company.
    label_noise
        Share of labels replaced by a draw from the base rate, whatever the features say.
    collider
        Adds ``health_score``, a post-sale column that knows the outcome (single-feature AUC about .9).
    survivorship
        Accounts that left were enriched again afterwards: 20 % fewer employees, 15 % more missing values.
    duplicates
        Share of companies that appear a second time under another account id, with the same labels.
    parents
        Share of accounts that belong to groups of four with one parent, industry, region and related fate.
    drift
        Over snapshots: the first planted tool's log odds ratio halves in the newest quarter of them, and
        a tool nobody had before (``NovaCRM``) is adopted by 20 %.

    Examples
    --------
    >>> Traps().proxies, Traps(label_noise=0.05).label_noise
    (True, 0.05)
    """

    proxies: bool = True
    confounder: bool = True
    missing: float = 0.15
    missing_by_size: float = 0.0
    label_noise: float = 0.0
    collider: bool = False
    survivorship: bool = False
    duplicates: float = 0.0
    parents: float = 0.0
    drift: bool = False

    @classmethod
    def of(cls, traps: Traps | Mapping[str, float | bool] | None) -> Traps:
        """Return the default set with the given changes.

        Parameters
        ----------
        traps
            None for the defaults, a mapping of changes to them, or a complete set.

        Raises
        ------
        ConfigError
            If a trap is unknown or a share lies outside 0 to 0.9.
        """
        if isinstance(traps, Traps):
            chosen = traps
        else:
            known = {item.name for item in fields(cls)}
            unknown = sorted(set(traps or {}) - known)
            if unknown:
                raise ConfigError(
                    f"expected traps out of {sorted(known)}, found {unknown}: correct the names",
                    unknown=unknown,
                )
            chosen = replace(cls(), **dict(traps or {}))  # type: ignore[arg-type]
        for name, value in asdict(chosen).items():
            if not 0.0 <= float(value) <= (1.0 if isinstance(value, bool) else 0.9):
                raise ConfigError(f"expected {name} between 0 and 0.9, found {value}", trap=name, found=value)
        return chosen


NO_TRAPS = Traps(proxies=False, confounder=False, missing=0.0)
