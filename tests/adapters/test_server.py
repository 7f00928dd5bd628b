"""The whole life of a model on an MLflow server over HTTP, with basic auth and PostgreSQL behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from icp_ml.adapters.mlflow import MlflowTracker, champion_as_of, load
from icp_ml.adapters.mlflow_owner import Owner
from icp_ml.adapters.mlflow_registry import OWNER
from icp_ml.cli import main
from icp_ml.errors import TrackingError
from icp_ml.serve.record import RunRecord

pytestmark = [pytest.mark.slow, pytest.mark.mlflow, pytest.mark.xdist_group("server")]


@pytest.fixture(scope="module")
def program(script: Callable[[str], Any]) -> Any:
    """The script that starts a server."""
    return script("lifecycle/server.py")


@pytest.fixture(scope="module")
def server(program: Any) -> Iterator[Any]:
    if program.lacks():
        pytest.skip(program.lacks())
    with program.mlflow_server(workers=1) as running, pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        for name, value in running.credentials().items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def settings(world: Any, server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of 150 accounts, and settings that name the server."""
    path = world.lay_out(tmp_path_factory.mktemp("crm"), "2025-09-30", "2023-06-30", accounts=150)
    path.write_text(path.read_text() + f'\n[tracking]\ntracking_uri = "{server.address}"\n', encoding="utf-8")
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_whole_life_of_a_model_over_http(settings: Path, server: Any, tmp_path: Path) -> None:
    first = call("retrain", "--config", settings, "--on", "2025-10-01")
    assert first.exit_code == 0, first.output
    assert "icp/1 is the champion: first model" in first.output

    repeated = call("retrain", "--config", settings)
    assert (repeated.exit_code, "nothing new" in repeated.output) == (0, True)

    refused = call("retrain", "--config", settings, "--force", "--superiority")
    assert refused.exit_code == 3, refused.output
    assert "icp/2 is not promoted" in refused.output

    second = call("retrain", "--config", settings, "--force", "--on", "2026-01-02")
    assert second.exit_code == 0, second.output
    assert "icp/3 is the champion" in second.output

    said = call("history", "--config", settings, "--json").stdout.splitlines()
    changes = [json.loads(line) for line in said]
    assert [(row["action"], row["version"], row["replaces"]) for row in changes] == [
        ("promoted", "icp/1", None),
        ("promoted", "icp/3", "icp/1"),
    ]
    days = {"2025-09-30": None, "2025-10-01": "icp/1", "2026-01-01": "icp/1", "2026-01-02": "icp/3"}
    assert {day: champion_as_of(day, tracking_uri=server.address) for day in days} == days
    assert call("history", "--config", settings, "--on", "2025-09-30").exit_code == 2

    back = call("rollback", "--config", settings, "--reason", "tiers are off", "--on", "2026-02-03")
    assert (back.exit_code, "icp/1 is the champion again" in back.output) == (0, True), back.output
    assert champion_as_of("2026-02-03", tracking_uri=server.address) == "icp/1"

    scored = call("score", "--config", settings, "--as-of", "2025-09-30", "--out", tmp_path / "scores")
    assert scored.exit_code == 0, scored.output
    scores = pd.concat([pd.read_parquet(part) for part in (tmp_path / "scores").rglob("*.parquet")])
    assert set(scores["model_version"]) == {"icp/1"}

    client = mlflow.MlflowClient(tracking_uri=server.address)
    status = {
        made.version: made.tags["validation_status"] for made in client.search_model_versions("name='icp'")
    }
    assert {int(number): said for number, said in status.items()} == {
        1: "approved",
        2: "rejected",
        3: "rolled_back",
    }
    assert [model.name for model in client.search_registered_models()] == ["icp"]


def test_somebody_without_a_password_gets_nothing(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(TrackingError, match="401"):
        MlflowTracker(model_name="locked", tracking_uri=server.address).champion()


def test_a_reader_scores_but_moves_nothing(
    program: Any, server: Any, record: RunRecord, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = MlflowTracker(experiment="read", model_name="read", tracking_uri=server.address)
    one, two = owner.log(record, bundle), owner.log(record, bundle)
    owner.promote(one, "first", replaces=None)
    for name, value in server.credentials(program.READER).items():
        monkeypatch.setenv(name, value)
    assert load("models:/read@champion", tracking_uri=server.address).version == one
    reader = MlflowTracker(experiment="read", model_name="read", tracking_uri=server.address)
    with pytest.raises(TrackingError, match=r"403|PERMISSION_DENIED|denied"):
        reader.promote(two, "mine", replaces=one)
    assert reader.champion() == one
    assert reader.history()["version"].tolist() == [one]


def test_a_dead_jobs_lock_is_broken_and_its_versions_marked(
    server: Any, record: RunRecord, bundle: Path
) -> None:
    tracker = MlflowTracker(experiment="dead", model_name="dead", tracking_uri=server.address)
    one = tracker.log(record, bundle)
    client = mlflow.MlflowClient(tracking_uri=server.address)
    gone = Owner("another machine", 1, "", (datetime.now(tz=UTC) - timedelta(days=1)).isoformat())
    client.create_registered_model("dead_lock", tags={OWNER: gone.to_text(), "icp.key": "theirs"})
    tracker.promote(one, "first", replaces=None)
    two = tracker.log(record, bundle)
    client.set_model_version_tag("dead", two.split("/")[1], OWNER, gone.to_text())
    tracker.tidy()
    assert tracker.champion() == one
    assert client.get_model_version("dead", two.split("/")[1]).tags["validation_status"] == "abandoned"
    names = [model.name for model in client.search_registered_models("name LIKE 'dead%'")]
    assert names == ["dead"]
