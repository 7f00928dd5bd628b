"""Everything that leaves the library: written under a temporary name, flushed to disk, renamed when whole.

Until the rename the older file stays, so a full disk or a kill costs the new one only. A temporary file is
locked by the process that writes it; what a killed process left is therefore known by its free lock, and is
swept by the next one that writes the same name.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from icp_ml.errors import ConfigError, OutputError

fcntl: Any = None  # a system without such locks: nothing is swept there
with suppress(ImportError):
    fcntl = importlib.import_module("fcntl")

NEW = ".icp_ml-new"
_LONGEST = 200
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room or name another disk"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "name a folder that may be written to"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY), "name another path"),
    errno.ENAMETOOLONG: "name a shorter path",
}
#: A folder that can't be flushed on its own, as on some network disks.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Name the output in what the system says against writing it.

    Raises
    ------
    OutputError
        The system refused; ``path`` and ``errno`` are its facts.
    """
    try:
        yield
    except OSError as problem:
        said = os.strerror(problem.errno) if problem.errno else str(problem)
        advice = _ADVICE.get(problem.errno or 0, "mend that and run again")
        raise OutputError(
            f"expected to write {path}, found: {said}; what was there is as it was: {advice}",
            path=str(path),
            errno=problem.errno,
        ) from problem


@contextmanager
def replacing(path: str | Path, *, called: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; what is written there gets the name ``path`` when the block ends well.

    Parameters
    ----------
    path
        A new file or an older one, which is replaced. Its folder is made.
    called
        What an error names instead, where ``path`` is itself inside something unfinished.

    Raises
    ------
    OutputError
        The system refused to write, or ``path`` is a link, a folder or a device.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as fresh:
    ...         _ = fresh.write_text("whole")
    ...     [file.name for file in Path(folder).iterdir()]
    ['a.txt']
    """
    target = Path(path)
    with named(called or target):
        check_file(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_files(target)
        handle, fresh = _fresh_file(target)
        try:
            yield fresh
            like(target, fresh)
            os.fsync(handle)
            fresh.replace(target)
            sync_folder(target.parent)
        finally:
            fresh.unlink(missing_ok=True)
            os.close(handle)


def write_file(path: str | Path, content: str | bytes, *, called: Path | None = None) -> Path:
    """Write a whole file at once, see :func:`replacing`; return its path."""
    with replacing(path, called=called) as fresh:
        fresh.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


def make_folder(path: str | Path) -> Path:
    """Make a folder and those above it; return it.

    Raises
    ------
    OutputError
        The system refused, or something else has the name.
    """
    folder = Path(path)
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_file(path: Path) -> None:
    """Refuse to write over what is no plain file: a link may lead to somebody's work.

    Raises
    ------
    OutputError
        ``path`` is a link, a folder or a device.
    """
    if path.is_symlink():
        raise OutputError(
            f"expected a file or nothing at {path}, found a link: name the file it leads to", path=str(path)
        )
    if path.exists() and not path.is_file():
        raise OutputError(
            f"expected a file or nothing at {path}, found something else: name another path", path=str(path)
        )
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(
            f"expected a file that may be replaced at {path}, found one that is read-only: name another path",
            path=str(path),
        )


def check_apart(out: Path, *, files: Iterable[Path] = (), folders: Iterable[Path] = ()) -> None:
    """Refuse an output folder in, above or below an input; links are resolved.

    Parameters
    ----------
    out
        The folder to write; it needn't be there.
    files
        Input files: none may lie in ``out`` or below it.
    folders
        Input folders: none may be ``out``, hold it or lie in it.

    Raises
    ------
    ConfigError
        They aren't apart.
    """
    above = _identities(out)
    own = _identity(out)
    bad = [folder for folder in folders if _identity(folder) in above or own in _identities(folder)]
    homes: dict[Path, bool] = {}
    for file in files if own is not None else ():
        # a link counts where it lies and where it leads
        for home in {file.parent, file.resolve().parent}:
            if home not in homes:
                homes[home] = own in _identities(home)
            if homes[home]:
                bad.append(file)
    if bad:
        raise ConfigError(
            f"expected an output folder apart from the input, found {out} in, above or below {len(bad)} "
            f"inputs such as {bad[0]}: name another output folder",
            folder=str(out),
            inputs=[str(path) for path in bad[:5]],
        )


def check_no_input(file: Path, source: Path, inside: Iterable[str] = ()) -> None:
    """Refuse an output file that is an input file or lies among them.

    Parameters
    ----------
    file
        The file to write.
    source
        An input file, or a folder whose files are inputs.
    inside
        Names of folders in ``source`` whose files are inputs, too.

    Raises
    ------
    ConfigError
        It is or does.
    """
    homes = {_identity(source), *(_identity(source / name) for name in inside)} - {None}
    if _identity(file.parent) in homes or (file.exists() and _identity(file) == _identity(source)):
        raise ConfigError(
            f"expected an output apart from the input, found {file} among the files of {source}: "
            "name another output",
            path=str(file),
            source=str(source),
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what a file or folder is, under whatever name, links and mounts; None where there is none."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def _identities(path: Path) -> set[tuple[int, int]]:
    """Return a path and all folders above it, by its name and where links lead."""
    places = {*path.absolute().parents, path.absolute()}
    real = path.resolve()
    return {found for place in {*places, *real.parents, real} if (found := _identity(place)) is not None}


def is_held(handle: int) -> bool:
    """Take the lock of an open file or folder; True if another process has it.

    The system lets go when the process ends, however it ends. Where there are no locks, nothing is held.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as problem:
        if problem.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        if problem.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL, errno.ENOSYS):
            raise
    return False


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold what lies at a temporary name; False where a process still does, or nothing can tell."""
    handle, free = None, False
    try:
        if fcntl is not None:
            with suppress(OSError):
                handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = True
        yield free
    finally:
        if handle is not None:
            os.close(handle)


def fresh_name(target: Path) -> Path:
    """Return a temporary name beside a target that no other process draws."""
    return target.with_name(f".{_short(target.name)}.{secrets.token_hex(8)}{NEW}")


def _short(name: str) -> str:
    """Leave room for what is added to a name: a file system takes 255 bytes."""
    data = os.fsencode(name)
    return name if len(data) <= _LONGEST else hashlib.sha256(data).hexdigest()


def leftovers(target: Path) -> list[Path]:
    """Return what lies at temporary names of a target."""
    pattern = re.compile(rf"\.{re.escape(_short(target.name))}\.[0-9a-f]{{16}}{re.escape(NEW)}")
    if not target.parent.is_dir():
        return []
    with suppress(PermissionError):
        return sorted(path for path in target.parent.iterdir() if pattern.fullmatch(path.name))
    return []


def sweep_files(target: Path) -> None:
    """Remove temporary files of a target whose writers are gone."""
    for path in leftovers(target):
        if path.is_file() and not path.is_symlink():
            with claimed(path) as free:
                if free:
                    path.unlink(missing_ok=True)


def _fresh_file(target: Path) -> tuple[int, Path]:
    """Make a temporary file and hold it; a sweeper may have taken it for a leftover before that."""
    while True:
        fresh = fresh_name(target)
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if not is_held(handle) and fresh.exists():
            return handle, fresh
        os.close(handle)


def like(old: Path, new: Path) -> None:
    """Give what is new the rights and, where that is allowed, the owner of what it replaces."""
    try:
        facts = old.stat()
    except FileNotFoundError:
        return
    now = new.stat()
    if stat.S_IMODE(now.st_mode) != stat.S_IMODE(facts.st_mode):
        with suppress(PermissionError):
            new.chmod(stat.S_IMODE(facts.st_mode))
    if hasattr(os, "chown") and (now.st_uid, now.st_gid) != (facts.st_uid, facts.st_gid):
        with suppress(PermissionError):
            os.chown(new, facts.st_uid, facts.st_gid)


def sync_file(path: Path) -> None:
    """Flush a file to disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to disk, where the system can."""
    if os.name == "nt":
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(handle)
