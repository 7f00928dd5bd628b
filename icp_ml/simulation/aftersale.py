"""What a vendor records around its contracts: deals, tickets, answers to surveys, use and costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icp_ml.simulation.ledger import Days, Ints
from icp_ml.simulation.world import FloatArray, stream

REASONS = ("price", "no decision", "competitor", "missing feature", "no budget")
CHANNELS = ("inbound", "outbound", "partner", "events", "referral")


def aftersale(
    ids: NDArray[Any],
    begins: Days,
    met: Days,
    left: Days,
    last: np.datetime64,
    arr: FloatArray,
    fit: FloatArray,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return deals, tickets, nps, usage and costs.

    Parameters
    ----------
    ids
        Account ids, customers first.
    begins, left
        First day as a customer, and the day of leaving (NaT: still there), of customers.
    met
        Day of the lost deal of the other accounts.
    last
        Last day recorded.
    arr, fit
        Final recurring revenue and chance of renewal of customers.
    seed
        Seed of the base.
    """
    n = len(begins)
    stop = np.where(np.isnat(left), last, np.minimum(left, last))
    quarters = np.maximum(1, (stop - begins).astype(np.int64) // 91)
    account = np.repeat(np.arange(n), quarters)
    turn = np.arange(len(account)) - np.repeat(np.cumsum(quarters) - quarters, quarters)
    days = begins[account] + (91 * turn + 45).astype("timedelta64[D]")
    keep = days <= stop[account]
    account, days = account[keep], days[keep]
    leaving = ~np.isnat(left[account]) & (left[account] - days < np.timedelta64(200, "D"))
    return {
        "deals": _deals(ids, begins, met, last, arr, seed),
        "tickets": _tickets(ids, account, days, stop, fit, seed),
        "nps": _nps(ids, account, days, leaving, fit, seed),
        "usage": _usage(ids, account, days, leaving, arr, seed),
        "costs": _costs(ids[:n], arr, fit, seed),
    }


def _deals(
    ids: NDArray[Any], begins: Days, met: Days, last: np.datetime64, arr: FloatArray, seed: int
) -> pd.DataFrame:
    rng = stream(seed, "deals")
    n, m = len(begins), len(met)
    # one customer in four had lost its first round a few months before
    again = np.flatnonzero(rng.random(n) < 0.25)
    earlier = begins[again] - rng.integers(120, 400, len(again)).astype("timedelta64[D]")
    account = np.concatenate([np.arange(n), again, np.arange(n, n + m)])
    closed = np.concatenate([begins, earlier, np.minimum(met, last)])
    won = np.arange(len(account)) < n
    cycle = np.round(np.exp(rng.normal(4.2, 0.5, len(account)))).astype("timedelta64[D]")
    amount = np.concatenate([arr, arr[again], np.exp(rng.normal(9.6, 0.7, m))])
    reasons = rng.choice(np.array(REASONS, dtype=object), size=len(account))
    frame = pd.DataFrame(
        {
            "account_id": ids[account],
            "created_date": (closed - cycle).astype("datetime64[ns]"),
            "closed_date": closed.astype("datetime64[ns]"),
            "won": won,
            "amount": np.round(amount, -1),
            "discount": np.round(rng.beta(1.5, 8, len(account)), 2),
            "reason_lost": pd.Series(reasons, dtype=object).mask(won),
        }
    )
    return frame.sort_values(["closed_date", "account_id"], kind="stable", ignore_index=True)


def _tickets(
    ids: NDArray[Any], account: Ints, days: Days, stop: Days, fit: FloatArray, seed: int
) -> pd.DataFrame:
    rng = stream(seed, "tickets")
    count = rng.poisson(np.exp(-0.2 - 1.2 * (fit[account] - 0.85)))
    at = np.repeat(np.arange(len(account)), count)
    on = np.minimum(days[at] + rng.integers(-45, 46, len(at)).astype("timedelta64[D]"), stop[account[at]])
    severity = rng.choice(
        np.array(["low", "normal", "high"], dtype=object), size=len(at), p=(0.3, 0.55, 0.15)
    )
    return _sorted(
        pd.DataFrame(
            {"account_id": ids[account[at]], "date": on.astype("datetime64[ns]"), "severity": severity}
        )
    )


def _nps(
    ids: NDArray[Any], account: Ints, days: Days, leaving: NDArray[np.bool_], fit: FloatArray, seed: int
) -> pd.DataFrame:
    rng = stream(seed, "nps")
    asked = rng.random(len(account)) < 0.15
    score = 7.5 + 4 * (fit[account] - 0.85) - 2.0 * leaving + rng.normal(0, 1.8, len(account))
    return _sorted(
        pd.DataFrame(
            {
                "account_id": ids[account[asked]],
                "date": days[asked].astype("datetime64[ns]"),
                "score": np.clip(np.round(score[asked]), 0, 10).astype(np.int64),
            }
        )
    )


def _usage(
    ids: NDArray[Any], account: Ints, days: Days, leaving: NDArray[np.bool_], arr: FloatArray, seed: int
) -> pd.DataFrame:
    rng = stream(seed, "usage")
    users = np.sqrt(arr[account]) * np.where(leaving, 0.6, 1.0) * np.exp(rng.normal(-1.0, 0.4, len(account)))
    return _sorted(
        pd.DataFrame(
            {
                "account_id": ids[account],
                "date": days.astype("datetime64[ns]"),
                "metric": "active_users",
                "value": np.maximum(0.0, np.round(users)),
            }
        )
    )


def _costs(ids: NDArray[Any], arr: FloatArray, fit: FloatArray, seed: int) -> pd.DataFrame:
    rng = stream(seed, "costs")
    n = len(ids)
    frame = pd.DataFrame(
        {
            "account_id": ids,
            "cac": np.round(0.6 * arr * np.exp(rng.normal(0, 0.5, n)), -1),
            "gross_margin": np.round(np.clip(rng.normal(0.74, 0.06, n), 0.3, 0.95), 3),
            "cost_to_serve": np.round(0.08 * arr * np.exp(rng.normal(0, 0.4, n)) * (1.6 - fit / 1.2), -1),
            "channel": rng.choice(np.array(CHANNELS, dtype=object), size=n, p=(0.35, 0.25, 0.15, 0.1, 0.15)),
        }
    )
    return frame.sort_values("account_id", kind="stable", ignore_index=True)


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["account_id", "date"], kind="stable", ignore_index=True)
