"""Runs, versions, aliases and the pyfunc in a real MLflow store."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from icp_ml.adapters.mlflow import MlflowTracker, ScoringModel, load
from icp_ml.adapters.mlflow_model import refuse_unknown_params
from icp_ml.errors import BundleError, InputMismatchError, InputWarning, TrackingError
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.record import RunRecord

pytestmark = [pytest.mark.mlflow, pytest.mark.xdist_group("store")]


@pytest.fixture(scope="session")
def tracker(store: str) -> MlflowTracker:
    return MlflowTracker(experiment="tests", model_name="icp", tracking_uri=store)


@pytest.fixture(scope="session")
def version(tracker: MlflowTracker, record: RunRecord, bundle: Path) -> str:
    return tracker.log(record, bundle)


@pytest.fixture
def client(store: str) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=store)


@pytest.fixture
def in_store(store: str) -> object:
    """MLflow itself, pointed at the store, as a user who calls it directly."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    yield
    mlflow.set_tracking_uri(before)


def equal(left: pd.DataFrame, right: pd.DataFrame) -> None:
    columns = [name for name in right if name != "model_version"]
    pd.testing.assert_frame_equal(left[columns], right[columns], check_exact=True)


def test_log_registers_a_pending_challenger(
    tracker: MlflowTracker, version: str, client: mlflow.MlflowClient
) -> None:
    assert version == "icp/1"
    made = client.get_model_version_by_alias("icp", "challenger")
    assert int(made.version) == 1
    assert made.tags["validation_status"] == "pending"
    assert made.description.startswith("# Ideal customer profile model")


def test_run_holds_params_metrics_dataset_and_files(
    version: str, record: RunRecord, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    made = client.get_model_version("icp", version.split("/")[1])
    run = client.get_run(made.run_id)
    assert run.data.params["seed"] == "0"
    assert run.data.metrics["retained/auc"] == record.metrics["retained/auc"]
    assert run.inputs.dataset_inputs[0].dataset.digest == record.fingerprint[:32]
    assert run.outputs.model_outputs
    logged = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert {metric.key for metric in logged.metrics} == set(record.metrics)
    assert all(metric.dataset_digest == record.fingerprint[:32] for metric in logged.metrics)
    names = {item.path for item in client.list_artifacts(made.run_id)}
    assert {"facts.json", "figures", "model_card.md", "report.html", "tables"} <= names
    tables = {Path(item.path).name for item in client.list_artifacts(made.run_id, "tables")}
    assert tables == {"metrics.parquet", "deciles.parquet", "gaps.parquet"}


def test_nothing_in_the_logged_model_is_pickled(
    version: str, client: mlflow.MlflowClient, in_store: object
) -> None:
    files = [
        path
        for path in Path(mlflow.artifacts.download_artifacts("models:/icp/1")).rglob("*")
        if path.is_file()
    ]
    assert any(path.name == "manifest.json" for path in files)
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".joblib", ".skops", ".py"}]
    requirements = next(path for path in files if path.name == "requirements.txt").read_text()
    assert "icp-ml==" in requirements
    assert "lightgbm==" in requirements


def test_load_names_the_version_and_scores_the_same(
    tracker: MlflowTracker, version: str, model: IcpModel, fresh: pd.DataFrame, store: str
) -> None:
    for address in ("models:/icp@challenger", "models:/icp/1"):
        loaded = load(address, tracking_uri=store)
        assert loaded.version == "icp/1"
        equal(loaded.score(fresh), model.score(fresh))
        assert set(loaded.score(fresh)["model_version"]) == {"icp/1"}


def test_load_reads_a_folder_too(bundle: Path, model: IcpModel, fresh: pd.DataFrame) -> None:
    equal(load(bundle).score(fresh), model.score(fresh))
    assert load(str(bundle)).version == ""


def test_pyfunc_gives_the_score_table(
    version: str, model: IcpModel, fresh: pd.DataFrame, in_store: object
) -> None:
    pyfunc = mlflow.pyfunc.load_model("models:/icp/1")
    found = pyfunc.predict(fresh)
    equal(found, model.score(fresh))
    assert set(found["model_version"]) == {"icp/1"}
    equal(pyfunc.predict(fresh, params={"reasons": 1}), model.score(fresh, reasons=1))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"seats": "int64"}, id="ints where floats were seen"),
        pytest.param({"seats": "Int64"}, id="nullable ints"),
        pytest.param({"seats": "float32"}, id="small floats"),
        pytest.param({"industry": "category"}, id="categories"),
        pytest.param({"industry": "object"}, id="objects"),
    ],
)
def test_pyfunc_takes_every_dtype(
    version: str, model: IcpModel, fresh: pd.DataFrame, in_store: object, change: dict[str, str]
) -> None:
    pyfunc = mlflow.pyfunc.load_model("models:/icp/1")
    equal(pyfunc.predict(fresh.astype(change)), model.score(fresh))


def test_pyfunc_takes_gaps_and_any_order(
    version: str, model: IcpModel, fresh: pd.DataFrame, in_store: object, caplog: pytest.LogCaptureFixture
) -> None:
    pyfunc = mlflow.pyfunc.load_model("models:/icp/1")
    gappy = fresh.assign(seats=pd.array([None, *fresh["seats"].iloc[1:].astype(int)], dtype="Int64"))
    gappy["stack"] = [None, [], *fresh["stack"].iloc[2:]]
    gappy.loc[0, "industry"] = None
    caplog.set_level(logging.ERROR)
    equal(pyfunc.predict(gappy[gappy.columns[::-1]].assign(extra=1)), model.score(gappy))
    with pytest.warns(InputWarning, match="seats"):
        pyfunc.predict(fresh.drop(columns="seats"))


def test_unknown_parameters_raise(bundle: Path, model: IcpModel, fresh: pd.DataFrame) -> None:
    scorer = ScoringModel(model)
    with pytest.raises(InputMismatchError, match="topk"):
        scorer.predict(fresh, params={"topk": 2})
    with pytest.raises(InputMismatchError, match="0 or more"):
        scorer.predict(fresh, params={"reasons": -1})
    assert "reason_1" not in scorer.predict(fresh, params={"reasons": 0})


def test_champion_and_previous_champion_follow_and_say_why(
    tracker: MlflowTracker, version: str, record: RunRecord, bundle: Path, client: mlflow.MlflowClient
) -> None:
    assert tracker.champion() is None
    tracker.promote(version, "first", replaces=None, evidence={"promoted": True})
    assert tracker.champion() == "icp/1"
    second = tracker.log(record, bundle)
    tracker.promote(second, "not worse", replaces="icp/1")
    assert (second, tracker.champion()) == ("icp/2", "icp/2")
    assert int(client.get_model_version_by_alias("icp", "previous_champion").version) == 1
    tags = client.get_model_version("icp", "2").tags
    assert (tags["validation_status"], tags["validation_reason"]) == ("approved", "not worse")
    run = client.get_run(client.get_model_version("icp", "1").run_id)
    assert run.data.tags["icp.outcome"] == "promoted: first"
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"gate.json", "history", "plan.json"} <= names


def test_a_champion_that_changed_meanwhile_is_not_replaced(
    store: str, record: RunRecord, bundle: Path
) -> None:
    tracker = MlflowTracker(experiment="tests", model_name="race", tracking_uri=store)
    one, two = tracker.log(record, bundle), tracker.log(record, bundle)
    tracker.promote(one, "first", replaces=None)
    with pytest.raises(TrackingError, match="race/1"):
        tracker.promote(two, "late", replaces=None)
    assert tracker.champion() == "race/1"
    tracker.reject(two, "too late")
    client = mlflow.MlflowClient(tracking_uri=store)
    assert client.get_model_version("race", "2").tags["validation_status"] == "rejected"


def test_nothing_is_registered_when_the_probe_objects(store: str, record: RunRecord, bundle: Path) -> None:
    tracker = MlflowTracker(experiment="tests", model_name="probed", tracking_uri=store)
    seen = []

    def object_to(model: IcpModel) -> None:
        seen.append(model)
        raise TrackingError("other scores")

    with pytest.raises(TrackingError, match="other scores"):
        tracker.log(record, bundle, probe=object_to)
    assert isinstance(seen[0], IcpModel)
    client = mlflow.MlflowClient(tracking_uri=store)
    assert not client.search_registered_models("name = 'probed'")
    experiment = client.get_experiment_by_name("tests").experiment_id
    assert client.search_runs([experiment], max_results=1)[0].info.status == "FAILED"


def test_unknown_addresses_and_foreign_models_are_named(
    store: str, version: str, bundle: Path, in_store
) -> None:
    for address in ("models:/icp@nobody", "models:/nothing/1", "models:/icp/999", "runs:/abc/model"):
        with pytest.raises(TrackingError):
            load(address, tracking_uri=store)
    client = mlflow.MlflowClient()
    run = client.get_run(client.get_model_version("icp", "1").run_id)
    with pytest.raises(BundleError, match="another"):
        load(f"runs:/{run.info.run_id}/tables", tracking_uri=store)


def test_tracking_address_of_the_caller_is_left_alone(
    store: str, version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mlflow.set_tracking_uri(None)
    MlflowTracker(model_name="icp", tracking_uri=store).champion()
    assert not mlflow.is_tracking_uri_set()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    MlflowTracker(model_name="icp", tracking_uri=store).champion()
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path / 'other.db'}"
    assert mlflow.active_run() is None
    mlflow.set_tracking_uri(None)


def test_inside_mlflow_run_the_given_run_is_joined(
    store: str, record: RunRecord, bundle: Path, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = client.create_experiment(
        "project", artifact_location=f"{Path(store[10:]).parent / 'project'}"
    )
    run = client.create_run(experiment)
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    tracker = MlflowTracker(experiment="unused", model_name="project", tracking_uri="sqlite:////elsewhere.db")
    version = tracker.log(record, bundle)
    assert client.get_model_version("project", version.split("/")[1]).run_id == run.info.run_id
    assert client.get_experiment_by_name("unused") is None


def test_rest_gives_the_same_scores(
    version: str, model: IcpModel, fresh: pd.DataFrame, in_store: object
) -> None:
    from mlflow.pyfunc.scoring_server import invocations

    pyfunc = mlflow.pyfunc.load_model("models:/icp/1")
    rows = json.loads(fresh.to_json(orient="split", index=False))
    body = json.dumps({"dataframe_split": rows, "params": {"reasons": 1}})
    answer = invocations(body, "application/json", pyfunc, pyfunc.metadata.get_input_schema())
    assert answer.status == 200, answer.response
    found = pd.DataFrame(json.loads(answer.response)["predictions"])
    expected = model.score(fresh, reasons=1)
    assert found["p_retained"].tolist() == expected["p_retained"].tolist()
    assert found["reason_1"].fillna("").tolist() == expected["reason_1"].fillna("").tolist()


def test_files_stay_beside_the_database(version: str, store: str) -> None:
    folder = Path(store.removeprefix("sqlite:///")).parent
    assert (folder / "mlartifacts").is_dir()


def test_joins_a_run_that_is_already_open(
    record: RunRecord, bundle: Path, store: str, in_store: object, client: mlflow.MlflowClient
) -> None:
    tracker = MlflowTracker(experiment="unused", model_name="joined", tracking_uri=store)
    experiment = client.get_experiment_by_name("tests").experiment_id
    with mlflow.start_run(experiment_id=experiment) as run:
        version = tracker.log(record, bundle)
    assert client.get_model_version("joined", version.split("/")[1]).run_id == run.info.run_id
    assert client.get_experiment_by_name("unused") is None


def test_signature_and_example_are_logged(version: str, in_store: object, record: RunRecord) -> None:
    info = mlflow.models.get_model_info("models:/icp/1")
    assert set(info.signature.inputs.input_names()) == {"account_id", "as_of", "industry", "seats", "stack"}
    assert not info.signature.inputs.required_input_names()
    assert [param.name for param in info.signature.params] == ["reasons", "explain"]
    pyfunc = mlflow.pyfunc.load_model("models:/icp/1")
    with pytest.warns(InputWarning, match="never seen"):
        scores = pyfunc.predict(pyfunc.input_example)
    assert scores["account_id"].tolist() == ["example-1", "example-2"]
    assert np.isfinite(scores["p_retained"]).all()


def test_mlflow_does_not_drop_unknown_parameters_of_our_models(
    version: str, fresh: pd.DataFrame, in_store: object
) -> None:
    pyfunc = mlflow.pyfunc.load_model("models:/icp/1")
    with pytest.raises(InputMismatchError, match="topk"):
        pyfunc.predict(fresh, params={"topk": 2})
    with pytest.raises(MlflowException, match="reasons"):
        pyfunc.predict(fresh, params={"reasons": 2.5})


def test_parameters_of_other_models_are_not_ours_to_judge() -> None:
    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("mlflow.models.utils", logging.WARNING, "", 0, text, None, None)

    assert refuse_unknown_params(
        record("Unrecognized params ['k'] are ignored for inference. Supported params are: {'n'}. To")
    )
    assert refuse_unknown_params(record("Found extra inputs in the model input"))
