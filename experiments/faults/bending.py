"""What can be done to a bundle by one who makes its hashes again: the mutations, and how each is done."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GONE = object()
NUMBERS: dict[str, Any] = {
    "negative": -1,
    "zero": 0,
    "1e9": 10**9,
    "2**64": 2**64,
    "1e308": 1e308,
    "-1e308": -1e308,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "a text": "1",
    "true": True,
    "a half": 0.5,
}
TEXTS: dict[str, Any] = {
    "empty": "",
    "long": "x" * 100_000,
    "NUL": "a\x00b",
    "a path": "../../x",
    "a surrogate": "\ud800",
    "a number": 7,
    "code": "__import__('os')",
}
FLAGS: dict[str, Any] = {"a number": 500, "a text": "true"}
OTHERS: dict[str, Any] = {"null": None, "an object": {"a": 1}, "a list of lists": [[[]]]}
FIELDS = (
    "split_feature",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_count",
)
LINES: dict[str, Any] = {
    "first -99999": lambda own: ["-99999", *own[1:]],
    "first 240": lambda own: ["240", *own[1:]],
    "first 1e9": lambda own: ["1000000000", *own[1:]],
    "first 2**64": lambda own: [str(2**64), *own[1:]],
    "first nan": lambda own: ["nan", *own[1:]],
    "first inf": lambda own: ["inf", *own[1:]],
    "first 1e308": lambda own: ["1e308", *own[1:]],
    "one less": lambda own: own[1:],
    "one more": lambda own: [*own, own[-1]],
    "reversed": lambda own: own[::-1],
    "all 0": lambda own: ["0"] * len(own),
    "words": lambda own: ["x"] * len(own),
}


@dataclass(frozen=True)
class Mutation:
    """One change: of a field of a JSON file, of a list of a model text, or of the folder."""

    file: str
    path: tuple[str | int, ...]
    kind: str

    @property
    def text(self) -> str:
        """File, field and what is done to it."""
        return f"{self.file} {'.'.join(map(str, self.path))} <- {self.kind}"


def mutations(base: Path, *, smoke: bool = False) -> list[Mutation]:
    """Return every mutation of a bundle, always in the same order.

    Of lists and of objects whose keys are names the first entry stands for all, and the last of long ones.
    """
    found: list[Mutation] = [Mutation("", (), kind) for kind in FOLDER]
    for file in sorted(path.name for path in base.glob("*.json")):
        value = json.loads((base / file).read_text(encoding="utf-8"))
        for path, item in _fields(value, (), file == "manifest.json"):
            found += [Mutation(file, path, kind) for kind in _kinds(item, bool(path))]
    seen: set[str] = set()
    for file in sorted(path.name for path in base.glob("*.txt")):
        family = re.sub(r"_\d+\.txt$", "", file)
        if family not in seen:
            seen.add(family)
            found += [Mutation(file, (field,), kind) for field in FIELDS for kind in LINES]
            found += [Mutation(file, (), kind) for kind in ("half of it", "empty", "no text")]
    return found


def _fields(
    value: Any, path: tuple[str | int, ...], every: bool = False
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield path, value
    if isinstance(value, dict):
        named = len(value) > 3 and len({type(item) for item in value.values()}) == 1 and path != ()
        keys = list(value)[:1] if named and not every and path[-1] in _BY_NAME else list(value)
        for key in keys:
            yield from _fields(value[key], (*path, key))
    elif isinstance(value, list) and value:
        for place in sorted({0, len(value) - 1} if not isinstance(value[0], dict | list) else {0}):
            yield from _fields(value[place], (*path, place))


_BY_NAME = {"numbers", "levels", "counts", "known", "seen", "rates", "ranks", "packages", "files"}


def _kinds(item: Any, inner: bool) -> list[str]:
    kinds = ["deleted"] if inner else []
    if isinstance(item, bool):
        kinds += [f"flag: {name}" for name in FLAGS]
    elif isinstance(item, int | float):
        kinds += [f"number: {name}" for name in NUMBERS]
    elif isinstance(item, str):
        kinds += [f"text: {name}" for name in TEXTS]
    elif isinstance(item, list):
        kinds += ["emptied", "one less", "one more", "reversed", "a thousand more", "as an object"]
    elif isinstance(item, dict):
        kinds += ["emptied", "a strange key", "as a list"]
    return kinds + [f"other: {name}" for name in OTHERS]


def apply(folder: Path, mutation: Mutation) -> None:
    """Bend a copy of a bundle and make its hashes again."""
    if not mutation.file:
        FOLDER[mutation.kind](folder)
        return
    place = folder / mutation.file
    if place.suffix == ".txt":
        place.write_bytes(_bent_text(place.read_text(encoding="utf-8"), mutation))
    else:
        value = json.loads(place.read_text(encoding="utf-8"))
        place.write_text(json.dumps(_bent(value, mutation)), encoding="utf-8")
    if mutation.file != "manifest.json":
        hash_again(folder)


def hash_again(folder: Path) -> None:
    """Write the checksums of a manifest anew, as a stranger can."""
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text(encoding="utf-8"))
    manifest["files"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]
    }
    place.write_text(json.dumps(manifest), encoding="utf-8")


def _bent(value: Any, mutation: Mutation) -> Any:
    value = copy.deepcopy(value)
    if not mutation.path:
        return _other(value, mutation.kind)
    owner = value
    for step in mutation.path[:-1]:
        owner = owner[step]
    last = mutation.path[-1]
    changed = _other(owner[last], mutation.kind)
    if changed is GONE:
        del owner[last]
    else:
        owner[last] = changed
    return value


def _other(item: Any, kind: str) -> Any:
    family, _, name = kind.partition(": ")
    tables = {"flag": FLAGS, "number": NUMBERS, "text": TEXTS, "other": OTHERS}
    if name:
        return tables[family][name]
    changes: dict[str, Any] = {
        "deleted": lambda: GONE,
        "emptied": lambda: type(item)(),
        "one less": lambda: item[:-1],
        "one more": lambda: [*item, item[-1] if item else 0],
        "reversed": lambda: item[::-1],
        "a thousand more": lambda: [*item, *([item[0] if item else 0] * 1000)],
        "as an object": lambda: {str(place): one for place, one in enumerate(item)},
        "as a list": lambda: list(item),
        "a strange key": lambda: {**item, "evil": 1},
    }
    return changes[kind]()


def _bent_text(text: str, mutation: Mutation) -> bytes:
    if not mutation.path:
        return {
            "half of it": text[: len(text) // 2].encode(),
            "empty": b"",
            "no text": b"\xff\xfe\x00" * 100,
        }[mutation.kind]
    head, *trees = text.split("\nTree=")

    def change(line: re.Match[str]) -> str:
        return f"{mutation.path[0]}=" + " ".join(LINES[mutation.kind](line.group(1).split(" ")))

    trees[0] = re.sub(rf"^{mutation.path[0]}=(.*)$", change, trees[0], count=1, flags=re.MULTILINE)
    return "\nTree=".join([head, *trees]).encode()


def _link(folder: Path) -> None:
    place = folder / "profile.json"
    place.rename(folder.parent / "elsewhere.json")
    place.symlink_to(folder.parent / "elsewhere.json")


def _linked_folder(folder: Path) -> None:
    (folder / "more").symlink_to(folder.parent, target_is_directory=True)


def _listed(name: str) -> Any:
    def add(folder: Path) -> None:
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes((folder / "model.json").read_bytes())
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = ""
        (folder / "manifest.json").write_text(json.dumps(manifest))
        hash_again(folder)

    return add


def _written(name: str, content: bytes, *, again: bool = True) -> Any:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)
        if again:
            hash_again(folder)

    return write


def _doubled(folder: Path) -> None:
    place = folder / "model.json"
    place.write_text(place.read_text().replace('"version"', '"version": 1, "version"', 1))
    hash_again(folder)


def _sparse(folder: Path) -> None:
    with (folder / "profile.json").open("wb") as file:
        file.truncate(3 * 2**30)


def _pipe(folder: Path) -> None:
    import os

    (folder / "profile.json").unlink()
    os.mkfifo(folder / "profile.json")


FOLDER: dict[str, Any] = {
    "nothing": lambda folder: None,
    "a file is a link": _link,
    "a link to a folder": _linked_folder,
    "a pipe": _pipe,
    "3 GiB of nothing": _sparse,
    "a second model in other letters": _listed("Model.json"),
    "a second model in a folder": _listed("more/model.json"),
    "a file of the same name": _listed("./model.json"),
    "a file that nobody names": _listed("x.json"),
    "brackets": _written("profile.json", b"[" * 100_000 + b"]" * 100_000),
    "brackets in the manifest": _written("manifest.json", b"[" * 100_000, again=False),
    "a long number": _written("profile.json", b'{"format": ' + b"9" * 5_000 + b"}"),
    "no UTF-8": _written("profile.json", b"\xff\xfe{}"),
    "half a character": _written("profile.json", b'{"a": "\\ud800"}'),
    "UTF-16": _written("profile.json", "{}".encode("utf-16")),
    "a key twice": _doubled,
    "a manifest without end": _written("manifest.json", b'{"format": 1', again=False),
}
