"""Importing the library is light, and everything it promises is there."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import icp_ml

HEAVY = {
    "mlflow",
    "shap",
    "matplotlib",
    "pyspark",
    "lightgbm",
    "sklearn",
    "pandas",
    "numpy",
    "scipy",
    "pyarrow",
}


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted(sys.modules))"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_is_light() -> None:
    assert not modules_after("import icp_ml") & HEAVY


def test_the_line_from_training_to_loading_a_folder_needs_no_mlflow() -> None:
    code = (
        "import icp_ml; icp_ml.load, icp_ml.train, icp_ml.retrain, icp_ml.MlflowTracker, icp_ml.score_parquet"
    )
    assert not modules_after(code) & {"mlflow", "shap", "matplotlib", "pyspark"}


@pytest.mark.parametrize("name", icp_ml.__all__)
def test_every_public_name_loads_and_is_documented(name: str) -> None:
    assert getattr(icp_ml, name).__doc__


def test_public_names_are_sorted_listed_and_no_others() -> None:
    assert icp_ml.__all__ == sorted(icp_ml.__all__)
    assert set(icp_ml.__all__) <= set(dir(icp_ml))
    assert set(icp_ml._MODULE_OF) == set(icp_ml.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        icp_ml.no_such_name  # noqa: B018


def test_version_is_that_of_the_package() -> None:
    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert icp_ml.__version__ == project["version"]
