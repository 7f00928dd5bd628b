"""How long we wait for a tracking store: one patience for everything, and what is said meanwhile.

MLflow waits 120 s a request and asks eight times; a server that sends a byte a second is waited for without
end, and so is a database behind a driver of its own. So each call runs in a thread, which is given up when
the patience is spent. A thread that was given up must not go on to write: an exception is raised inside it,
which it meets as soon as it returns from the system call it hangs in.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from icp_ml.errors import ConfigError

Tell = Callable[[str], None]

#: Until the error, with all that is tidied up after it, less than a minute passes.
PATIENCE_SECONDS = 50.0
#: What a call may take without using up patience: a store that answers is not waited for.
_FREE = 1.0
#: For closing a run and giving back a lock after the patience is spent.
_LAST_WORDS = 5.0
#: After so long without a call, the store has had time to recover.
_RECOVERED = 600.0
_RETRIES = 5
_MOST = 86_400.0

_TELL: ContextVar[Tell | None] = ContextVar("icp_ml_tell", default=None)


class _GivenUp(BaseException):
    """Raised inside a thread that nobody waits for any more; no ``except Exception`` holds it."""


@contextmanager
def telling(tell: Tell) -> Iterator[None]:
    """Have a function called with a line of text from time to time while a store is waited for."""
    token = _TELL.set(tell)
    try:
        yield
    finally:
        _TELL.reset(token)


class NoAnswer(Exception):  # noqa: N818 - it says what happened; a door turns it into a TrackingError
    """The store didn't answer within the patience; the door of the store says what that means."""


@dataclass
class Answer:
    """What became of a call in its thread: a value or an error."""

    value: Any = None
    error: BaseException | None = None

    def take(self, call: Callable[[], Any]) -> None:
        """Run the call and keep what it returns or raises."""
        with self:
            self.value = call()

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[True]:
        self.error = error
        return True


@dataclass
class Patience:
    """Seconds that may be waited for one store by one job, over all of its calls.

    Each call uses up what it takes beyond its first second.

    Parameters
    ----------
    seconds
        How many; the error follows within five seconds after.
    """

    seconds: float = PATIENCE_SECONDS
    used: float = 0.0
    closing: bool = False
    _last: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """Return so much patience.

        Raises
        ------
        ConfigError
            It's not a number of seconds above 0.
        """
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not number or not 0 < seconds <= _MOST:
            raise ConfigError(
                f"expected patience_seconds above 0 and up to {_MOST:.0f}, found {seconds!r}",
                patience_seconds=seconds,
            )
        return cls(float(seconds))

    def restore(self) -> None:
        """Begin anew."""
        self.used, self.closing = 0.0, False

    def refresh(self) -> None:
        """Begin anew if the store was left alone for long."""
        if time.monotonic() - self._last > _RECOVERED:
            self.restore()

    @property
    def left(self) -> float:
        """Seconds left."""
        return max(0.0, self.seconds - self.used)

    def spend(self, seconds: float) -> None:
        """Use up."""
        self.used += seconds
        self._last = time.monotonic()

    @contextmanager
    def last_words(self) -> Iterator[None]:
        """Allow a few seconds for tidying up, once, also when nothing is left."""
        if not self.closing:
            self.closing = True
            self.used = min(self.used, max(0.0, self.seconds - min(_LAST_WORDS, self.seconds / 5)))
        yield

    def call(self, call: Callable[[], Any], doing: str) -> Answer:
        """Run a call of MLflow for as long as the patience lasts.

        Raises
        ------
        NoAnswer
            The patience is spent.
        """
        self.refresh()
        answer, begin = Answer(), time.monotonic()
        if self.left <= 0.0:
            raise self._spent(doing)
        worker = threading.Thread(
            target=copy_context().run, args=(answer.take, call), name="icp_ml-tracking", daemon=True
        )
        worker.start()
        try:
            self._wait(worker, doing, begin)
            if worker.is_alive():
                self.used = self.seconds
                raise self._spent(doing)
        finally:
            self.spend(max(0.0, time.monotonic() - begin - _FREE))
            if worker.is_alive():
                _give_up(worker)
        return answer

    def pause(self, seconds: float, doing: str) -> None:
        """Wait before the next try; it counts."""
        seconds = min(seconds, self.left)
        time.sleep(seconds)
        self.spend(seconds)
        self.tell(doing, self.used)

    def _wait(self, worker: threading.Thread, doing: str, begin: float) -> None:
        end, beat = begin + self.left, min(5.0, max(0.2, self.seconds / 10))
        worker.join(min(beat, max(0.0, end - time.monotonic())))
        while worker.is_alive() and time.monotonic() < end:
            self.tell(doing, self.used + time.monotonic() - begin)
            worker.join(min(beat, max(0.0, end - time.monotonic())))

    def tell(self, doing: str, waited: float) -> None:
        """Say on the terminal how long it has been, if anybody listens."""
        tell = _TELL.get()
        if tell is not None and waited >= min(4.0, self.seconds / 10):
            tell(f"waiting for the tracking store ({doing}), {waited:.0f} s of {self.seconds:.0f} s")

    def _spent(self, doing: str) -> NoAnswer:
        return NoAnswer(f"no answer while {doing} within {self.seconds:g} s")


def _give_up(worker: threading.Thread) -> None:
    if worker.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident), ctypes.py_object(_GivenUp))


class _Settings:
    """MLflow's own settings of requests, held down while any of our calls may be under way.

    It reads them from the environment at each request. What the user set lower stays.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: dict[str, str | None] = {}

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Bound retries and timeouts for the time of the block."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                wanted = _bounded(seconds)
                self._before = {name: os.environ.get(name) for name in wanted}
                os.environ.update(wanted)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    _restore(self._before)


def _bounded(seconds: float) -> dict[str, str]:
    """Return MLflow's settings so that its own tries end within the patience, where it has any effect."""
    longest = max(1, int(0.4 * seconds))
    wanted: dict[str, float] = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": longest,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": _RETRIES,
        # Pauses of 0, 2, 4, 8 and 16 times this: half a minute at the default patience.
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": min(2, int(seconds / 40)),
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": min(1.0, seconds / 50),
        "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": longest,
        "PGCONNECT_TIMEOUT": longest,
        "AWS_MAX_ATTEMPTS": 3,
    }
    bounded = {name: _lower(os.environ.get(name), value) for name, value in wanted.items()}
    return bounded | {
        # A server may ask for an hour; the patience decides.
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        # It prints the address of the run, with the password that the store's address may hold.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }


def _lower(given: str | None, value: float) -> str:
    try:
        return str(given) if given is not None and 0 <= float(given) < value else f"{value:g}"
    except ValueError:
        return f"{value:g}"


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


SETTINGS = _Settings()
