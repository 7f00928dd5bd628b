"""The files of a bundle as strangers may have left them: named, bounded and checked before they are read."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

from icp_ml.errors import BundleError
from icp_ml.foreign import Given, shown
from icp_ml.strictjson import MOST_BYTES, read_json
from icp_ml.swapping import standing

FORMAT = 1
MANIFEST = "manifest.json"
MOST_FILES = 10_000
MOST_TEXT_BYTES = 128 * 2**20
MOST_ALL_BYTES = 512 * 2**20
_MANIFEST_BYTES = 4 * 2**20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}){0,3}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOP = ("model.json", MANIFEST)


def read_bundle(path: str | Path) -> dict[str, Any]:
    """Read every part of a bundle after checking it against its manifest.

    Names, links, kinds and sizes of all files are checked before any of them is read, so that nothing outside
    the folder is opened and nothing larger than a model is taken into memory.

    Parameters
    ----------
    path
        The folder that :func:`icp_ml.model.store.write_bundle` wrote.

    Raises
    ------
    BundleError
        If the folder is no bundle, has another format number, lacks a file, holds a link, is larger than a
        model can be, or a file was changed.
    """
    source = standing(Path(path))
    refuse_links(source)
    files = listed(source)
    sizes = {name: _size(source, name, len(files)) for name in files}
    check_sizes(sizes)
    parts: dict[str, Any] = {}
    for name, digest in files.items():
        data = _bytes(source, name, sizes[name])
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise BundleError(
                f"expected {name} with sha256 {digest[:12]}, found {found[:12]} in {source}: "
                "the file was changed after saving; save the model again",
                path=str(source),
                damaged=name,
            )
        parts[name] = read_json(data, name) if name.endswith(".json") else _text(data, name)
    return parts


def checked_name(name: str) -> str:
    """Return the name of a part if it's one of a file inside the folder, in one spelling."""
    if not _NAME.fullmatch(name) or name.rsplit("/", 1)[-1].endswith(".") or name.casefold() == MANIFEST:
        _wrong_name(name, "use letters, digits, '.', '_', '-', '/'")
    return name


def check_names(names: list[str]) -> None:
    """Refuse names that are wrong, or that stand for one file on some disks, or for a second model."""
    if len(names) > MOST_FILES:
        raise BundleError(
            f"expected at most {MOST_FILES:,} files, found {len(names):,}: use fewer bags", found=len(names)
        )
    known: dict[str, str] = {}
    for name in map(checked_name, names):
        other = known.setdefault(name.casefold(), name)
        if other != name:
            _wrong_name(name, f"{other!r} is the same file on some disks; use one of them")
        last = name.rsplit("/", 1)[-1].casefold()
        if last in _TOP and name not in _TOP:
            _wrong_name(name, f"a bundle has one {last}, at its top; leave the other one out")


def check_sizes(sizes: dict[str, int]) -> None:
    """Refuse files that are larger than those of any model."""
    for name, size in sizes.items():
        most = MOST_BYTES if name.endswith(".json") else MOST_TEXT_BYTES
        if size > most:
            _too_large(name, size, most)
    if (whole := sum(sizes.values())) > MOST_ALL_BYTES:
        _too_large("the whole bundle", whole, MOST_ALL_BYTES)


def refuse_links(source: Path) -> None:
    """Refuse a folder that holds a link, in whatever depth, or more entries than a model has files."""
    left, seen = [source], 0
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > 2 * MOST_FILES:
                        raise BundleError(
                            f"expected at most {2 * MOST_FILES:,} entries in {source}, found more: "
                            "give the folder that save wrote",
                            path=str(source),
                        )
                    if entry.is_symlink():
                        _link(source, entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        left.append(Path(entry.path))
        except (OSError, ValueError):
            continue  # what can't be opened is told by what needs it


def listed(source: Path) -> dict[str, str]:
    """Return the names in the manifest and their checksums."""
    place = source / MANIFEST
    if not place.is_file():
        raise BundleError(
            f"expected a bundle folder with {MANIFEST}, found none in {source}: "
            "give the folder that save wrote",
            path=str(source),
        )
    size = _size(source, MANIFEST, 1)
    if size > _MANIFEST_BYTES:
        _too_large(MANIFEST, size, _MANIFEST_BYTES)
    given = Given(read_json(_bytes(source, MANIFEST, size), MANIFEST), file=MANIFEST)
    number = given.value.get("format") if isinstance(given.value, dict) else None
    if number != FORMAT or isinstance(number, bool):
        raise BundleError(
            f"expected bundle format {FORMAT}, found {shown(number)} in {source}: "
            "use the version of this package that wrote it, or save the model again",
            path=str(source),
            format=number,
        )
    files = given.record("format", "files")["files"].entries()
    check_names(list(files))
    for digest in files.values():
        if not isinstance(digest.value, str) or not _DIGEST.fullmatch(digest.value):
            digest.refuse("a checksum of 64 hexadecimal digits")
    return {name: digest.value for name, digest in files.items()}


def _size(source: Path, name: str, n_files: int) -> int:
    place = source
    try:
        for part in name.split("/"):
            place = place / part
            found = place.lstat()
            if stat.S_ISLNK(found.st_mode):
                _link(source, str(place))
    except OSError:
        found = None
    if found is None or not stat.S_ISREG(found.st_mode):
        raise BundleError(
            f"expected {n_files} files in {source}, {name} is missing: copy the whole folder",
            path=str(source),
            missing=name,
        )
    return found.st_size


def _bytes(source: Path, name: str, size: int) -> bytes:
    # a link or pipe put there since the check would be followed or waited for
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(source / name, flags), "rb") as file:  # noqa: PTH123
            data = file.read(size + 1)
    except OSError as problem:
        raise BundleError(
            f"expected to read {name} in {source}, found {problem.strerror}: copy the whole folder",
            path=str(source),
            missing=name,
        ) from problem
    return data


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise BundleError(
            f"{name}: expected text in UTF-8, found {problem.reason} at byte {problem.start}: "
            "get the file from where it was made, or save the model again",
            file=name,
        ) from problem


def _wrong_name(name: str, advice: str) -> NoReturn:
    raise BundleError(
        f"expected the name of a file inside the bundle, found {name[:200]!r}: {advice}", name=name
    )


def _link(source: Path, place: str) -> NoReturn:
    raise BundleError(
        f"expected files in {source}, found a link at {place!r}: links may lead out of the folder; "
        "copy the file itself",
        path=str(source),
        link=place,
    )


def _too_large(name: str, size: int, most: int) -> NoReturn:
    raise BundleError(
        f"{name}: expected at most {most:,} bytes, found {size:,}: no model is that large; "
        "give the folder that save wrote",
        file=name,
        found=size,
    )
