"""The bundled demo base is what the simulation writes today, and small enough to travel."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from icp_ml.data.tables import read_tables
from icp_ml.simulation.demo import make_demo, write_demo

SHIPPED = Path(str(resources.files("icp_ml"))) / "demo"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo"))


def content(path: Path) -> pd.DataFrame:
    # the dtype of text depends on the version of pandas that wrote or reads
    frame = (pd.read_parquet if path.suffix == ".parquet" else pd.read_csv)(path).astype(object)
    return frame.where(frame.notna(), None)


def test_the_shipped_files_are_the_ones_written_today(fresh):
    assert sorted(path.name for path in fresh.iterdir()) == sorted(
        path.name for path in SHIPPED.iterdir() if path.is_file() and path.name != "__init__.py"
    )
    for path in sorted(fresh.iterdir()):
        if path.suffix == ".json":
            assert json.loads(path.read_text()) == json.loads((SHIPPED / path.name).read_text())
        else:
            assert_frame_equal(content(path), content(SHIPPED / path.name))


def test_it_is_small(fresh):
    assert sum(path.stat().st_size for path in SHIPPED.iterdir() if path.is_file()) < 1_500_000


def test_the_truth_beside_it_says_what_a_reader_finds():
    truth = json.loads((SHIPPED / "truth.json").read_text())
    tables, rejects = read_tables(SHIPPED)
    counts = rejects.counts().sort_values(["table", "rule"], ignore_index=True)
    assert counts.to_dict("records") == truth["rejects"]
    columns = {*tables.accounts.columns, "technologies"}
    assert {trait["feature"] for trait in truth["traits"]} <= columns
    assert truth["traits"] == make_demo().truth.traits


def test_the_command_writes_a_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "icp_ml.simulation", str(tmp_path / "base")],
        check=True,
        capture_output=True,
        text=True,
        cwd=SHIPPED.parents[1],
    )
    assert "base" in done.stdout
    assert (tmp_path / "base" / "truth.json").is_file()
