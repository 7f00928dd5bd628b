"""Champion, history and rollback in a real store: rivals, jobs that died, aliases moved by hand."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST

import icp_ml as icp
from icp_ml.adapters import mlflow_patience, mlflow_registry, mlflow_run, mlflow_store
from icp_ml.adapters.mlflow import MlflowTracker
from icp_ml.adapters.mlflow_owner import Owner
from icp_ml.adapters.mlflow_patience import Patience
from icp_ml.cli import main
from icp_ml.errors import ConfigError, TrackingError
from icp_ml.serve.record import RunRecord

pytestmark = [pytest.mark.mlflow, pytest.mark.xdist_group("store")]

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
names = itertools.count()


@pytest.fixture(scope="session")
def logged(store: str, record: RunRecord, bundle: Path) -> Any:
    tracker = MlflowTracker(experiment="registry", model_name="seed", tracking_uri=store)
    number = tracker.log(record, bundle).split("/")[1]
    return mlflow.MlflowClient(tracking_uri=store).get_model_version("seed", number)


class Line:
    """One registered model with versions that share a logged model, and a clock that ticks a day a look."""

    def __init__(self, store: str, logged: Any) -> None:
        self.client = mlflow.MlflowClient(tracking_uri=store)
        self.logged = logged
        self.tracker = MlflowTracker(
            experiment="registry", model_name=f"line{next(names)}", tracking_uri=store
        )
        self.name = self.tracker.model_name
        self.today = NOON
        self.tracker.clock = lambda: self.today
        self.client.create_registered_model(self.name)

    def version(self, **tags: str) -> str:
        with mlflow_store.store(self.tracker.tracking_uri):
            made = self.client.create_model_version(
                self.name,
                source=self.logged.source,
                run_id=self.logged.run_id,
                tags={"validation_status": "pending", **tags},
            )
        return f"{self.name}/{made.version}"

    def promote(self, reason: str = "not worse") -> str:
        version = self.version()
        self.tracker.promote(version, reason, replaces=self.tracker.champion())
        self.today += timedelta(days=10)
        return version

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(self.name, version.split("/")[1]).tags)

    def aliases(self) -> dict[str, str]:
        found = self.client.get_registered_model(self.name).aliases
        return {alias: f"{self.name}/{number}" for alias, number in found.items()}


@pytest.fixture
def line(store: str, logged: Any) -> Line:
    return Line(store, logged)


@pytest.fixture(scope="session")
def dead() -> int:
    """Number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_history_tells_the_champion_of_every_day(line: Line, store: str) -> None:
    one, two = line.promote("first"), line.promote()
    assert line.tracker.champion_as_of("2024-12-31") is None
    for day in range(1, 31):
        moment = datetime(2025, 1, day, tzinfo=UTC).date()
        assert line.tracker.champion_as_of(moment) == (one if day < 11 else two)
    found = icp.champion_as_of("2025-01-05", model_name=line.name, tracking_uri=store)
    assert found == one
    history = line.tracker.history()
    assert history["version"].tolist() == [one, two]
    assert history["replaces"].tolist() == [None, one]
    assert history["action"].tolist() == ["promoted", "promoted"]
    assert json.loads(line.tags(two)["icp.history.000002"])["reason"] == "not worse"
    files = {item.path for item in line.client.list_artifacts(line.logged.run_id, "history")}
    assert "history/000002-promoted.json" in files


def test_a_change_is_never_noted_before_the_one_it_follows(line: Line) -> None:
    line.promote()
    line.today = NOON - timedelta(days=99)
    line.promote()
    assert line.tracker.history()["at"].tolist() == [NOON, NOON]


def test_rollback_goes_back_one_by_one_and_says_why(line: Line) -> None:
    one, two, three = line.promote(), line.promote(), line.promote()
    assert line.aliases()["previous_champion"] == two
    change = line.tracker.roll_back("small firms are off")
    assert (change.version, change.replaces, change.action) == (two, three, "rolled_back")
    assert line.aliases() == {"champion": two, "previous_champion": one}
    assert line.tags(three)["validation_status"] == "rolled_back"
    assert line.tags(three)["validation_reason"] == "small firms are off"
    assert line.tracker.roll_back("still off").version == one
    assert line.aliases() == {"champion": one}
    with pytest.raises(ConfigError, match="none"):
        line.tracker.roll_back("once more")
    four = line.promote()
    assert line.tracker.champion() == four
    assert line.tracker.roll_back("again").version == one


def test_rollback_moves_nothing_when_the_earlier_champion_cannot_be_loaded(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.promote()
    two = line.promote()

    def broken(version: str) -> None:
        raise TrackingError(f"no artifact for {version}")

    monkeypatch.setattr(line.tracker, "load", broken)
    with pytest.raises(TrackingError, match="no artifact"):
        line.tracker.roll_back("off")
    assert line.tracker.champion() == two
    assert len(line.tracker.history()) == 2


def test_an_alias_moved_by_hand_is_noted_and_not_undone(line: Line) -> None:
    one, two = line.promote(), line.promote()
    line.client.set_registered_model_alias(line.name, "champion", one.split("/")[1])
    line.tracker.tidy()
    assert line.tracker.champion() == one
    history = line.tracker.history()
    assert history["action"].tolist() == ["promoted", "promoted", "moved_by_hand"]
    assert history["replaces"].tolist()[-1] == two
    line.tracker.tidy()
    assert len(line.tracker.history()) == 3
    line.client.delete_registered_model_alias(line.name, "champion")
    line.tracker.tidy()
    assert line.tracker.champion_as_of("2026-01-01") is None
    assert line.promote() == line.tracker.champion()


def test_a_champion_from_before_there_was_a_history_is_noted(line: Line) -> None:
    version = line.version()
    line.client.set_registered_model_alias(line.name, "champion", version.split("/")[1])
    line.tracker.tidy()
    assert line.tracker.champion_as_of("2025-01-01") == version


class Killed(BaseException):
    """What a kill is in this process."""


def die_at(point: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let call number ``point`` to MLflow be done or not, by turns, and none after it."""
    plain, count = mlflow_store.patiently, [0]

    def counted(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if 2 * count[0] > point + 1:
            raise Killed
        answer = plain(call, *args, **kwargs)
        if 2 * count[0] == point:
            raise Killed
        return answer

    for module in (mlflow_store, mlflow_run):
        monkeypatch.setattr(module, "patiently", counted)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["promote", "roll_back"])
def test_killed_between_any_two_calls_a_move_is_whole_after_the_next_look(
    line: Line, action: str, dead: int
) -> None:
    one, two = line.promote(), line.promote()
    before = {"promote": two, "roll_back": two}[action]
    for point in range(2, 200, 3):  # experiments/lifecycle/kills.py tries all, in real processes
        champion, changes = line.tracker.champion(), len(line.tracker.history())
        assert champion == before
        target = line.version() if action == "promote" else one
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("icp_ml.adapters.mlflow_owner.os.getpid", lambda: dead)
            die_at(point, patch)
            try:
                if action == "promote":
                    line.tracker.promote(target, "not worse", replaces=champion, evidence={"a": 1})
                else:
                    line.tracker.roll_back("off")
            except Killed:
                ended = False
            else:
                ended = True
        assert line.tracker.champion() in (champion, target)
        line.tracker.tidy()
        history, now = line.tracker.history(), line.tracker.champion()
        assert not line.client.search_registered_models(f"name = '{line.name}_lock'")
        assert history["sequence"].tolist() == list(range(1, len(history) + 1))
        assert history["version"].tolist()[-1] == now
        assert len(history) == changes + (now == target)
        if now == target:
            status = {"promote": (target, "approved"), "roll_back": (champion, "rolled_back")}[action]
            assert line.tags(status[0])["validation_status"] == status[1]
            if action == "roll_back":
                before = line.promote()
            else:
                before = target
        if ended:
            break
    assert ended
    assert point > 10


def test_a_lock_of_a_dead_job_is_broken_and_that_of_a_living_one_is_waited_for(
    line: Line, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = f"{line.name}_lock"
    here = Owner.here(datetime.now(tz=UTC))
    gone = Owner(here.host, dead, here.born, here.at)
    for name in (lock, f"{lock}_left"):
        line.client.create_registered_model(name, tags={"icp.owner": gone.to_text(), "icp.key": "theirs"})
    one = line.promote()
    assert not line.client.search_registered_models(f"name LIKE '{line.name}_lock%'")
    line.client.create_registered_model(lock, tags={"icp.owner": here.to_text(), "icp.key": "theirs"})
    monkeypatch.setattr(line.tracker.patience, "seconds", 5.0)
    monkeypatch.setattr(mlflow_registry.time, "sleep", lambda _: None)
    ticks = itertools.count()
    monkeypatch.setattr(mlflow_registry.time, "monotonic", lambda: float(next(ticks)))
    with pytest.raises(TrackingError, match="taken"):
        line.promote()
    assert line.tracker.champion() == one
    line.client.delete_registered_model(lock)


def test_a_lock_that_changed_hands_meanwhile_is_given_back(line: Line) -> None:
    lock, here = f"{line.name}_lock", Owner.here(datetime.now(tz=UTC))
    line.client.create_registered_model(lock, tags={"icp.owner": here.to_text(), "icp.key": "new"})
    with line.tracker._session() as session:
        line.tracker._registry(session)._break(lock)
    assert line.client.get_registered_model(lock).tags["icp.key"] == "new"
    line.client.delete_registered_model(lock)


def test_owners_are_told_apart(dead: int) -> None:
    now = datetime.now(tz=UTC)
    here, hour = Owner.here(now), timedelta(hours=1)
    assert Owner.from_text(here.to_text()) == here
    assert Owner.from_text("") is None
    assert Owner.from_text("[]") is None
    assert not here.is_gone(now, hour)
    assert here.is_gone(now + 2 * hour, hour)
    assert Owner(here.host, dead, here.born, here.at).is_gone(now, hour)
    assert Owner(here.host, here.pid, "another time", here.at).is_gone(now, hour)
    assert not Owner("elsewhere", dead, here.born, here.at).is_gone(now, hour)
    if os.getuid() != 0:
        assert not Owner(here.host, 1, here.born, here.at).is_gone(now, hour)


def test_what_dead_jobs_left_is_marked_and_what_living_ones_hold_is_left(line: Line, dead: int) -> None:
    now = datetime.now(tz=UTC)
    here = Owner.here(now)
    gone = Owner(here.host, dead, here.born, here.at)
    late = Owner("elsewhere", 1, "", (now - timedelta(hours=13)).isoformat())
    experiment = line.client.get_experiment_by_name("registry").experiment_id
    runs = {
        name: line.client.create_run(experiment, tags={"icp.owner": owner.to_text()}).info.run_id
        for name, owner in {"here": here, "gone": gone, "late": late}.items()
    }
    foreign = line.client.create_run(experiment).info.run_id
    versions = {
        name: line.version(**{"icp.owner": owner.to_text()})
        for name, owner in {"here": here, "gone": gone}.items()
    }
    line.tracker.tidy()
    status = {name: line.client.get_run(run).info.status for name, run in runs.items()}
    assert status == {"here": "RUNNING", "gone": "KILLED", "late": "KILLED"}
    assert line.client.get_run(foreign).info.status == "RUNNING"
    assert "killed" in line.client.get_run(runs["gone"]).data.tags["icp.outcome"]
    assert line.tags(versions["gone"])["validation_status"] == "abandoned"
    assert line.tags(versions["here"])["validation_status"] == "pending"


def test_the_same_work_is_found_again_once_it_was_decided(line: Line) -> None:
    pending = line.version(**{"icp.identity": "abc"})
    assert line.tracker.earlier("abc") is None
    assert line.tracker.earlier("other") is None
    line.tracker.reject(pending, "may be worse")
    found = line.tracker.earlier("abc")
    assert (found.version, found.promoted, found.reason) == (pending, False, "rejected: may be worse")
    again = line.version(**{"icp.identity": "abc"})
    line.tracker.promote(again, "not worse", replaces=None)
    assert line.tracker.earlier("abc").promoted
    line.promote()
    line.promote()
    line.tracker.roll_back("off")
    line.tracker.roll_back("off")
    assert line.tracker.champion() == again


def test_a_busy_database_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_patience.time, "sleep", lambda _: None)
    answers = [MlflowException("(sqlite3.OperationalError) database is locked"), "done"]

    def call(given: int) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, given

    assert mlflow_store.patiently(call, 3) == ("done", 3)
    answers[:] = [MlflowException("no such thing"), "done"]
    with pytest.raises(MlflowException, match="no such thing"):
        mlflow_store.patiently(call, 3)
    # how long: tests/adapters/test_tracking_faults.py


class Names:
    """What the lock needs of a registry, with an answer to the first creation that got lost."""

    def __init__(self, lost: bool) -> None:
        self.models: dict[str, Any] = {}
        self.lost = lost

    def get_registered_model(self, name: str) -> Any:
        if name not in self.models:
            raise MlflowException("none", error_code=RESOURCE_DOES_NOT_EXIST)
        return self.models[name]

    def create_registered_model(self, name: str, tags: Any) -> None:
        known = name in self.models
        self.models.setdefault(name, SimpleNamespace(name=name, tags=tags))
        if known or self.lost:
            self.lost = False
            raise MlflowException("taken", error_code=RESOURCE_ALREADY_EXISTS)

    def delete_registered_model(self, name: str) -> None:
        del self.models[name]


def test_a_lock_whose_taking_was_repeated_by_the_network_is_held() -> None:
    shelf = Names(lost=True)
    held = mlflow_registry.Registry(shelf, "m", mlflow_registry.utc_now, timedelta(hours=1))
    held._take("m_lock", "mine")
    assert shelf.models["m_lock"].tags["icp.key"] == "mine"
    held._release("m_lock", "mine")
    assert not shelf.models


def test_on_a_server_a_lock_is_taken_a_while_after_it_was_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, slept = Names(lost=False), []
    theirs = Owner.here(mlflow_registry.utc_now()).to_text()
    shelf.create_registered_model("m_lock", {mlflow_registry.OWNER: theirs, "icp.key": "theirs"})

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        shelf.models.pop("m_lock", None)

    monkeypatch.setattr(mlflow_registry.time, "sleep", sleep)
    held = mlflow_registry.Registry(shelf, "m", mlflow_registry.utc_now, timedelta(hours=1), grace=0.7)
    held._take("m_lock", "mine")
    assert slept == [0.05, 0.7]
    assert held._holds("m_lock", "mine")


@pytest.mark.parametrize(
    "said",
    [
        "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.digest",
        "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint",
    ],
)
def test_a_row_that_another_job_added_first_is_found_at_the_next_try(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(mlflow_patience.time, "sleep", lambda _: None)
    answers = [said, said, "done"]

    def call() -> str:
        answer = answers.pop(0)
        if answer != "done":
            raise MlflowException(answer)
        return answer

    assert mlflow_store.patiently(call) == "done"
    answers[:] = [said] * 9
    with pytest.raises(MlflowException):
        mlflow_store.patiently(call)
    assert len(answers) == 4


def test_statements_with_their_parameters_are_not_repeated_in_errors(store: str) -> None:
    with pytest.raises(TrackingError) as caught, mlflow_store.store(store):
        raise MlflowException("UNIQUE failed\n[SQL: INSERT INTO t VALUES (?)]\n[parameters: ('Acme',)]")
    assert "found UNIQUE failed. What is left: nothing was changed." in str(caught.value)
    assert "Acme" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_new_sqlite_store_appears_whole(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'deep' / 'mlflow.db'}"
    tracker = MlflowTracker(model_name="none", tracking_uri=uri)
    assert tracker.champion() is None
    assert tracker.history().empty
    tracker.tidy()
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["mlflow.db"]
    mlflow_store.make_whole("sqlite:///:memory:", Patience())
    mlflow_store.make_whole("http://localhost:5000", Patience())


def settings(line: Line, tmp_path: Path) -> str:
    file = tmp_path / "icp.toml"
    file.write_text(
        f'[tracking]\nmodel_name = "{line.name}"\nexperiment = "registry"\n'
        f'tracking_uri = "{line.tracker.tracking_uri}"\n',
        encoding="utf-8",
    )
    return str(file)


def command(*args: str) -> Any:
    return CliRunner().invoke(main, list(args))


def test_history_and_rollback_are_one_call_each(line: Line, tmp_path: Path) -> None:
    config = settings(line, tmp_path)
    assert command("history", "--config", config).exit_code == 2
    assert command("rollback", "--config", config, "--reason", "off").exit_code == 2
    one, two = line.promote("first"), line.promote()

    shown = command("history", "--config", config)
    assert shown.exit_code == 0
    assert [row.split()[4] for row in shown.stdout.splitlines()] == [one, two]
    assert command("history", "--config", config, "--on", "2025-01-05").stdout == f"{one}\n"
    assert command("history", "--config", config, "--on", "2024-01-05").exit_code == 2
    rows = [json.loads(row) for row in command("history", "--config", config, "--json").stdout.splitlines()]
    assert [(row["version"], row["replaces"]) for row in rows] == [(one, None), (two, one)]

    assert command("rollback", "--config", config).exit_code == 2
    assert command("rollback", "--config", config, "--reason", " ").exit_code == 2
    back = command("rollback", "--config", config, "--reason", "small firms", "--on", "2025-03-01")
    assert back.exit_code == 0, back.output
    assert f"{one} is the champion again" in back.stdout
    assert line.tracker.champion_as_of("2025-02-28") == two
    assert line.tracker.champion_as_of("2025-03-01") == one
    assert command("rollback", "--config", config, "--reason", "more").exit_code == 2


def test_a_registry_that_refuses_is_a_fault_and_no_bad_input(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise TrackingError("MLflow refused: gone")

    monkeypatch.setattr(MlflowTracker, "roll_back", refuse)
    result = command("rollback", "--config", settings(line, tmp_path), "--reason", "off")
    assert (result.exit_code, result.stderr) == (1, "error: MLflow refused: gone\n")
