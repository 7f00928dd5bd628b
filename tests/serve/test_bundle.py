"""Saved and loaded again: the same scores, and nothing that runs code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from icp_ml.errors import BundleError
from icp_ml.serve.bundle import load, save
from icp_ml.serve.icpmodel import IcpModel


def test_round_trip_keeps_every_bit(profiled: IcpModel, fresh: pd.DataFrame, tmp_path: Path) -> None:
    save(profiled, tmp_path / "bundle")
    again = load(tmp_path / "bundle")
    pd.testing.assert_frame_equal(again.score(fresh), profiled.score(fresh), check_exact=True)
    assert again.facts == profiled.facts
    assert again.schema == profiled.schema
    assert again.profile is not None
    assert again.profile.to_state() == profiled.profile.to_state()


def test_same_model_same_bytes(model: IcpModel, tmp_path: Path) -> None:
    save(model, tmp_path / "one")
    save(load(tmp_path / "one"), tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_bundle_is_text(profiled: IcpModel, tmp_path: Path) -> None:
    save(profiled, tmp_path / "bundle")
    for path in (tmp_path / "bundle").rglob("*"):
        if path.is_file():
            assert path.suffix in {".json", ".txt"}
            path.read_text(encoding="utf-8")
    json.loads((tmp_path / "bundle" / "model.json").read_text(encoding="utf-8"))


def test_a_changed_file_is_refused(model: IcpModel, tmp_path: Path) -> None:
    save(model, tmp_path / "bundle")
    part = tmp_path / "bundle" / "model.json"
    part.write_text(part.read_text(encoding="utf-8").replace("customer", "custome_"), encoding="utf-8")
    with pytest.raises(BundleError):
        load(tmp_path / "bundle")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        load(tmp_path)
    with pytest.raises(BundleError):
        load(tmp_path / "missing")


def test_scoring_loads_nothing_that_only_learning_needs(
    profiled: IcpModel, fresh: pd.DataFrame, tmp_path: Path
) -> None:
    """LightGBM and scikit-learn take longer to load than ten thousand accounts to score."""
    save(profiled, tmp_path / "bundle")
    fresh.to_parquet(tmp_path / "base.parquet")
    code = (
        "import sys, icp_ml; model = icp_ml.load(sys.argv[1])\n"
        "icp_ml.score_parquet(model, sys.argv[2], sys.argv[3])\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('icp_ml')))\n"
        "print(type(model.propensities['retained']).__name__)"
    )
    paths = [str(tmp_path / name) for name in ("bundle", "base.parquet", "scores")]
    done = subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True, text=True)
    loaded, own, kind = done.stdout.splitlines()[-3:]
    assert not set(loaded.split()) & {"sklearn", "lightgbm", "shap", "mlflow"}
    learning = {
        "insight.building",
        "insight.examine",
        "model.ridge",
        "model.fitting",
        "data.dataset",
        "data.tables",
    }
    assert not set(own.split()) & {f"icp_ml.{name}" for name in learning}
    assert kind == "PropensityClassifier"
