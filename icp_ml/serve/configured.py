"""Training as one TOML file says it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from icp_ml.config import Config
from icp_ml.data.dataset import Dataset
from icp_ml.data.follow_up import follow_up
from icp_ml.data.tables import Tables
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.training import train


def train_configured(
    tables: Tables,
    known: Dataset,
    test_from: date,
    config: Config,
    *,
    snapshot_dates: Sequence[date],
    n_jobs: int | None = None,
) -> IcpModel:
    """Train on what was known when the test begins.

    Parameters
    ----------
    tables
        The tables that ``known`` was built from; a hazard follows their accounts up to ``test_from``.
    known
        The training part.
    test_from
        First day of the test part; no month after it is looked at.
    config
        Seed, objective and allowed leaks.
    snapshot_dates
        Days that a hazard follows accounts from; those before ``test_from`` are used.
    n_jobs
        Threads; None is all cores.
    """
    followed = None
    if config.objective == "hazard":
        followed = follow_up(
            tables,
            snapshot_dates=[day for day in snapshot_dates if day < test_from],
            horizon_months=config.horizon_months,
            post_sale=config.post_sale,
            observed_until=test_from,
            technology_grace_days=config.technology_grace_days,
        )
    return train(
        known,
        seed=config.seed,
        n_jobs=n_jobs,
        allow_leaks=config.allow_leaks,
        objective=config.objective,
        follow_up=followed,
        rising=config.model.rising,
        falling=config.model.falling,
    )
