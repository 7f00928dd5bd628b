"""MLflow as the place where versions live: runs, the registry with its champion, and the pyfunc.

MLflow is imported on first use only. The logged model is the bundle (JSON and LightGBM text) behind a loader
module, so nothing is unpickled, also with ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

from icp_ml.adapters.mlflow_log import MOST_PARAM, bounded, dataset_input, log_files, log_model, shown
from icp_ml.adapters.mlflow_model import ScoringModel, load, load_pyfunc, read_logged
from icp_ml.adapters.mlflow_owner import Owner
from icp_ml.adapters.mlflow_registry import (
    CHALLENGER,
    CHAMPION,
    IDENTITY,
    OWNER,
    PREVIOUS,
    REASON,
    STATUS,
    Registry,
    number_of,
    utc_now,
)
from icp_ml.adapters.mlflow_store import PatientClient, beside_database, import_mlflow, patiently, store
from icp_ml.serve.bundle import load as load_bundle
from icp_ml.serve.history import Change, champion_on, history_frame
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.record import RunRecord

if TYPE_CHECKING:
    # Training and all that it needs stay unloaded where a model is only scored.
    from icp_ml.serve.retrain import Earlier, Probe

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "MlflowTracker",
    "ScoringModel",
    "champion_as_of",
    "load",
    "load_pyfunc",
]

#: What MLflow calls to load the logged model; the name is MLflow's.
_load_pyfunc = load_pyfunc

_GATE_FILE = "gate.json"
_OUTCOME = "icp.outcome"
_GRACE = 1.0


class MlflowTracker:
    """Logs runs and keeps versions in an MLflow store; a :class:`icp_ml.serve.retrain.Tracker`.

    Several jobs may work on one model at the same time: there is one champion, and a history of each change.

    Parameters
    ----------
    experiment
        Experiment of the runs; made when it's missing. Inside ``mlflow run`` the given run is joined instead.
    model_name
        Registered model of the versions; no ``/`` or ``:``.
    tracking_uri
        Address of the store, such as ``sqlite:///mlflow.db``. None is MLflow's own choice: the environment
        variable ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the current folder. Inside ``mlflow run`` it's
        the store of the given run.
    artifact_location
        Where a new experiment keeps its files. None: beside the database of a SQLite address, else the
        store's choice.
    clock
        Tells the time that the history notes; only to replay the past. A change is never noted before the
        one that it follows.
    abandoned_after_hours
        A run or version that nobody finished for so long counts as abandoned; on the same machine at once
        when its process has ended.

    Raises
    ------
    MissingDependencyError
        MLflow isn't installed.
    """

    def __init__(
        self,
        experiment: str = "icp",
        model_name: str = "icp",
        tracking_uri: str | None = None,
        *,
        artifact_location: str | None = None,
        clock: Callable[[], datetime] = utc_now,
        abandoned_after_hours: float = 12.0,
    ) -> None:
        self.experiment = experiment
        self.model_name = model_name
        given = None if "MLFLOW_RUN_ID" in os.environ else tracking_uri
        self.tracking_uri = given or str(import_mlflow().get_tracking_uri())
        self.artifact_location = artifact_location or beside_database(self.tracking_uri)
        self.clock = clock
        self.longest = timedelta(hours=abandoned_after_hours)

    def __repr__(self) -> str:
        return f"MlflowTracker(experiment={self.experiment!r}, model_name={self.model_name!r})"

    def tidy(self) -> None:
        """Finish what a killed job left: end its runs as KILLED, complete or mark its version."""
        with self._session() as mlflow:
            client = PatientClient(mlflow.MlflowClient())
            experiment = self._known_experiment(client)
            query = "attributes.status = 'RUNNING'"
            for run in client.search_runs([experiment], query) if experiment is not None else []:
                owner = Owner.from_text(run.data.tags.get(OWNER, ""))
                if owner is not None and owner.is_gone(utc_now(), self.longest):
                    client.set_tag(run.info.run_id, _OUTCOME, "killed: its process ended or took too long")
                    client.set_terminated(run.info.run_id, "KILLED")
            self._registry(mlflow).tidy()

    def earlier(self, identity: str) -> Earlier | None:
        """Return what came of the same data and plan, or None when nothing was decided yet."""
        from icp_ml.serve.retrain import Earlier

        with self._session() as mlflow:
            for made in self._registry(mlflow).versions(identity):
                status = made.tags.get(STATUS, "")
                if status in ("approved", "rejected", "rolled_back"):
                    reason = f"{status.replace('_', ' ')}: {made.tags.get(REASON, '')}"
                    return Earlier(f"{self.model_name}/{made.version}", status == "approved", reason)
        return None

    def log(self, record: RunRecord, bundle: str | Path, *, probe: Probe | None = None) -> str:
        """Log a run with its model, read the model back, register it, and alias it ``challenger``.

        Parameters
        ----------
        record
            The run.
        bundle
            Folder that :func:`icp_ml.save` wrote.
        probe
            Called with the model as read back from the store; when it raises, nothing is registered.

        Returns
        -------
        The version's name, such as ``icp/3``; its tag ``validation_status`` is ``pending``.

        Raises
        ------
        BundleError
            The folder isn't a bundle.
        TrackingError
            MLflow refused; the message is MLflow's.
        """
        model = load_bundle(bundle)
        with self._session() as mlflow, self._run(mlflow) as run:
            owner = {OWNER: Owner.here(utc_now()).to_text(), IDENTITY: record.identity}
            patiently(mlflow.set_tags, owner)
            data = dataset_input(record)
            patiently(mlflow.log_input, data, context="training")
            patiently(mlflow.log_params, bounded(record.params, MOST_PARAM))
            logged = patiently(log_model, mlflow, model, record, Path(bundle))
            patiently(mlflow.log_metrics, dict(record.metrics), model_id=logged.model_id, dataset=data)
            log_files(mlflow, record)
            patiently(mlflow.set_tags, bounded({**record.tags, "mlflow.note.content": record.card}))
            if probe is not None:
                with tempfile.TemporaryDirectory() as folder:
                    probe(read_logged(mlflow, logged.model_uri, Path(folder)))
            return self._register(mlflow, record, logged, run.info.run_id, owner)

    def load(self, version: str) -> IcpModel:
        """Return the model of a version such as ``icp/3``, with its ``version`` set."""
        return load(f"models:/{version}", tracking_uri=self.tracking_uri)

    def champion(self) -> str | None:
        """Return the champion's version such as ``icp/3``, or None when there is none."""
        with self._session() as mlflow:
            return self._registry(mlflow).champion()

    def promote(
        self, version: str, reason: str, *, replaces: str | None, evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Move the alias ``champion`` to a version; the old one becomes ``previous_champion``.

        Parameters
        ----------
        version
            The new champion.
        reason
            Why; kept as a tag and in the history.
        replaces
            The champion that was judged against; read once more while no other job can move it.
        evidence
            What the gate found, kept as ``gate.json`` in the version's run.

        Raises
        ------
        TrackingError
            The champion changed meanwhile, or MLflow refused.
        """
        with self._session() as mlflow:
            self._keep(mlflow, version, evidence)
            self._registry(mlflow).promote(version, reason, replaces=replaces)
            self._note_outcome(mlflow, version, f"promoted: {reason}")

    def reject(self, version: str, reason: str, *, evidence: Mapping[str, Any] | None = None) -> None:
        """Mark a version as rejected, with the reason; the champion stays."""
        with self._session() as mlflow:
            self._keep(mlflow, version, evidence)
            self._registry(mlflow).reject(version, reason)
            self._note_outcome(mlflow, version, f"rejected: {reason}")

    def roll_back(self, reason: str) -> Change:
        """Make the champion before the present one the champion again.

        Parameters
        ----------
        reason
            Why; kept in the history and as a tag of the version that is taken back.

        Returns
        -------
        The change, as the history has it.

        Raises
        ------
        ConfigError
            There's no earlier champion.
        TrackingError
            The earlier champion can't be loaded, or MLflow refused; then nothing is moved.
        """
        with self._session() as mlflow:
            return self._registry(mlflow).roll_back(reason, self.load)

    def history(self) -> pd.DataFrame:
        """Return every change of champion, oldest first: sequence, at, action, version, replaces, reason."""
        with self._session() as mlflow:
            return history_frame(self._registry(mlflow).history())

    def champion_as_of(self, moment: date | datetime | str) -> str | None:
        """Return the version that was champion at a moment; on a day, the one in place when it ended (UTC).

        Raises
        ------
        ConfigError
            The text is no day or time.
        """
        with self._session() as mlflow:
            return champion_on(self._registry(mlflow).history(), moment)

    @contextmanager
    def _session(self) -> Iterator[ModuleType]:
        """Point MLflow at this tracker's store, and back; turn its errors into ours."""
        with store(self.tracking_uri) as mlflow:
            yield mlflow

    def _registry(self, mlflow: ModuleType) -> Registry:
        client = PatientClient(mlflow.MlflowClient())
        grace = _GRACE if self.tracking_uri.startswith("http") else 0.0
        return Registry(client, self.model_name, self.clock, self.longest, grace)

    @contextmanager
    def _run(self, mlflow: ModuleType) -> Iterator[Any]:
        """Start a run, or join the one that ``mlflow run`` or the caller has started."""
        if mlflow.active_run() is not None:
            yield mlflow.active_run()
        elif "MLFLOW_RUN_ID" in os.environ:
            with patiently(mlflow.start_run) as run:
                yield run
        else:
            with patiently(mlflow.start_run, experiment_id=self._experiment_id(mlflow)) as run:
                yield run

    def _known_experiment(self, client: Any) -> str | None:
        if "MLFLOW_RUN_ID" in os.environ:
            return os.environ.get("MLFLOW_EXPERIMENT_ID")
        known = client.get_experiment_by_name(self.experiment)
        return None if known is None else str(known.experiment_id)

    def _experiment_id(self, mlflow: ModuleType) -> str:
        from mlflow.exceptions import MlflowException

        client = PatientClient(mlflow.MlflowClient())
        known = self._known_experiment(client)
        if known is not None:
            return known
        try:
            made = client.create_experiment(self.experiment, artifact_location=self.artifact_location)
        except MlflowException as error:
            known = self._known_experiment(client)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or known is None:
                raise
            return known
        return str(made)

    def _register(
        self, mlflow: ModuleType, record: RunRecord, logged: Any, run_id: str, tags: Mapping[str, str]
    ) -> str:
        client = PatientClient(mlflow.MlflowClient())
        self._registry(mlflow).ensure()
        made = client.create_model_version(
            self.model_name,
            source=logged.model_uri,
            run_id=run_id,
            model_id=logged.model_id,
            description=shown(record.card),
            tags={**bounded(record.tags), **tags, STATUS: "pending"},
        )
        client.set_registered_model_alias(self.model_name, CHALLENGER, str(made.version))
        return f"{self.model_name}/{made.version}"

    def _keep(self, mlflow: ModuleType, version: str, evidence: Mapping[str, Any] | None) -> None:
        if evidence is not None:
            client = PatientClient(mlflow.MlflowClient())
            run_id = client.get_model_version(self.model_name, number_of(version)).run_id
            client.log_dict(run_id, dict(evidence), _GATE_FILE)

    def _note_outcome(self, mlflow: ModuleType, version: str, outcome: str) -> None:
        client = PatientClient(mlflow.MlflowClient())
        run_id = client.get_model_version(self.model_name, number_of(version)).run_id
        client.set_tag(run_id, _OUTCOME, shown(outcome))


def champion_as_of(
    moment: date | datetime | str, *, model_name: str = "icp", tracking_uri: str | None = None
) -> str | None:
    """Return the version that was champion at a moment, such as ``icp/3``; None before the first.

    Parameters
    ----------
    moment
        A day or a time, also as ISO text. On a day, the version in place when it ended (UTC).
    model_name
        The registered model.
    tracking_uri
        MLflow store; None is MLflow's own choice.

    Raises
    ------
    ConfigError
        The text is no day or time.
    TrackingError
        MLflow refused.
    """
    return MlflowTracker(model_name=model_name, tracking_uri=tracking_uri).champion_as_of(moment)
