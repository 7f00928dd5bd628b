"""Models with their defaults, one thread each; runs in any python that has the model's package.

python models.py FOLDER MODEL CELLS: reads FOLDER/tasks.json and the parquet files it names, and adds one row
per fold to CELLS/MODEL.json as soon as it is known; rows that are there are not done again.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
from judge import judged

TUNING_SECONDS = 45.0
TUNING_TRIALS = 100


def icp_ml(x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
    import icp_ml as icp

    model = icp.PropensityClassifier(n_jobs=1).fit(x.iloc[train], y[train])
    return model.predict_proba(x.iloc[test])[:, 1]


def _categorical(x: pd.DataFrame, categories: list[str], train: np.ndarray) -> pd.DataFrame:
    out = x.copy()
    for column in categories:
        seen = sorted(out[column].iloc[train].dropna().unique())
        out[column] = pd.Categorical(out[column], categories=seen)
    return out


def _texts(x: pd.DataFrame, categories: list[str]) -> pd.DataFrame:
    out = x.copy()
    for column in categories:
        out[column] = out[column].where(out[column].notna(), "unknown").astype(str)
    return out


def lightgbm(
    x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Any:
    from lightgbm import LGBMClassifier

    x = _categorical(x, categories, train)
    model = LGBMClassifier(num_threads=1, verbose=-1).fit(x.iloc[train], y[train])
    return model.predict_proba(x.iloc[test])[:, 1]


def xgboost(
    x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Any:
    from xgboost import XGBClassifier

    x = _categorical(x, categories, train)
    model = XGBClassifier(n_jobs=1, enable_categorical=True).fit(x.iloc[train], y[train])
    return model.predict_proba(x.iloc[test])[:, 1]


def catboost(
    x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Any:
    from catboost import CatBoostClassifier

    x = _texts(x, categories)
    model = CatBoostClassifier(thread_count=1, verbose=False, allow_writing_files=False, random_seed=0)
    model.fit(x.iloc[train], y[train], cat_features=list(categories))
    return model.predict_proba(x.iloc[test])[:, 1]


def ebm(x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
    from interpret.glassbox import ExplainableBoostingClassifier

    x = _texts(x, categories)
    model = ExplainableBoostingClassifier(n_jobs=1, random_state=0).fit(x.iloc[train], y[train].astype(int))
    return model.predict_proba(x.iloc[test])[:, 1]


def _plain(
    model: Any, x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [c for c in x if c not in categories]
    coded = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10)
    prepared = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
                    StandardScaler(),
                ),
                numbers,
            ),
            ("levels", coded, list(categories)),
        ]
    )
    x = _texts(x, categories)
    return make_pipeline(prepared, model).fit(x.iloc[train], y[train]).predict_proba(x.iloc[test])[:, 1]


def forest(x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return _plain(RandomForestClassifier(n_jobs=1, random_state=0), x, categories, y, train, test)


def logistic(
    x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Any:
    from sklearn.linear_model import LogisticRegression

    return _plain(LogisticRegression(max_iter=2000), x, categories, y, train, test)


def lightgbm_tuned(
    x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Any:
    """Tune by log loss in three inner folds with early stopping, for TUNING_SECONDS or TUNING_TRIALS."""
    import lightgbm as lgb
    import optuna
    from sklearn.model_selection import StratifiedKFold

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    x = _categorical(x, categories, train)
    fixed = {"objective": "binary", "num_threads": 1, "verbosity": -1, "seed": 0, "bagging_freq": 1}
    inner = list(StratifiedKFold(3, shuffle=True, random_state=0).split(train, y[train]))

    def objective(trial: Any) -> float:
        params = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 2, 64, log=True),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 2, 60, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 30.0, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
            "cat_smooth": trial.suggest_float("cat_smooth", 1.0, 100.0, log=True),
        }
        losses, rounds = [], []
        for fit, stop in inner:
            data = lgb.Dataset(x.iloc[train[fit]], y[train[fit]], params={**fixed, **params})
            held = lgb.Dataset(x.iloc[train[stop]], y[train[stop]], reference=data)
            booster = lgb.train(
                {**fixed, **params}, data, 1000, [held], callbacks=[lgb.early_stopping(30, verbose=False)]
            )
            losses.append(booster.best_score["valid_0"]["binary_logloss"])
            rounds.append(booster.best_iteration)
        trial.set_user_attr("rounds", int(np.mean(rounds)))
        return float(np.mean(losses))

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=TUNING_TRIALS, timeout=TUNING_SECONDS)
    chosen = {**fixed, **study.best_params}
    data = lgb.Dataset(x.iloc[train], y[train], params=chosen)
    booster = lgb.train(chosen, data, max(1, study.best_trial.user_attrs["rounds"]))
    return booster.predict(x.iloc[test], num_threads=1)


def autogluon(
    x: pd.DataFrame, categories: list[str], y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> Any:
    """AutoGluon, medium quality, five minutes at most, one core."""
    import tempfile

    from autogluon.tabular import TabularPredictor

    table = _texts(x, categories).assign(__y=y.astype(int))
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor("__y", eval_metric="log_loss", path=folder, verbosity=0)
        predictor.fit(table.iloc[train], time_limit=300, presets="medium_quality", num_cpus=1, num_gpus=0)
        return predictor.predict_proba(table.iloc[test])[1].to_numpy()


MODELS = {
    "icp_ml": icp_ml,
    "lightgbm": lightgbm,
    "lightgbm tuned": lightgbm_tuned,
    "xgboost": xgboost,
    "catboost": catboost,
    "ebm": ebm,
    "forest": forest,
    "logistic": logistic,
    "autogluon": autogluon,
}
KEY = ("set", "n", "fold")


def read_cells(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of cells; none if it isn't there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else []


def write_cells(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows one per line, complete or not at all."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    temporary = file.with_suffix(".part")
    temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    temporary.replace(file)


def run(folder: Path, name: str, cells: Path) -> None:
    """Fit one model on every task that has no row yet, and write a row after each."""
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    cells.mkdir(parents=True, exist_ok=True)
    file = cells / f"{name.replace(' ', '_')}.json"
    rows = read_cells(file)
    done = {tuple(row[key] for key in KEY) for row in rows}
    for number, task in enumerate(tasks):
        key = tuple(task[part] for part in KEY)
        if key in done:
            continue
        frame = pd.read_parquet(folder / task["file"])
        y = frame.pop("__outcome").to_numpy()
        true = frame.pop("__chance").to_numpy() if "__chance" in frame else None
        train, test = np.array(task["train"]), np.array(task["test"])
        start = time.process_time()
        said = MODELS[name](frame, task["categories"], y, train, test)
        seconds = round(time.process_time() - start, 3)
        found = judged(y[test], said, None if true is None else true[test], float(y[train].mean()))
        rows.append({**dict(zip(KEY, key, strict=True)), **found, "seconds": seconds})
        write_cells(file, rows)
        print(f"{name} {number + 1}/{len(tasks)} {key} {seconds:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
