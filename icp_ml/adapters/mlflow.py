"""MLflow as the place where versions live: runs, the registry with its champion, and the pyfunc.

MLflow is imported on first use only. The logged model is the bundle (JSON and LightGBM text) behind a loader
module, so nothing is unpickled, also with ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

from icp_ml.adapters.mlflow_log import (
    bounded,
    log_files,
    log_model,
    log_numbers,
    log_settings,
    log_tags,
    shown,
)
from icp_ml.adapters.mlflow_model import (
    ScoringModel,
    load,
    load_pyfunc,
    load_version,
    number_in,
    read_logged,
)
from icp_ml.adapters.mlflow_owner import Owner
from icp_ml.adapters.mlflow_patience import PATIENCE_SECONDS, Patience
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
from icp_ml.adapters.mlflow_run import DECIDES, a_run, client_of, known_experiment
from icp_ml.adapters.mlflow_sqlite import beside_database
from icp_ml.adapters.mlflow_store import at, import_mlflow, store
from icp_ml.scratch import scratch_folder
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
    patience_seconds
        How long the store is waited for, over all calls together, before a TrackingError says so; what a
        call takes beyond its first second counts. :meth:`tidy` begins anew.

    Raises
    ------
    ConfigError
        The patience isn't a number of seconds above 0.
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
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.experiment = experiment
        self.model_name = model_name
        given = None if "MLFLOW_RUN_ID" in os.environ else tracking_uri
        self.tracking_uri = given or str(import_mlflow().get_tracking_uri())
        self.artifact_location = artifact_location or beside_database(self.tracking_uri)
        self.clock = clock
        self.longest = timedelta(hours=abandoned_after_hours)
        self.patience = Patience.of(patience_seconds)

    def __repr__(self) -> str:
        return f"MlflowTracker(experiment={self.experiment!r}, model_name={self.model_name!r})"

    def tidy(self) -> None:
        """Finish what a killed job left: end its runs as KILLED, complete or mark its version."""
        self.patience.restore()
        with self._session("looking after what killed jobs left") as mlflow:
            client = client_of(mlflow)
            experiment = known_experiment(client, self.experiment)
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

        with self._session("asking what came of the same data before") as mlflow:
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
        with (
            self._session("opening a run", "no run, no version") as mlflow,
            a_run(mlflow, self.experiment, self.artifact_location) as run,
        ):
            run_id, client = run.info.run_id, client_of(mlflow)
            left = f"run {run_id} without a version; nothing was registered, the champion stays"
            owner = {OWNER: Owner.here(utc_now()).to_text(), IDENTITY: record.identity}
            at("noting parameters and data", left)
            log_tags(client, run_id, owner)
            log_settings(client, run_id, record)
            model_id = log_model(client, model, record, Path(bundle), run, at)
            address = f"models:/{model_id}"
            at("noting metrics")
            log_numbers(client, run_id, record, model_id)
            at("uploading tables and figures")
            log_files(client, run_id, record)
            at("noting tags")
            log_tags(client, run_id, {**record.tags, "mlflow.note.content": record.card})
            if probe is not None:
                at("reading the model back")
                with scratch_folder() as folder:
                    probe(read_logged(mlflow, address, folder))
            return self._register(mlflow, record, model_id, run_id, owner)

    def load(self, version: str) -> IcpModel:
        """Return the model of a version such as ``icp/3``, with its ``version`` set."""
        return load_version(f"models:/{version}", self.tracking_uri, self.patience)

    def champion(self) -> str | None:
        """Return the champion's version such as ``icp/3``, or None when there is none."""
        with self._session("asking for the champion") as mlflow:
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
        left = f"{version} as pending, the champion is still {replaces or 'none'}; {DECIDES}"
        with self._session(f"promoting {version}", left) as mlflow:
            self._keep(mlflow, version, evidence)
            self._registry(mlflow).promote(version, reason, replaces=replaces)
            at("noting the outcome", f"nothing half done: {version} is the champion")
            self._note_outcome(mlflow, version, f"promoted: {reason}")

    def reject(self, version: str, reason: str, *, evidence: Mapping[str, Any] | None = None) -> None:
        """Mark a version as rejected, with the reason; the champion stays."""
        left = f"{version} as pending, the champion stays; {DECIDES}"
        with self._session(f"rejecting {version}", left) as mlflow:
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
        with self._session("rolling back", "the champion stays") as mlflow:
            return self._registry(mlflow).roll_back(reason, self.load)

    def history(self) -> pd.DataFrame:
        """Return every change of champion, oldest first: sequence, at, action, version, replaces, reason."""
        with self._session("reading the history") as mlflow:
            return history_frame(self._registry(mlflow).history())

    def champion_as_of(self, moment: date | datetime | str) -> str | None:
        """Return the version that was champion at a moment; on a day, the one in place when it ended (UTC).

        Raises
        ------
        ConfigError
            The text is no day or time.
        """
        with self._session("reading the history") as mlflow:
            return champion_on(self._registry(mlflow).history(), moment)

    @contextmanager
    def _session(
        self, doing: str = "using the registry", left: str = "nothing was changed"
    ) -> Iterator[ModuleType]:
        """Point MLflow at this tracker's store, and back; turn its errors into ours."""
        with store(self.tracking_uri, doing, left, patience=self.patience) as mlflow:
            yield mlflow

    def _registry(self, mlflow: ModuleType) -> Registry:
        grace = _GRACE if self.tracking_uri.startswith("http") else 0.0
        return Registry(client_of(mlflow), self.model_name, self.clock, self.longest, grace)

    def _register(
        self, mlflow: ModuleType, record: RunRecord, model_id: str, run_id: str, tags: Mapping[str, str]
    ) -> str:
        client = client_of(mlflow)
        at(f"registering a version of {self.model_name}")
        self._registry(mlflow).ensure()
        made = client.create_model_version(
            self.model_name,
            source=f"models:/{model_id}",
            run_id=run_id,
            model_id=model_id,
            description=shown(record.card),
            tags={**bounded(record.tags), **tags, STATUS: "pending"},
        )
        version = f"{self.model_name}/{number_in(made)}"
        at(f"naming {version} the challenger", f"{version} as pending, the champion stays; {DECIDES}")
        client.set_registered_model_alias(self.model_name, CHALLENGER, str(made.version))
        return version

    def _keep(self, mlflow: ModuleType, version: str, evidence: Mapping[str, Any] | None) -> None:
        if evidence is not None:
            client = client_of(mlflow)
            run_id = client.get_model_version(self.model_name, number_of(version)).run_id
            client.log_dict(run_id, dict(evidence), _GATE_FILE)

    def _note_outcome(self, mlflow: ModuleType, version: str, outcome: str) -> None:
        client = client_of(mlflow)
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
