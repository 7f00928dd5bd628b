"""What every experiment needs: where the public data lie, fit and look, and one way to write result.json."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import icp_ml as icp

HERE = Path(__file__).resolve().parent
SEED = 7


def data_folder() -> Path:
    """Return the folder of public data sets: $ICP_ML_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("ICP_ML_DATA", HERE.parent.parent / "shared" / "data"))
    if not folder.is_dir():
        print(
            f"no public data at {folder.name}: set ICP_ML_DATA to the folder that holds them", file=sys.stderr
        )
        raise SystemExit(2)
    return folder


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    smoke: bool
    out: Path | None


def options(description: str) -> Options:
    """Read --smoke (small and quick) and --out (where result.json goes)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="a small part of the data, to see that it runs")
    parser.add_argument(
        "--out", type=Path, default=None, help="folder for result.json (default: beside run.py)"
    )
    found = parser.parse_args()
    return Options(smoke=found.smoke, out=found.out)


def sample(frame: pd.DataFrame, opts: Options, n: int = 600) -> pd.DataFrame:
    """Return the frame, or ``n`` rows of it under --smoke."""
    return (
        frame.sample(n, random_state=SEED).reset_index(drop=True) if opts.smoke and len(frame) > n else frame
    )


def study(train: icp.Dataset, test: icp.Dataset) -> tuple[dict[str, Any], icp.IcpModel]:
    """Train on one part, evaluate on the other, and return what was found as plain data."""
    model = icp.train(train, seed=SEED)
    metrics = icp.evaluate(model, test).metrics
    shown = metrics[
        metrics["name"].isin(["auc", "log_loss", "brier", "calibration_slope", "top_decile_lift"])
    ]
    columns = [
        "target",
        "trait",
        "kind",
        "role",
        "direction",
        "n_accounts",
        "rate",
        "base_rate",
        "lift",
        "lift_low",
        "lift_high",
        "q_value",
        "proxy_of",
    ]
    traits = model.profile.traits
    found = traits[traits["kind"].isin(["icp", "anti_icp"])]
    result = {
        "accounts": {"train": len(set(train.groups)), "test": len(set(test.groups))},
        "candidates": len(traits),
        "traits_found": len(found),
        "metrics": shown.to_dict("records"),
        "traits": found[columns].to_dict("records"),
    }
    print(model.profile.to_text())
    print(shown.to_string(index=False))
    return result, model


def save_result(result: dict[str, Any], script: str, opts: Options) -> None:
    """Write result.json beside the script (or under --out); a smoke run never overwrites a real result."""
    folder = opts.out or (None if opts.smoke else Path(script).resolve().parent)
    text = json.dumps(result, indent=1, default=_plain) + "\n"
    if folder is None:
        print(text)
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "result.json.part"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / "result.json")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
