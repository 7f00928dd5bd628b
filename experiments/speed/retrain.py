"""What the registry, the gate and the report cost: a whole retraining beside the `train` inside it.

python experiments/speed/retrain.py [--smoke] [--repeats 3]

Each repeat is a process of its own: tables of 2,000 accounts and 8 quarterly snapshots are read, a champion
is put in place, then `icp.retrain` runs as the command does: dataset, `train`, evaluation, report with
figures, MLflow on SQLite, reloading, and the gate. The clock of `train` runs inside it, so that both see one
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

HERE = Path(__file__).resolve().parent
BAR_RATIO, BAR_SECONDS = 1.3, 15.0


def one(smoke: bool) -> dict[str, float]:
    """Retrain once and return its seconds and those of the `train` inside it."""
    warnings.simplefilter("ignore")
    import icp_ml as icp
    import icp_ml.serve.retrain as line
    from icp_ml.config import Config, DataConfig
    from icp_ml.simulation import make_tables
    from icp_ml.view.keep import files_beside_model

    tables, rejects = icp.read_tables(make_tables(300 if smoke else 2000, seed=1).tables)
    days = tuple(icp.quarter_ends("2022-06-30", "2024-03-31"))[:: 4 if smoke else 1]
    config = Config(data=DataConfig(snapshot_dates=days))
    clocks: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        done = work()
        clocks[f"{name}_seconds"] = time.perf_counter() - wall
        clocks[f"{name}_cpu"] = time.process_time() - cpu
        return done

    with tempfile.TemporaryDirectory() as name:
        tracker = icp.MlflowTracker(tracking_uri=f"sqlite:///{Path(name) / 'mlflow.db'}")
        put_champion(tracker, line.dataset_of(tables, config), Path(name) / "champion")
        plain = line.train_configured
        line.train_configured = lambda *args, **more: timed("train", lambda: plain(*args, **more))
        draw = files_beside_model(rejects)
        outcome = timed("retrain", lambda: icp.retrain(tables, config, tracker, draw=draw))
    return {**clocks, "promoted": float(outcome.promoted)}


def put_champion(tracker: Any, dataset: Any, folder: Path) -> None:
    """Register a model of the older half and make it the champion, so that the gate has two to judge."""
    import icp_ml as icp
    from icp_ml.serve.record import run_record

    middle = dataset.labels["snapshot_date"].sort_values().iloc[len(dataset) // 2].date()
    older, newer = icp.split_out_of_time(dataset, test_from=middle)
    model = icp.train(older, profile=False)
    icp.save(model, folder)
    version = tracker.log(run_record(model, icp.evaluate(model, newer, n_bootstrap=10)), folder)
    tracker.promote(version, "the first", replaces=None)


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Return medians, and the overhead against its bar."""
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    result: dict[str, Any] = {**middle, "bar": f"retrain <= {BAR_RATIO} x train + {BAR_SECONDS:.0f} s"}
    for kind in ("seconds", "cpu"):
        whole, part = middle[f"retrain_{kind}"], middle[f"train_{kind}"]
        result[f"ratio_{kind}"] = whole / part
        result[f"allowed_{kind}"] = BAR_RATIO * part + BAR_SECONDS
        result[f"met_{kind}"] = whole <= result[f"allowed_{kind}"]
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="300 accounts, one repeat, nothing written")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.smoke)))
        return 0
    command = [sys.executable, str(HERE / "retrain.py"), "--one", *(["--smoke"] if asked.smoke else [])]
    runs = []
    for _ in range(1 if asked.smoke else asked.repeats):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(runs[-1], flush=True)
    found = summary(runs)
    print(
        f"retrain {found['retrain_seconds']:.1f} s, train {found['train_seconds']:.1f} s: "
        f"{found['ratio_seconds']:.2f} x; allowed {found['allowed_seconds']:.1f} s"
    )
    if not asked.smoke:
        result = {**found, "runs": runs}
        (HERE / "retrain.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
