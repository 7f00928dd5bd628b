"""How a store is reached: which one, made whole at first use, patient with others, quiet on customers."""

from __future__ import annotations

import logging
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from icp_ml.errors import MissingDependencyError, TrackingError

T = TypeVar("T")

PATIENCE_SECONDS = 90.0
_BUSY = ("database is locked", "Giving up after", "database table is locked", "deadlock detected")
#: What SQLite, PostgreSQL and MySQL say when two jobs add the same row, such as the data both train on.
_RACES = ("UNIQUE constraint failed", "duplicate key value", "Duplicate entry")
_MOST_RACES = 5
_SPEAKS_SQL = "mlflow.store.db.utils"


def import_mlflow() -> ModuleType:
    """Return MLflow, imported on first use.

    Raises
    ------
    MissingDependencyError
        It isn't installed.
    """
    try:
        import mlflow
    except ImportError as error:
        raise MissingDependencyError(
            "expected MLflow for the registry, found none: pip install mlflow", package="mlflow"
        ) from error
    return mlflow  # type: ignore[no-any-return]


@contextmanager
def store(tracking_uri: str | None) -> Iterator[ModuleType]:
    """Point MLflow at a store for the time of the block; its errors become :class:`TrackingError`."""
    mlflow = import_mlflow()
    from mlflow.exceptions import MlflowException

    # None takes MLflow back to "not set", so that its default and its environment variable keep working.
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    moved = tracking_uri is not None and tracking_uri != mlflow.get_tracking_uri()
    if moved:
        mlflow.set_tracking_uri(tracking_uri)
    try:
        make_whole(str(mlflow.get_tracking_uri()))
        with _silent_sql():
            yield mlflow
    except MlflowException as error:
        raise TrackingError(f"MLflow refused: {without_sql(error.message)}", code=error.error_code) from None
    finally:
        if moved:
            mlflow.set_tracking_uri(before)


def without_sql(message: object) -> str:
    """Return an error's message up to the statement, whose parameters may be customers' values."""
    return str(message).partition("[SQL")[0].strip()


@contextmanager
def _silent_sql() -> Iterator[None]:
    # NOTE: MLflow logs a failed statement with its parameters, which hold the model card; we raise instead.
    logger = logging.getLogger(_SPEAKS_SQL)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def patiently(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call MLflow, again and again while another process holds the database.

    Only statements that the store refused as a whole are repeated, so nothing is written twice. A row that
    another job added first is found, not added, at the next try.
    """
    from mlflow.exceptions import MlflowException

    end = time.monotonic() + PATIENCE_SECONDS
    pause, races = 0.05, 0
    while True:
        try:
            return call(*args, **kwargs)
        except MlflowException as error:
            races += _says(error, _RACES)
            again = _says(error, _BUSY) or (_says(error, _RACES) and races < _MOST_RACES)
            if not again or time.monotonic() > end:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, 2.0)


def _says(error: Any, marks: tuple[str, ...]) -> bool:
    return any(mark in str(error.message) for mark in marks)


class PatientClient:
    """MLflow's client, each call of which waits for a busy database.

    Parameters
    ----------
    client
        The client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return lambda *args, **kwargs: patiently(call, *args, **kwargs)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite address; None for other stores and for memory."""
    head, mark, path = uri.partition("sqlite:///")
    return None if head or not mark or not path or path == ":memory:" else Path(path)


def beside_database(uri: str) -> str | None:
    """Return a folder beside a SQLite file, where MLflow would take the current folder."""
    file = sqlite_file(uri)
    return None if file is None else (file.resolve().parent / "mlartifacts").as_uri()


def make_whole(uri: str) -> None:
    """Make the tables of a new SQLite store, which appears only when complete.

    MLflow makes them on first use, in the file itself: a second process then dies of half the tables, and so
    does every later one if the first was killed.
    """
    file = sqlite_file(uri)
    if file is None or _has_tables(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file.parent):
        if _has_tables(file):
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".mlflow-new-") as folder:
            made = Path(folder) / "mlflow.db"
            fresh = SqlAlchemyStore(f"sqlite:///{made.resolve()}", "./mlruns")
            fresh.engine.dispose()
            made.replace(file)


def _has_tables(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder; the system lets go when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
