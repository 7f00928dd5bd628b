"""The run of a job in MLflow: made or joined, and ended however the job ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from icp_ml.adapters.mlflow_log import context_tags
from icp_ml.adapters.mlflow_owner import Owner
from icp_ml.adapters.mlflow_patience import NoAnswer
from icp_ml.adapters.mlflow_registry import OWNER, utc_now
from icp_ml.adapters.mlflow_store import PatientClient, at, current_step, patiently

DECIDES = "the same command trains and decides again"


def client_of(mlflow: ModuleType) -> Any:
    """Return MLflow's client; making it opens the database, which may be busy as well."""
    return PatientClient(patiently(mlflow.MlflowClient))


@contextmanager
def a_run(mlflow: ModuleType, experiment: str, location: str | None) -> Iterator[Any]:
    """Make a run, or join the one that ``mlflow run`` or the caller has started."""
    if mlflow.active_run() is not None:
        yield mlflow.active_run()
        return
    client = client_of(mlflow)
    if "MLFLOW_RUN_ID" in os.environ:
        run = client.get_run(os.environ["MLFLOW_RUN_ID"])
    else:
        tags = context_tags({OWNER: Owner.here(utc_now()).to_text()})
        run = client.create_run(_experiment_id(client, experiment, location), tags=tags)
    ended = "FAILED"
    try:
        yield run
        ended = "FINISHED"
    finally:
        _end(client, run.info.run_id, ended)


def known_experiment(client: Any, name: str) -> str | None:
    """Return the id of the experiment, or None when there's none yet."""
    if "MLFLOW_RUN_ID" in os.environ:
        return os.environ.get("MLFLOW_EXPERIMENT_ID")
    known = client.get_experiment_by_name(name)
    return None if known is None else str(known.experiment_id)


def _experiment_id(client: Any, name: str, location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    known = known_experiment(client, name)
    if known is not None:
        return known
    try:
        made = client.create_experiment(name, artifact_location=location)
    except MlflowException as error:
        known = known_experiment(client, name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or known is None:
            raise
        return known
    return str(made)


def _end(client: Any, run_id: str, status: str) -> None:
    """End a run; one that failed because the store doesn't answer is ended by the next job's tidying up."""
    from mlflow.exceptions import MlflowException

    if status == "FINISHED":
        at("ending the run", f"a registered version as pending, the champion stays; {DECIDES}")
        client.set_terminated(run_id, status)
        return
    with current_step().patience.last_words(), suppress(MlflowException, NoAnswer):
        client.set_terminated(run_id, status)
