"""Stores that hang, lie, are locked, edited or moved: a named error in time, nothing half done, no secret."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from icp_ml.adapters import mlflow_patience
from icp_ml.adapters.mlflow import MlflowTracker, load
from icp_ml.adapters.mlflow_moved import where_now
from icp_ml.adapters.mlflow_owner import Owner
from icp_ml.adapters.mlflow_patience import SETTINGS, NoAnswer, Patience, telling
from icp_ml.adapters.mlflow_store import patiently, store
from icp_ml.adapters.mlflow_wording import shown
from icp_ml.errors import ConfigError, TrackingError
from icp_ml.serve.record import RunRecord

pytestmark = [pytest.mark.mlflow, pytest.mark.xdist_group("store")]


@pytest.fixture(scope="module")
def program(script: Callable[[str], Any]) -> Any:
    return script("faults/tracking.py")


@pytest.fixture(scope="module")
def ground(program: Any, record: RunRecord, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return program.prepare(tmp_path_factory.mktemp("faults"), bundle, record)


@pytest.fixture(autouse=True)
def _log_settings() -> Iterator[None]:
    """What other libraries set up when they're imported stays out of the other tests."""
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.filterwarnings("ignore")
def test_a_few_faults_of_each_kind_end_named_in_time_and_without_a_secret(program: Any, ground: Any) -> None:
    found = list(program.campaign(ground, smoke=True))
    result = program.summary(found)
    assert result["faults"] >= 18
    assert result["not named"] == []
    assert (result["half promoted"], result["secrets printed"]) == (0, 0)
    hung = next(one for one in found if "hangs after" in one.name)
    assert "loading models:/icp@champion failed" in hung.error
    assert "waiting for the tracking store" in hung.said


def test_a_call_that_is_given_up_writes_nothing_afterwards() -> None:
    go, done, wrote = threading.Event(), threading.Event(), []

    def call() -> None:
        try:
            go.wait(30)
            for _ in itertools.repeat(None, 1000):
                pass
            wrote.append(1)
        finally:
            done.set()

    with pytest.raises(NoAnswer):
        Patience(0.2).call(call, "writing")
    go.set()
    assert done.wait(30)
    assert wrote == []


def test_patience_is_one_for_all_calls_and_restored_by_a_new_job(monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(0.0, 4.0)
    patience = Patience(10.0)
    monkeypatch.setattr(mlflow_patience.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(Patience, "_wait", lambda *_: None)
    monkeypatch.setattr(mlflow_patience.threading, "Thread", _AtOnce)
    for _ in range(4):
        patience.call(lambda: None, "asking")
    with pytest.raises(NoAnswer):
        patience.call(lambda: None, "asking")
    patience.restore()
    assert patience.call(lambda: 5, "asking").value == 5


class _AtOnce:
    """A thread that is done when it was started."""

    ident = None

    def __init__(self, target: Any, args: Any, **_: Any) -> None:
        self.target, self.args = target, args

    def start(self) -> None:
        self.target(*self.args)

    def is_alive(self) -> bool:
        return False


@pytest.mark.parametrize("wrong", [0, -1, True, "60", float("nan"), float("inf"), None])
def test_a_patience_that_is_none_is_refused(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patience_seconds"):
        MlflowTracker(tracking_uri=f"sqlite:///{tmp_path / 'x.db'}", patience_seconds=wrong)


def test_mlflows_settings_are_bounded_for_the_block_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", raising=False)
    before = dict(os.environ)
    with SETTINGS.held(50.0), SETTINGS.held(2.0):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"
        assert os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"] == "1"
    assert dict(os.environ) == before


def test_waiting_is_told() -> None:
    told: list[str] = []
    with telling(told.append), pytest.raises(NoAnswer):
        Patience(1.0).call(lambda: threading.Event().wait(5), "loading icp/1")
    assert told[0].startswith("waiting for the tracking store (loading icp/1), ")
    assert told[0].endswith(" of 1 s")


def test_no_secret_in_logs_while_a_store_is_used(caplog: pytest.LogCaptureFixture) -> None:
    def call() -> None:
        logging.getLogger("urllib3").warning("retry %s", "http://ann:s3cretly@127.0.0.1:9/api")
        raise MlflowException("API request to http://ann:s3cretly@127.0.0.1:9/api failed; s3cretly")

    with pytest.raises(TrackingError) as caught, store("http://ann:s3cretly@127.0.0.1:9", "asking"):
        patiently(call)
    assert "retry http://***@127.0.0.1:9/api" in caplog.text
    assert "s3cretly" not in f"{caplog.text} {caught.value} {caught.value.facts}"
    assert caught.value.__cause__ is None
    assert caught.value.step == "asking"


def test_whatever_a_library_raises_inside_a_call_is_a_tracking_error(ground: Any) -> None:
    def call() -> None:
        raise KeyError("registered_model")

    uri = f"sqlite:///{ground.template / 'mlflow.db'}"
    with pytest.raises(TrackingError, match="KeyError"), store(uri, "asking"):
        patiently(call)


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("http://ann:pw@host:5000/x?token=t", "http://host:5000/x"),
        ("postgresql+psycopg2://ann:pw@host/db", "postgresql+psycopg2://host/db"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("http://ann:pw@host:port", "http://***"),
    ],
)
def test_addresses_are_shown_without_what_is_secret(address: str, seen: str) -> None:
    assert shown(address) == seen


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{}",
        '{"host": 1, "pid": 2, "born": "", "at": "2025-01-01T00:00:00+00:00"}',
        '{"host": "h", "pid": "2", "born": "", "at": "2025-01-01T00:00:00+00:00"}',
        '{"host": "h", "pid": -1, "born": "", "at": "2025-01-01T00:00:00+00:00"}',
        '{"host": "h", "pid": 2, "born": "", "at": "yesterday"}',
        '{"host": "h", "pid": 2, "born": "", "at": "2025-01-01T00:00:00"}',
        '{"host": "h", "pid": 2, "born": "", "at": null}',
    ],
)
def test_an_owner_that_somebody_edited_is_nobody(text: str) -> None:
    assert Owner.from_text(text) is None


def test_latest_and_stages_are_the_number_that_was_loaded(ground: Any) -> None:
    uri = f"sqlite:///{ground.template / 'mlflow.db'}"
    assert load("models:/icp/latest", tracking_uri=uri).version == "icp/2"
    assert load("models:/icp/01/", tracking_uri=uri).version == "icp/1"
    client = mlflow.MlflowClient(tracking_uri=uri)
    with pytest.warns(FutureWarning):
        client.transition_model_version_stage("icp", "1", "Production")
    assert load("models:/icp/Production", tracking_uri=uri).version == "icp/1"
    with pytest.raises(TrackingError, match="Staging"):
        load("models:/icp/Staging", tracking_uri=uri)


def test_a_moved_store_is_read_and_written_where_it_is(ground: Any, tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(ground.template, first)
    place = tmp_path / "elsewhere"
    program_sql = ground_sql(str(ground.template), str(first))
    program_sql(first / "mlflow.db")
    first.rename(place)
    tracker = MlflowTracker(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
    assert tracker.champion() == "icp/1"
    assert tracker.load("icp/1").version == "icp/1"
    version = tracker.log(ground.record, ground.bundle)
    tracker.promote(version, "not worse", replaces="icp/1", evidence={"a": 1})
    assert tracker.load(version).version == version
    assert not first.exists()
    shutil.rmtree(place / "mlartifacts")
    with pytest.raises(TrackingError, match="was the store moved") as caught:
        tracker.load("icp/1")
    assert "artifacts" in str(caught.value.where)


def ground_sql(old: str, new: str) -> Callable[[Path], None]:
    """Return an edit of a database that moves the addresses that it notes."""
    import sqlite3
    from contextlib import closing

    places = {
        "model_versions": ("storage_location", "source"),
        "experiments": ("artifact_location",),
        "logged_models": ("artifact_location",),
        "runs": ("artifact_uri",),
    }

    def edit(database: Path) -> None:
        with closing(sqlite3.connect(database)) as opened, opened:
            for table, columns in places.items():
                for column in columns:
                    opened.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))

    return edit


def test_artifacts_that_somebody_put_elsewhere_on_purpose_stay_there(tmp_path: Path) -> None:
    here, shared = tmp_path / "here", tmp_path / "shared"
    (here / "mlartifacts").mkdir(parents=True)
    (shared / "mlartifacts" / "run").mkdir(parents=True)
    database = here / "mlflow.db"
    assert where_now(shared / "mlartifacts" / "new", database) == shared / "mlartifacts" / "new"
    assert where_now(tmp_path / "gone" / "mlartifacts" / "new", database) == here / "mlartifacts" / "new"
    assert where_now(tmp_path / "gone" / "files" / "new", database) == tmp_path / "gone" / "files" / "new"
    (shared / "mlflow.db").touch()  # a copy was made of that store
    assert where_now(shared / "mlartifacts" / "new", database) == here / "mlartifacts" / "new"
