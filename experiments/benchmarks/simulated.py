"""Simulated accounts whose true chances are known, as tasks of the benchmark; tools are yes/no columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.simulation import make_frame

FIRST_SEED = 5_000
SEEDS = {400: 20, 1000: 20, 3000: 12}
FRESH = 4_000
NOT_FEATURES = ["account_id", "technologies", "retained", "expanded", "churned_first_year"]


def flat(frame: pd.DataFrame, tools: list[str]) -> pd.DataFrame:
    """Return features with a column per tool; unknown stacks are missing."""
    stacks = frame["technologies"]
    known = stacks.notna().to_numpy()
    held = {
        f"uses {tool}": [
            float(tool in stack) if is_known else np.nan
            for stack, is_known in zip(stacks, known, strict=True)
        ]
        for tool in tools
    }
    return pd.concat([frame.drop(columns=NOT_FEATURES).reset_index(drop=True), pd.DataFrame(held)], axis=1)


def task_of(n: int, seed: int, folder: Path) -> dict[str, Any]:
    """Write one world: ``n`` accounts to learn from and fresh ones, with their true chances, to judge by."""
    learn, fresh = make_frame(n, seed=seed), make_frame(FRESH, seed=seed + 500_000)
    counts = learn.frame["technologies"].explode().value_counts()
    tools = sorted(counts[counts >= 10].index)
    x = pd.concat([flat(learn.frame, tools), flat(fresh.frame, tools)], ignore_index=True)
    texts = [c for c in x if not pd.api.types.is_numeric_dtype(x[c]) and not pd.api.types.is_bool_dtype(x[c])]
    for column in x:
        if column in texts:
            x[column] = x[column].astype(object).where(x[column].notna(), None)
        else:
            x[column] = x[column].astype("float64")
    y = np.concatenate([learn.frame["retained"], fresh.frame["retained"]]).astype(float)
    # The oracle knows the complete accounts; what was learnt from has no chance.
    chance = np.concatenate([np.full(n, np.nan), learn.truth.probability(fresh.complete)])
    file = f"world_{n}_{seed}.parquet"
    x.assign(__outcome=y, __chance=chance).to_parquet(folder / file, index=False)
    rows = {"train": list(range(n)), "test": list(range(n, n + FRESH))}
    return {"set": "simulated", "n": str(n), "fold": seed, "file": file, "categories": texts, **rows}
