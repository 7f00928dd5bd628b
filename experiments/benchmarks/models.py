"""Rivals with their defaults, one thread each; runs in any python that has the rival, and nothing of icp_ml.

python models.py FOLDER MODEL: reads FOLDER/*.parquet with FOLDER/tasks.json, writes FOLDER/MODEL.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


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


MODELS = {
    "lightgbm": lightgbm,
    "xgboost": xgboost,
    "catboost": catboost,
    "ebm": ebm,
    "forest": forest,
    "logistic": logistic,
}


def run(folder: Path, name: str) -> None:
    """Fit one rival on every task of a folder and write chances and seconds."""
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    out = []
    for number, task in enumerate(tasks):
        frame = pd.read_parquet(folder / task["file"])
        y = frame.pop("__outcome").to_numpy()
        train, test = np.array(task["train"]), np.array(task["test"])
        start = time.perf_counter()
        chances = MODELS[name](frame, task["categories"], y, train, test)
        out.append(
            {"seconds": time.perf_counter() - start, "chances": np.asarray(chances, dtype=float).tolist()}
        )
        print(f"{name} {number + 1}/{len(tasks)} {task['set']} n={task['n']}", file=sys.stderr)
    (folder / f"{name}.json").write_text(json.dumps(out), encoding="utf-8")


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
