"""Artifacts of a store that was moved, copied or mounted elsewhere.

MLflow notes the absolute address of every artifact in the database. After a move these name a folder that
isn't there any more, or worse, the folder of the original that the copy was made from. The artifacts of a
SQLite store of ours lie beside the database, so they are found, and written, there. The database isn't
changed: the same store may be mounted in two places at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from icp_ml.adapters.mlflow_sqlite import sqlite_file

#: Folders beside a database that hold artifacts: ours, and MLflow's own default.
_FOLDERS = ("mlartifacts", "mlruns")
_SCHEMES = ("", "file")
_LOCK = threading.Lock()
#: The database of the block under way (None within: a store that is no file), or None outside.
_SESSION: ContextVar[tuple[Path | None] | None] = ContextVar("icp_ml_session", default=None)


def where_now(noted: Path, database: Path) -> Path:
    """Return where an artifact folder is, whose address was noted before the store was moved.

    Parameters
    ----------
    noted
        The folder as the database names it.
    database
        The file of the store.

    Returns
    -------
    ``noted`` itself unless it lies beside another place of this database and the artifacts are here.
    """
    here = database.resolve().parent
    if noted.is_relative_to(here) or noted.resolve().is_relative_to(here):
        return noted
    for name in _FOLDERS:
        if name not in noted.parts:
            continue
        at = len(noted.parts) - 1 - noted.parts[::-1].index(name)
        before, rest = Path(*noted.parts[:at]), noted.parts[at:]
        moved = here.joinpath(*rest)
        if moved.exists():
            return moved
        is_copy = (before / database.name).exists()
        if (here / name).is_dir() and (is_copy or not (before / name).is_dir()):
            return moved
    return noted


@contextmanager
def redirected(address: str) -> Iterator[None]:
    """Have MLflow read and write artifacts where they are now, one file after the other, for the block.

    MLflow's pools of threads are joined when the process ends, so that a hanging download would hold a
    process that has long given it up.
    """
    _install()
    token = _SESSION.set((sqlite_file(address),))
    try:
        yield
    finally:
        _SESSION.reset(token)


def _install() -> None:
    """Put our makers around MLflow's, once; outside of a block of ours they change nothing."""
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

    known = _artifact_repository_registry.get_registered_artifact_repositories()
    with _LOCK:
        for scheme in _SCHEMES:
            if not isinstance(known.get(scheme), _Moving) and scheme in known:
                _artifact_repository_registry.register(scheme, _Moving(known[scheme]))
        pool = ArtifactRepository._create_thread_pool
        if not hasattr(pool, "by_icp_ml"):

            def create(repository: Any) -> Executor:
                return pool(repository) if _SESSION.get() is None else InLine()

            create.by_icp_ml = True  # type: ignore[attr-defined]
            ArtifactRepository._create_thread_pool = create


class _Moving:
    """Makes the repository of a local folder, at the place where the folder is now."""

    def __init__(self, plain: Callable[..., Any]) -> None:
        self.plain = plain

    def __call__(self, artifact_uri: str, *args: Any, **kwargs: Any) -> Any:
        made = self.plain(artifact_uri, *args, **kwargs)
        session = _SESSION.get()
        if session is None or session[0] is None:
            return made
        noted = Path(made.artifact_dir)
        now = where_now(noted, session[0])
        return made if now == noted else self.plain(now.as_uri(), *args, **kwargs)


class InLine(Executor):
    """An executor that has no threads: what is submitted is done at once, and raises at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the call and return its future, which is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
