"""MLflow as the place where versions live: runs, the registry with its aliases, and the pyfunc.

MLflow is imported on first use only. The logged model is the bundle (JSON and LightGBM text) behind a loader
module, so nothing is unpickled, also with ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from icp_ml.adapters.mlflow_log import DEFAULT_REASONS, dataset_input, log_files, log_model
from icp_ml.errors import BundleError, InputMismatchError, MissingDependencyError, TrackingError
from icp_ml.serve.bundle import load as load_bundle
from icp_ml.serve.record import RunRecord
from icp_ml.serve.score import score_frame
from icp_ml.serve.training import IcpModel

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous_champion"
_SCHEMES = ("models:/", "runs:/")


class MlflowTracker:
    """Logs runs and keeps versions in an MLflow store; a :class:`icp_ml.serve.retrain.Tracker`.

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
    ) -> None:
        self.experiment = experiment
        self.model_name = model_name
        given = None if "MLFLOW_RUN_ID" in os.environ else tracking_uri
        self.tracking_uri = given or str(_mlflow().get_tracking_uri())
        self.artifact_location = artifact_location or _beside_database(self.tracking_uri)

    def __repr__(self) -> str:
        return f"MlflowTracker(experiment={self.experiment!r}, model_name={self.model_name!r})"

    def log(self, record: RunRecord, bundle: str | Path) -> str:
        """Log a run with its model, register the model, and alias it ``challenger``.

        Parameters
        ----------
        record
            The run.
        bundle
            Folder that :func:`icp_ml.save` wrote.

        Returns
        -------
        The version's name, such as ``icp/3``.

        Raises
        ------
        BundleError
            The folder isn't a bundle.
        TrackingError
            MLflow refused; the message is MLflow's.
        """
        model = load_bundle(bundle)
        with self._session() as mlflow, self._run(mlflow) as run:
            data = dataset_input(record)
            mlflow.log_input(data, context="training")
            mlflow.log_params(dict(record.params))
            logged = log_model(mlflow, model, record, Path(bundle))
            mlflow.log_metrics(dict(record.metrics), model_id=logged.model_id, dataset=data)
            log_files(mlflow, record)
            mlflow.set_tags({**record.tags, "mlflow.note.content": record.card})
            return self._register(mlflow, record, logged, run.info.run_id)

    def load(self, version: str) -> IcpModel:
        """Return the model of a version such as ``icp/3``, with its ``version`` set."""
        return load(f"models:/{version}", tracking_uri=self.tracking_uri)

    def champion(self) -> str | None:
        """Return the champion's version such as ``icp/3``, or None when there is none."""
        return self._alias(CHAMPION)

    def promote(self, version: str, reason: str, *, replaces: str | None) -> None:
        """Move the alias ``champion`` to a version; the old one becomes ``previous_champion``.

        Parameters
        ----------
        version
            The new champion.
        reason
            Why; kept as a tag.
        replaces
            The champion that was judged against. MLflow can't compare and swap, so it's read once more here.

        Raises
        ------
        TrackingError
            The champion is no longer ``replaces``.
        """
        number = _number(version)
        with self._session() as mlflow:
            client = mlflow.MlflowClient()
            current = self.champion()
            if current != replaces:
                raise TrackingError(
                    f"expected champion {replaces} to be still in place, found {current}: judge {version} "
                    "against it and promote again",
                    expected=replaces,
                    found=current,
                )
            client.set_model_version_tag(self.model_name, number, "validation_status", "approved")
            client.set_model_version_tag(self.model_name, number, "validation_reason", reason)
            if current is not None:
                client.set_registered_model_alias(self.model_name, PREVIOUS, _number(current))
            client.set_registered_model_alias(self.model_name, CHAMPION, number)

    def reject(self, version: str, reason: str) -> None:
        """Mark a version as rejected, with the reason; the champion stays."""
        with self._session() as mlflow:
            client = mlflow.MlflowClient()
            client.set_model_version_tag(self.model_name, _number(version), "validation_status", "rejected")
            client.set_model_version_tag(self.model_name, _number(version), "validation_reason", reason)

    def _alias(self, alias: str) -> str | None:
        with self._session() as mlflow:
            client = mlflow.MlflowClient()
            known = client.search_registered_models(f"name = '{self.model_name}'")
            for registered in known:
                # Search returns names that differ in letter case only on some databases.
                if registered.name == self.model_name and alias in registered.aliases:
                    return f"{self.model_name}/{registered.aliases[alias]}"
            return None

    @contextmanager
    def _session(self) -> Iterator[ModuleType]:
        """Point MLflow at this tracker's store, and back; turn its errors into ours."""
        with _store(self.tracking_uri) as mlflow:
            yield mlflow

    @contextmanager
    def _run(self, mlflow: ModuleType) -> Iterator[Any]:
        """Start a run, or join the one that ``mlflow run`` or the caller has started."""
        if mlflow.active_run() is not None:
            yield mlflow.active_run()
        elif "MLFLOW_RUN_ID" in os.environ:
            with mlflow.start_run() as run:
                yield run
        else:
            with mlflow.start_run(experiment_id=self._experiment_id(mlflow)) as run:
                yield run

    def _experiment_id(self, mlflow: ModuleType) -> str:
        client = mlflow.MlflowClient()
        known = client.get_experiment_by_name(self.experiment)
        if known is not None:
            return str(known.experiment_id)
        return str(client.create_experiment(self.experiment, artifact_location=self.artifact_location))

    def _register(self, mlflow: ModuleType, record: RunRecord, logged: Any, run_id: str) -> str:
        client = mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{self.model_name}'"):
            client.create_registered_model(self.model_name)
        made = client.create_model_version(
            self.model_name,
            source=logged.model_uri,
            run_id=run_id,
            model_id=logged.model_id,
            description=record.card,
            tags={**record.tags, "validation_status": "pending"},
        )
        client.set_registered_model_alias(self.model_name, CHALLENGER, str(made.version))
        return f"{self.model_name}/{made.version}"


def load(source: str | Path, *, tracking_uri: str | None = None) -> IcpModel:
    """Read a model from a folder or from the registry.

    Parameters
    ----------
    source
        A folder that :func:`icp_ml.save` wrote, or an MLflow address such as ``models:/icp@champion``,
        ``models:/icp/3`` or ``runs:/<run id>/model``.
    tracking_uri
        MLflow store for an address; None is MLflow's own choice. Not used for a folder.

    Returns
    -------
    The model. From the registry its ``version`` is the name and number, such as ``icp/3``, also where an
    alias was given.

    Raises
    ------
    BundleError
        The folder or the logged model isn't a bundle of this library.
    TrackingError
        MLflow knows no such address.
    MissingDependencyError
        An address was given and MLflow isn't installed.
    """
    if not str(source).startswith(_SCHEMES):
        return load_bundle(source)
    with _store(tracking_uri) as mlflow, tempfile.TemporaryDirectory() as folder:
        address, version = _resolve(mlflow, str(source))
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=folder))
        model = load_bundle(_bundle_inside(local, address))
    return dataclasses.replace(model, version=version) if version else model


def _load_pyfunc(path: str) -> ScoringModel:
    """Load the pyfunc; MLflow calls this with the folder of the bundle."""
    model = load_bundle(path)
    name = _registered_as(Path(path))
    return ScoringModel(dataclasses.replace(model, version=name) if name else model)


class ScoringModel:
    """What MLflow's pyfunc calls: a frame in, a score table out.

    Parameters
    ----------
    model
        The loaded model.
    """

    def __init__(self, model: IcpModel) -> None:
        self.model = model

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Score a frame.

        Parameters
        ----------
        data
            Account features as plain text, numbers and lists of text; columns may be absent.
        params
            ``reasons``: how many reasons and risks per account.

        Raises
        ------
        InputMismatchError
            A parameter is unknown or no whole number from 0.
        """
        given = dict(params or {})
        reasons = given.pop("reasons", DEFAULT_REASONS)
        if given:
            raise InputMismatchError(
                f"expected the parameter reasons only, found {sorted(given)[:5]}: correct the name",
                unknown=sorted(given),
            )
        if isinstance(reasons, bool) or int(reasons) != reasons or reasons < 0:
            raise InputMismatchError(f"expected reasons to be 0 or more, found {reasons!r}", reasons=reasons)
        return score_frame(self.model, data, reasons=int(reasons))


def _mlflow() -> ModuleType:
    try:
        import mlflow
    except ImportError as error:
        raise MissingDependencyError(
            "expected MLflow for the registry, found none: pip install mlflow", package="mlflow"
        ) from error
    return mlflow  # type: ignore[no-any-return]


@contextmanager
def _store(tracking_uri: str | None) -> Iterator[ModuleType]:
    """Point MLflow at a store for the time of the block; its errors become :class:`TrackingError`."""
    mlflow = _mlflow()
    from mlflow.exceptions import MlflowException

    # None takes MLflow back to "not set", so that its default and its environment variable keep working.
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    moved = tracking_uri is not None and tracking_uri != mlflow.get_tracking_uri()
    if moved:
        mlflow.set_tracking_uri(tracking_uri)
    try:
        yield mlflow
    except MlflowException as error:
        raise TrackingError(f"MLflow refused: {error.message}", code=error.error_code) from error
    finally:
        if moved:
            mlflow.set_tracking_uri(before)


def _beside_database(uri: str) -> str | None:
    """Return a folder beside a SQLite file, where MLflow would take the current folder."""
    head, mark, path = uri.partition("sqlite:///")
    if head or not mark or not path or path == ":memory:":
        return None
    return (Path(path).resolve().parent / "mlartifacts").as_uri()


def _number(version: str) -> str:
    """Return the number of a version's name: ``3`` of ``icp/3``."""
    return version.rpartition("/")[2]


def _resolve(mlflow: ModuleType, source: str) -> tuple[str, str]:
    """Resolve an alias once; return an address that can't move and the version's name (empty for a run)."""
    if not source.startswith("models:/"):
        return source, ""
    rest = source.removeprefix("models:/")
    client = mlflow.MlflowClient()
    if "@" in rest:
        name, _, alias = rest.partition("@")
        found = client.get_model_version_by_alias(name, alias)
        return f"models:/{name}/{found.version}", f"{name}/{found.version}"
    return source, rest if "/" in rest else ""


def _bundle_inside(local: Path, address: str) -> Path:
    """Return the bundle's folder inside a downloaded model."""
    found = sorted(path.parent for path in local.rglob("model.json"))
    if not found:
        raise BundleError(
            f"expected a model of this library at {address}, found another: load it with MLflow itself",
            address=address,
        )
    return found[0]


def _registered_as(path: Path) -> str:
    """Return the version that MLflow noted beside a model from the registry; empty without a note."""
    note = next((p / "registered_model_meta" for p in path.parents[:3] if (p / "MLmodel").is_file()), None)
    if note is None or not note.is_file():
        return ""
    entries = dict(
        line.split(":", 1) for line in note.read_text(encoding="utf-8").splitlines() if ":" in line
    )
    name, number = (entries.get(key, "").strip().strip("'\"") for key in ("model_name", "model_version"))
    return f"{name}/{number}" if name and number else ""
