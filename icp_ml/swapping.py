"""Folders that are replaced as a whole, with no moment without one, and locked while a job writes to them.

On Linux two folders change names in one step (``renameat2`` with ``RENAME_EXCHANGE``). Where that isn't
offered there are two renames, and :func:`standing` finds the older folder if a kill came between them.
Nothing is removed from the older folder but what its own manifest names; other files come along.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from icp_ml.errors import OutputError
from icp_ml.writing import claimed, fresh_name, is_held, leftovers, like, named, sweep_files, sync_folder

#: Names the files of ours in a folder, relative to it, by what a manifest in it says.
Ours = Callable[[Path], Collection[str]]

OLD = ".icp_ml-old"
_HERE, _EXCHANGE = -100, 2
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
#: Folders with more files that aren't ours aren't swapped: somebody works in them.
MOST_GUESTS = 1000


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder against other jobs of ours; the system lets go when the process ends, however it ends.

    Raises
    ------
    OutputError
        Another job holds it.
    """
    handle = _held(folder)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _held(folder: Path) -> int | None:
    if os.name == "nt":
        return None
    while True:
        with named(folder):
            handle = os.open(folder, os.O_RDONLY)
            if is_held(handle):
                os.close(handle)
                raise OutputError(
                    f"expected {folder} for this job alone, found that another one writes there: wait until "
                    "it has ended, or name another folder",
                    path=str(folder),
                )
            # The folder may have been swapped for another one while we waited.
            if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
            os.close(handle)


@contextmanager
def fresh_folder(target: Path, ours: Ours) -> Iterator[Path]:
    """Make a temporary folder beside a target and hold it; what is ours in it at the end is removed."""
    while True:
        fresh = fresh_name(target)
        fresh.mkdir()
        with claimed(fresh):
            if not fresh.exists():  # a sweeper took it for a leftover before it was held
                continue
            try:
                yield fresh
            finally:
                clear(fresh, target, ours)
            return


def swap(fresh: Path, target: Path, ours: Ours) -> None:
    """Give a finished folder the name of an older one, and what was the older one the name of the new.

    Files in ``target`` that aren't ours come along.

    Raises
    ------
    OSError
        The folder can't be renamed: it's a mount, or the folder above is read-only.
    """
    if not target.exists():
        fresh.rename(target)
    else:
        _bring_along(guests(target, ours), target, fresh)
        like(target, fresh)
        sync_folder(fresh)
        if not exchange(fresh, target):
            old = _old(target)
            target.rename(old)
            try:
                fresh.rename(target)
            except OSError:
                old.rename(target)
                raise
            clear(old, target, ours)
    sync_folder(target.parent)


def exchange(left: Path, right: Path) -> bool:
    """Let two paths change names in one step; False where the system doesn't offer it."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    done = rename(_HERE, os.fsencode(left), _HERE, os.fsencode(right), _EXCHANGE)
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(right))


def standing(path: Path) -> Path:
    """Return the folder that has a name, or had it when a job was killed between two renames."""
    return _old(path) if not path.exists() and _old(path).is_dir() else path


def recover(target: Path, ours: Ours) -> None:
    """Finish or undo what killed jobs left beside a target; a folder that a living one holds stays."""
    old = _old(target)
    if old.is_dir() and not old.is_symlink():
        if target.exists():
            clear(old, target, ours)
        else:
            old.rename(target)
    for left in leftovers(target):
        if left.is_dir() and not left.is_symlink():
            with claimed(left) as free:
                if free:
                    clear(left, target, ours)


def guests(folder: Path, ours: Ours) -> Iterator[str]:
    """Name what is in a folder and isn't ours: files, links, folders with nothing in them."""
    known = set(ours(folder))
    return (name for name in _names(folder) if name not in known)


def _names(folder: Path) -> Iterator[str]:
    """Name all files, links and empty folders; a folder behind a link is somebody else's."""
    for home, names, files in os.walk(folder):
        inner = Path(home)
        links = [name for name in names if (inner / name).is_symlink()]
        yield from ((inner / name).relative_to(folder).as_posix() for name in [*files, *links])
        if not names and not files and inner != folder:
            yield inner.relative_to(folder).as_posix()


def clear(folder: Path, home: Path, ours: Ours) -> None:
    """Remove the files of ours from a folder that has served, and the folder; bring others back home.

    What can't be removed now is left to the next job.
    """
    if not folder.is_dir():
        return
    for name in MANIFESTS:
        sweep_files(folder / name)
    known = set(ours(folder))
    present = list(_names(folder))
    with suppress(OSError):
        for name in present:
            if name not in known:
                _bring_home(folder / name, home / name)
        # A manifest goes last: a kill in between leaves what it still names to the next job.
        for name in sorted(known.intersection(present), key=lambda name: (name in MANIFESTS, name)):
            (folder / name).unlink(missing_ok=True)
    for inner, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(inner).rmdir()


#: Removed last, since they say what else is ours.
MANIFESTS = ("manifest.json", "_scores.json", "_unfinished.json")


def _bring_along(names: Iterator[str], target: Path, fresh: Path) -> None:
    """Give strangers' files a second name in the new folder, and the folders above them their rights."""
    homes: dict[Path, Path] = {}
    for number, name in enumerate(names):
        if number == MOST_GUESTS:
            raise OSError(errno.ENOTEMPTY, f"more than {MOST_GUESTS} other files in the folder", str(target))
        place, new = target / name, fresh / name
        new.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            new.mkdir(exist_ok=True)
            homes[place] = new
        else:
            os.link(place, new, follow_symlinks=False)
        homes |= {target / home: fresh / home for home in list(Path(name).parents)[:-1]}
    for old, home in sorted(homes.items(), reverse=True):
        like(old, home)
        shutil.copystat(old, home)


def _bring_home(place: Path, wanted: Path) -> None:
    """Leave a stranger's file under its old name; if that is taken by another one, it stays where it is."""
    if not os.path.lexists(place) or (place.is_dir() and not place.is_symlink()):
        return
    if os.path.lexists(wanted):
        if os.path.samestat(place.lstat(), wanted.lstat()):
            place.unlink()
        return
    wanted.parent.mkdir(parents=True, exist_ok=True)
    os.link(place, wanted, follow_symlinks=False)
    place.unlink()


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}{OLD}")
