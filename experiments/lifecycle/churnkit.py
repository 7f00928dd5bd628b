"""The life of a model with churnkit (PyPI, 1.3.4a5) on the base that our own lifecycle experiments use.

python experiments/lifecycle/churnkit.py --python PATH [--smoke] [--comparisons 200]

PATH is a Python in which `pip install "churnkit[ml]"` was run; churnkit isn't installed beside us. This side
makes the table (its numbers and flags only: churnkit's trainer takes nothing else), the other does the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
FIELDS = ("account_id", "snapshot_date", "retained")


def export(folder: Path, accounts: int) -> None:
    """Write the labelled base of `world.py` with industries and tools as flags."""
    import world

    import icp_ml as icp
    from icp_ml.serve.retrain import dataset_of

    dataset = dataset_of(icp.read_tables(world.base(accounts))[0], world.config())
    features = dataset.features
    table = pd.DataFrame({"account_id": features["account_id"], "employees": features["employees"]})
    for level in sorted(features["industry"].dropna().unique()):
        table[f"industry_{level[-7:]}"] = (features["industry"] == level).astype(float)
    for tool in world.TOOLS:
        marked = f"{world.MARKER}-{tool}"
        table[f"uses_{tool}"] = [float(marked in cell) for cell in features["technologies"]]
    table["snapshot_date"] = dataset.labels["snapshot_date"].to_numpy()
    table["retained"] = dataset.labels["retained"].to_numpy(dtype=float)
    table.dropna(subset=["retained"]).to_parquet(folder / "base.parquet", index=False)


def lifecycle(folder: Path) -> dict[str, Any]:
    """Train twice, register, compare, promote, take back and score, with churnkit's own classes."""
    import mlflow
    from customer_retention.core.components.enums import ModelType
    from customer_retention.stages.deployment.batch_scorer import BatchScorer
    from customer_retention.stages.deployment.champion_challenger import ChampionChallenger, RollbackManager
    from customer_retention.stages.deployment.model_registry import ModelRegistry, ModelStage
    from customer_retention.stages.modeling.baseline_trainer import BaselineTrainer

    base = pd.read_parquet(folder / "base.parquet")
    columns = [name for name in base if name not in FIELDS]
    newest = base["snapshot_date"] == base["snapshot_date"].max()
    seen = base[~newest & (base["snapshot_date"] <= base["snapshot_date"].max() - pd.DateOffset(months=12))]
    registry = ModelRegistry(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("churnkit")
    said: dict[str, Any] = {"rows": len(seen), "newest": int(newest.sum()), "registered": []}
    models = []
    for seed in (0, 1):
        began = time.perf_counter()
        trained = BaselineTrainer(ModelType.LIGHTGBM, random_state=seed).fit(seen[columns], seen["retained"])
        said["train_seconds"] = round(time.perf_counter() - began, 2)
        models.append(trained.model)
        began = time.perf_counter()
        done = registry.register_model(trained.model, "churn", run_id="", metrics={"seed": float(seed)})
        said["register_seconds"] = round(time.perf_counter() - began, 2)
        said["registered"].append({"success": done.success, "version": done.version, "error": done.error})
    judge = ChampionChallenger()
    judge.set_champion(models[0], "churn", "1")
    judge.set_challenger(models[1], "churn", "2")
    found = judge.compare(base[newest][columns], base[newest]["retained"])
    said["gate"] = {"recommendation": found.recommendation, "pr_auc_improvement": found.pr_auc_improvement}
    for name, version in (("promote 1", "1"), ("promote 2", "2")):
        said[name] = attempt(lambda v=version: registry.transition_stage("churn", v, ModelStage.PRODUCTION))
    back = RollbackManager().execute_rollback("churn", "2", "1")
    said["rollback"] = {"success": back.success, "error": back.error}
    said["stages"] = attempt(lambda: {str(v.version): v.stage.value for v in registry.list_versions("churn")})
    said["tags_of_versions"] = attempt(lambda: [v.tags for v in registry.list_versions("churn")])
    scorer = BatchScorer(models[0], model_version="1")
    said["score"] = attempt(lambda: scorer.score(base[newest], columns, "account_id").total_scored)
    holed = base[newest].assign(employees=np.nan)
    said["score with unknown employees"] = attempt(
        lambda: scorer.score(holed, columns, "account_id").total_scored
    )
    return said


def attempt(act: Any) -> Any:
    """Return what an act gives, or the error it ends in."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - what it ends in is what is looked at
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"


class Scores:
    """A model that is nothing but its scores."""

    def __init__(self, chance: np.ndarray) -> None:
        self.chance = chance

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        chance = self.chance[rows["row"].to_numpy()]
        return np.column_stack([1.0 - chance, chance])


def gate(comparisons: int, n: int = 1_000) -> dict[str, float]:
    """How often its gate promotes a model of the same kind, a worse, a better, a miscalibrated one."""
    from customer_retention.stages.deployment.champion_challenger import ChampionChallenger

    rng = np.random.default_rng(0)
    kinds = {
        "equal": (1.0, 1.0),
        "two points of AUC worse": (0.83, 1.0),
        "two points of AUC better": (1.25, 1.0),
        "miscalibrated": (1.0, 3.0),
    }
    promoted = dict.fromkeys(kinds, 0)
    for _ in range(comparisons):
        truth = rng.normal(0.0, 1.0, n)
        y = pd.Series((rng.random(n) < 1 / (1 + np.exp(-1.5 - 1.2 * truth))).astype(int))
        rows = pd.DataFrame({"row": np.arange(n)})
        for kind, (skill, stretch) in kinds.items():
            champion = _seen(truth, 1.0, rng)
            challenger = _seen(truth, skill, rng)
            judge = ChampionChallenger()
            judge.set_champion(Scores(1 / (1 + np.exp(-1.5 - champion))), "m", "1")
            judge.set_challenger(Scores(1 / (1 + np.exp(-1.5 - stretch * challenger))), "m", "2")
            promoted[kind] += judge.compare(rows, y).recommendation == "promote_challenger"
    return {kind: count / comparisons for kind, count in promoted.items()}


def _seen(truth: np.ndarray, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Return log-odds that know the truth with noise; AUC .695 at skill 1, .715 at 1.25, .675 at 0.83."""
    noisy = skill * truth + rng.normal(0.0, 1.0, len(truth))
    return 1.2 * skill * noisy / (skill**2 + 1.0)


def inside(folder: Path, comparisons: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    from importlib.metadata import version

    packages = ("churnkit", "mlflow", "pandas", "scikit-learn", "lightgbm")
    return {
        "versions": {name: version(name) for name in packages},
        "lifecycle": lifecycle(folder),
        "promoted": gate(comparisons),
        "comparisons": comparisons,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="a Python that has churnkit[ml]")
    parser.add_argument("--smoke", action="store_true", help="few comparisons, nothing written")
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    comparisons = 5 if asked.smoke else asked.comparisons
    if asked.inside is not None:
        print(json.dumps(inside(asked.inside, comparisons), default=str))
        return 0
    with tempfile.TemporaryDirectory() as name:
        export(Path(name), 200)
        command = [str(asked.python), str(Path(__file__).resolve()), "--python", str(asked.python)]
        command += ["--inside", name, "--comparisons", str(comparisons)]
        done = subprocess.run(command, cwd=name, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
        return 1
    found = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found, indent=1))
    if not asked.smoke:
        target = Path(__file__).resolve().with_suffix(".json")
        target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
