"""How a store is reached: which one, patient with others, quiet on customers and passwords.

Whatever MLflow and the libraries below it raise ends here as one :class:`TrackingError`, which says what was
being done, what is left behind, and what to do.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from icp_ml.adapters.mlflow_moved import redirected
from icp_ml.adapters.mlflow_patience import SETTINGS, NoAnswer, Patience
from icp_ml.adapters.mlflow_sqlite import make_whole
from icp_ml.adapters.mlflow_wording import cause_of, shown, what_to_do
from icp_ml.errors import IcpError, MissingDependencyError, TrackingError
from icp_ml.redact import without_secrets

T = TypeVar("T")

_BUSY = ("database is locked", "Giving up after", "database table is locked", "deadlock detected")
#: What SQLite, PostgreSQL and MySQL say when two jobs add the same row, such as the data both train on.
_RACES = ("UNIQUE constraint failed", "duplicate key value", "Duplicate entry")
_MOST_RACES = 5
_SPEAKS_SQL = ("mlflow.store.db.utils", "alembic")
_UNCHANGED = "nothing was changed"


@dataclass
class Step:
    """What is being done with a store, for whoever reads of its failure.

    Parameters
    ----------
    doing
        Such as ``loading icp/3``.
    left
        What is left behind when it fails now.
    patience
        How long to wait.
    address
        The store.
    """

    doing: str = "using the tracking store"
    left: str = _UNCHANGED
    patience: Patience = field(default_factory=Patience)
    address: str = ""


_STEP: ContextVar[Step | None] = ContextVar("icp_ml_step", default=None)


def current_step() -> Step:
    """Return the step under way."""
    return _STEP.get() or Step()


def at(doing: str, left: str | None = None) -> None:
    """Note what is done from here on and what would be left if it failed."""
    step = _STEP.get()
    if step is not None:
        step.doing = doing
        step.left = left or step.left


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
def store(
    tracking_uri: str | None,
    doing: str = "using the tracking store",
    left: str = _UNCHANGED,
    *,
    patience: Patience | None = None,
    make: bool = True,
) -> Iterator[ModuleType]:
    """Point MLflow at a store for the time of the block; its errors become :class:`TrackingError`."""
    mlflow = import_mlflow()
    from mlflow.exceptions import MlflowException

    # None takes MLflow back to "not set", so that its default and its environment variable keep working.
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    moved = tracking_uri is not None and tracking_uri != mlflow.get_tracking_uri()
    if moved:
        mlflow.set_tracking_uri(tracking_uri)
    address = str(mlflow.get_tracking_uri())
    step = Step(doing, left, patience or Patience(), address)
    token = _STEP.set(step)
    try:
        with SETTINGS.held(step.patience.seconds), redirected(address), _quiet(address):
            make_whole(address, step.patience, make=make)
            yield mlflow
    except (MlflowException, NoAnswer) as error:
        raise _refused(step, error) from None
    finally:
        _STEP.reset(token)
        if moved:
            mlflow.set_tracking_uri(before)


def _refused(step: Step, error: BaseException) -> TrackingError:
    """Return what a failure means to whoever runs the job."""
    code = getattr(error, "error_code", "NO_ANSWER" if isinstance(error, NoAnswer) else type(error).__name__)
    cause = without_secrets(cause_of(error, step.patience.seconds), step.address)
    address = without_secrets(shown(step.address), step.address)
    return TrackingError(
        f"{step.doing} failed: expected an answer of the tracking store {address}, found {cause}. "
        f"What is left: {step.left}. What to do: {what_to_do(cause, str(code), address)}",
        code=str(code),
        step=step.doing,
        left=step.left,
    )


@contextmanager
def _quiet(address: str) -> Iterator[None]:
    """Keep failed statements, which hold the model card, and passwords out of the log; we raise instead."""
    speakers = [logging.getLogger(name) for name in _SPEAKS_SQL]
    levels = [speaker.level for speaker in speakers]
    plain = logging.getLogRecordFactory()

    def hiding(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = plain(*args, **kwargs)
        said = record.getMessage() if not record.exc_info else f"{record.getMessage()} {record.exc_info[1]}"
        hidden = without_secrets(said, address)
        if hidden != said:
            record.msg, record.args, record.exc_info = hidden, (), None
        return record

    for speaker in speakers:
        speaker.setLevel(logging.CRITICAL + 1)
    logging.setLogRecordFactory(hiding)
    try:
        yield
    finally:
        if logging.getLogRecordFactory() is hiding:
            logging.setLogRecordFactory(plain)
        for speaker, level in zip(speakers, levels, strict=True):
            speaker.setLevel(level)


def patiently(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call MLflow, again and again while another process holds the database, until the patience is spent.

    Only statements that the store refused as a whole are repeated, so nothing is written twice. A row that
    another job added first is found, not added, at the next try. Whatever a library below MLflow raises
    becomes an MlflowException: a call that is made with sound arguments fails for the store's reasons.
    """
    from mlflow.exceptions import MlflowException

    step = current_step()
    pause, races = 0.05, 0
    while True:
        answer = step.patience.call(partial(call, *args, **kwargs), step.doing)
        error = answer.error
        if error is None:
            return answer.value  # type: ignore[no-any-return]
        races += _says(error, _RACES)
        again = _says(error, _BUSY) or (_says(error, _RACES) and races < _MOST_RACES)
        if not again or not step.patience.left:
            if isinstance(error, MlflowException | IcpError) or not isinstance(error, Exception):
                raise error.with_traceback(None) from None
            raise MlflowException(f"{type(error).__name__}: {error}") from None
        step.patience.pause(pause * random.uniform(0.5, 1.5), step.doing)
        pause = min(2 * pause, 2.0)


def _says(error: BaseException, marks: tuple[str, ...]) -> bool:
    text = str(getattr(error, "message", error))
    return any(mark in text for mark in marks)


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
