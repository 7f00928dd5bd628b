"""The logged model: read back as ours, or called by MLflow as a pyfunc."""

from __future__ import annotations

import dataclasses
import logging
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.adapters.mlflow_log import LOADER, PARAMS
from icp_ml.adapters.mlflow_patience import PATIENCE_SECONDS, Patience
from icp_ml.adapters.mlflow_sqlite import sqlite_file
from icp_ml.adapters.mlflow_store import at, current_step, patiently, store
from icp_ml.errors import BundleError, InputMismatchError, TrackingError
from icp_ml.scratch import scratch_folder
from icp_ml.serve.bundle import load as load_bundle
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.score import score_frame

_DIGITS = 9
_SCHEMES = ("models:/", "runs:/")
_UNKNOWN = re.compile(
    r"Unrecognized params \[(?P<given>.*?)\].*Supported params are: \{(?P<known>.*?)\}", re.S
)


def load(
    source: str | Path, *, tracking_uri: str | None = None, patience_seconds: float = PATIENCE_SECONDS
) -> IcpModel:
    """Read a model from a folder or from the registry.

    Parameters
    ----------
    source
        A folder that :func:`icp_ml.save` wrote, or an MLflow address such as ``models:/icp@champion``,
        ``models:/icp/3``, ``models:/icp/latest`` or ``runs:/<run id>/model``.
    tracking_uri
        MLflow store for an address; None is MLflow's own choice. Not used for a folder.
    patience_seconds
        How long the store is waited for, over all calls together; what a call takes beyond its first second
        counts.

    Returns
    -------
    The model. From the registry its ``version`` is the name and number of what was loaded, such as
    ``icp/3``, also where an alias, a stage or ``latest`` was given.

    Raises
    ------
    BundleError
        The folder or the logged model isn't a bundle of this library.
    ConfigError
        The patience isn't a number of seconds above 0.
    TrackingError
        MLflow knows no such address, its files are missing, or the store doesn't answer.
    MissingDependencyError
        An address was given and MLflow isn't installed.
    """
    if not str(source).startswith(_SCHEMES):
        return load_bundle(source)
    return load_version(str(source), tracking_uri, Patience.of(patience_seconds))


def load_version(source: str, tracking_uri: str | None, patience: Patience) -> IcpModel:
    """Load what an address means now, with the patience of the job at hand."""
    doing = f"loading {source}"
    with store(tracking_uri, doing, patience=patience, make=False) as mlflow, scratch_folder() as folder:
        address, version = _resolve(mlflow, source)
        at(f"loading {version or source}")
        model = read_logged(mlflow, address, folder)
    return dataclasses.replace(model, version=version) if version else model


def read_logged(mlflow: ModuleType, address: str, folder: Path) -> IcpModel:
    """Download a logged model and read its bundle.

    Raises
    ------
    TrackingError
        There are no files.
    BundleError
        They're another model, or damaged.
    """
    local = Path(
        patiently(mlflow.artifacts.download_artifacts, artifact_uri=address, dst_path=str(folder / "model"))
    )
    if not any(path.is_file() for path in local.rglob("*")):
        raise _missing(mlflow, address)
    bundle = _bundle_inside(local, address)
    try:
        return load_bundle(bundle)
    except BundleError as error:
        facts = {**error.facts, "address": address}
        raise BundleError(f"{address}: {str(error).replace(str(bundle), 'its bundle')}", **facts) from None


def _missing(mlflow: ModuleType, address: str) -> TrackingError:
    """Say where the files of a version were looked for."""
    where = "where the store notes them"
    if address.startswith("models:/"):
        client = patiently(mlflow.MlflowClient)
        name, _, number = address.removeprefix("models:/").rpartition("/")
        if name:
            where = patiently(client.get_model_version_download_uri, name, number)
        elif number:
            where = patiently(client.get_logged_model, number).artifact_location
    beside = sqlite_file(current_step().address)
    also = "" if beside is None else f" and beside {beside}"
    return TrackingError(
        f"expected the files of {address} at {where}, found none there{also}: was the store moved without "
        "its artifacts? Nothing was changed; put the folder back, or load another version",
        address=address,
        where=str(where),
    )


def load_pyfunc(path: str) -> ScoringModel:
    """Load the pyfunc from the folder of its bundle."""
    speaker = logging.getLogger("mlflow.models.utils")
    speaker.addFilter(refuse_unknown_params)
    # The filter must see the warning also where MLflow is told to be quiet; it lets through what was before.
    speaker.setLevel(logging.DEBUG)
    model = load_bundle(path)
    name = _registered_as(Path(path))
    return ScoringModel(dataclasses.replace(model, version=name) if name else model)


def refuse_unknown_params(record: logging.LogRecord) -> bool:
    """Raise where MLflow would only warn that it drops a parameter that this model doesn't know.

    MLflow drops unknown parameters before our code runs, so its warning is the one place to object. The
    warning names the parameters that are known; only those of our own models are ours to judge.

    Returns
    -------
    Whether MLflow's own settings let the record through.

    Raises
    ------
    InputMismatchError
        A parameter is unknown.
    """
    said = _UNKNOWN.match(record.getMessage())
    if said is not None and _names(said["known"]) == sorted(PARAMS):
        raise _unknown_params(_names(said["given"]))
    return record.levelno >= logging.getLogger("mlflow.models").getEffectiveLevel()


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
            ``reasons``: how many reasons and risks per account. ``explain``: False leaves them out, which is
            faster.

        Raises
        ------
        InputMismatchError
            A parameter is unknown or of another type.
        """
        scores = score_frame(self.model, data, reasons=_asked_reasons(params or {}))
        return _without_nothing(scores) if _inside_spark() else scores


def _asked_reasons(params: Mapping[str, Any]) -> int:
    unknown = sorted(set(params) - set(PARAMS))
    if unknown:
        raise _unknown_params(unknown)
    reasons, explain = (params.get(name, default) for name, default in PARAMS.items())
    if not isinstance(explain, bool | np.bool_):
        raise InputMismatchError(f"expected explain to be true or false, found {explain!r}", explain=explain)
    if not isinstance(reasons, int | np.integer) or isinstance(reasons, bool) or reasons < 0:
        raise InputMismatchError(
            f"expected reasons to be a whole number of 0 or more, found {reasons!r}", reasons=reasons
        )
    return int(reasons) if explain else 0


def _unknown_params(unknown: list[str]) -> InputMismatchError:
    return InputMismatchError(
        f"expected the parameters {' or '.join(PARAMS)} only, found {unknown[:5]}: correct the name",
        unknown=unknown,
    )


def _names(listed: str) -> list[str]:
    """Return the names in a list that MLflow wrote out."""
    return sorted(name.strip(" '\"") for name in listed.split(","))


def _inside_spark() -> bool:
    spark = sys.modules.get("pyspark")
    return spark is not None and spark.TaskContext.get() is not None


def _without_nothing(scores: pd.DataFrame) -> pd.DataFrame:
    """Leave missing text empty: MLflow's Spark function would write it as the word None."""
    texts = scores.select_dtypes(include="object").columns
    return scores.assign(**{name: scores[name].fillna("") for name in texts})


def _resolve(mlflow: ModuleType, source: str) -> tuple[str, str]:
    """Resolve an address once; return one that can't move and the version's name (empty for a run)."""
    if not source.startswith("models:/") or source.startswith("models://"):
        return source, ""
    rest = source.removeprefix("models:/").strip("/")
    if rest.startswith("m-") and "/" not in rest and "@" not in rest:
        return source, ""
    name, mark, wanted = rest.partition("@") if "@" in rest else rest.partition("/")
    if not name or not wanted or "/" in wanted:
        raise TrackingError(
            f"expected an address such as models:/icp@champion, models:/icp/3 or models:/icp/latest, found "
            f"{source!r}: correct it",
            address=source,
        )
    client = patiently(mlflow.MlflowClient)
    if mark == "@":
        number = number_in(patiently(client.get_model_version_by_alias, name, wanted))
    elif wanted.isascii() and wanted.isdigit():
        number = int(wanted[:_DIGITS])
    else:
        number = _newest(client, name, wanted)
    return f"models:/{name}/{number}", f"{name}/{number}"


def _newest(client: Any, name: str, wanted: str) -> int:
    """Return the number of the newest version, or of the newest in a stage."""
    from mlflow.exceptions import MlflowException

    if wanted.lower() == "latest":
        found = patiently(client.search_model_versions, f"name = '{name}'", order_by=["version_number DESC"])
    else:
        with warnings.catch_warnings():
            # Stages are on their way out, but there are registries that have them.
            warnings.simplefilter("ignore", FutureWarning)
            try:
                found = patiently(client.get_latest_versions, name, [wanted])
            except MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                found = []
    if not found:
        raise TrackingError(
            f"expected a version of {name} that is {wanted!r}, found none: name a number, an alias after @, "
            "'latest', or a stage that a version is in",
            model=name,
            wanted=wanted,
        )
    return max(number_in(made) for made in found)


def number_in(answer: Any) -> int:
    """Return the number of a version, as the store answered it.

    Raises
    ------
    TrackingError
        The answer holds none: it isn't MLflow that answers.
    """
    found = str(answer.version)
    if not found.isascii() or not found.isdigit() or len(found) > _DIGITS:
        raise TrackingError(
            f"{current_step().doing} failed: expected the number of a version, found {found[:80]!r}. What is "
            f"left: {current_step().left}. What to do: check that MLflow answers at tracking_uri",
            found=found[:80],
        )
    return int(found)


def _bundle_inside(local: Path, address: str) -> Path:
    """Return the bundle's folder inside a downloaded model."""
    found = sorted(path.parent for path in local.rglob("model.json"))
    if not found and _is_ours(local):
        raise TrackingError(
            f"expected all files of {address}, found some without model.json: they were uploaded or copied "
            "in part. Nothing was changed; load another version, or put the files back",
            address=address,
        )
    if not found:
        raise BundleError(
            f"expected a model of this library at {address}, found another: load it with MLflow itself",
            address=address,
        )
    return found[0]


def _is_ours(local: Path) -> bool:
    """Say whether MLflow's description of a model names our loader."""
    notes = [path for path in local.rglob("MLmodel") if path.is_file()]
    return any(f"loader_module: {LOADER}" in path.read_text("utf-8", "replace") for path in notes)


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
