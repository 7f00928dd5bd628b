"""A store that is one SQLite file: made whole at first use, looked at before MLflow opens it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from icp_ml.adapters.mlflow_patience import NoAnswer, Patience
from icp_ml.errors import TrackingError

_MAGIC = b"SQLite format 3\x00"
#: A store is made under such a name beside its place.
_NEW, _MADE = ".mlflow-new-", "mlflow.db"
_BACKUP = "put a backup back, or name another file as tracking_uri"
#: One table of each store that MLflow has ever made.
_TABLES = {"experiments", "runs", "alembic_version"}


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite address; None for other stores and for memory."""
    head, mark, path = uri.partition("sqlite:///")
    path = path.partition("?")[0]
    return None if head or not mark or not path or path == ":memory:" else Path(path)


def beside_database(uri: str) -> str | None:
    """Return a folder beside a SQLite file, where MLflow would take the current folder."""
    file = sqlite_file(uri)
    return None if file is None else (file.resolve().parent / "mlartifacts").as_uri()


def make_whole(uri: str, patience: Patience, *, make: bool = True) -> None:
    """Make the tables of a new SQLite store, which appears only when complete; look at an old one.

    MLflow makes them on first use, in the file itself: a second process then dies of half the tables, and so
    does every later one if the first was killed.

    Parameters
    ----------
    uri
        Address of the store; others than SQLite are left alone.
    patience
        How long another process is waited for that makes the same store.
    make
        False: only what exists is wanted.

    Raises
    ------
    TrackingError
        The file is no store of MLflow, is damaged, or is missing and not to be made.
    """
    file = sqlite_file(uri)
    if file is None:
        return
    if _has_tables(file):
        _look_at(file)
        return
    if not make:
        raise TrackingError(
            f"expected a tracking store at {file}, found no file: check tracking_uri, or run icp-ml retrain, "
            "which makes it",
            path=str(file),
        )
    try:
        _make(file, patience)
    except OSError as error:
        raise TrackingError(
            f"expected to make a tracking store at {file}, found: {error.strerror or error}; nothing was "
            "written: name a folder in [output] or a tracking_uri that can be written to",
            path=str(file),
        ) from None


def _make(file: Path, patience: Patience) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file.parent, patience):
        if _has_tables(file):
            return
        _sweep(file.parent)
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with tempfile.TemporaryDirectory(dir=file.parent, prefix=_NEW) as folder:
            made = Path(folder) / _MADE
            fresh = SqlAlchemyStore(f"sqlite:///{made.resolve()}", "./mlruns")
            fresh.engine.dispose()
            made.replace(file)


def _sweep(folder: Path) -> None:
    """Remove what killed jobs left half made; while the folder is held, nobody works on it."""
    for left in folder.glob(f"{_NEW}????????"):
        if left.is_dir() and not left.is_symlink():
            inside = list(left.iterdir())
            if all(file.is_file() and file.name.startswith(_MADE) for file in inside):
                shutil.rmtree(left, ignore_errors=True)


def _has_tables(file: Path) -> bool:
    if file.is_dir():
        raise TrackingError(
            f"expected an SQLite file at {file}, found a folder: name a file in it, such as "
            f"sqlite:///{file / 'mlflow.db'}",
            path=str(file),
        )
    return file.is_file() and file.stat().st_size > 0


def _look_at(file: Path) -> None:
    """Refuse what MLflow would try to open ten times, or would fill with its tables."""
    try:
        with file.open("rb") as opened:
            head = opened.read(100)
    except OSError as error:
        raise TrackingError(
            f"expected to read the tracking store {file}, found: {error.strerror or error}; nothing was "
            "changed: give this user the right to read and write it",
            path=str(file),
        ) from None
    size = file.stat().st_size
    if len(head) < 100 or not head.startswith(_MAGIC):
        raise TrackingError(
            f"expected an SQLite database at {file}, found {size:,} bytes of something else; nothing was "
            f"changed: {_BACKUP}",
            path=str(file),
        )
    page = int.from_bytes(head[16:18], "big")
    page = 65_536 if page == 1 else page
    whole = page * int.from_bytes(head[28:32], "big")
    # The count of pages holds only when the last writer kept it.
    counted = head[24:28] == head[92:96]
    if counted and size < whole and not Path(f"{file}-wal").exists():
        raise TrackingError(
            f"expected {whole:,} bytes in the tracking store {file}, found {size:,}: it was cut off, and "
            f"nothing was changed; {_BACKUP}",
            path=str(file),
        )
    _look_inside(file)


def _look_inside(file: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=0)) as opened:
            tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    except sqlite3.OperationalError:
        return  # locked by somebody: to be waited for
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"expected MLflow's tables in {file}, found a damaged database ({error}); nothing was changed: "
            f"{_BACKUP}",
            path=str(file),
        ) from None
    if tables and not tables & _TABLES:
        raise TrackingError(
            f"expected MLflow's tables in {file}, found {len(tables)} tables of something else; nothing was "
            "changed: name another file as tracking_uri",
            path=str(file),
        )


@contextmanager
def _alone(folder: Path, patience: Patience) -> Iterator[None]:
    """Hold a folder; the system lets go when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    end, begin = time.monotonic() + patience.seconds, time.monotonic()
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise NoAnswer("another process is making the store") from None
                patience.tell("another process makes it", time.monotonic() - begin)
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)
