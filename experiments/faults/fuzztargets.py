"""What is fuzzed: from bytes to a call of the library whose outcome is a result, or an error of ours."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzzchanges
import numpy as np
import pandas as pd
from fuzzchanges import Choices

import icp_ml as icp
from icp_ml.insight.predicates import Predicate
from icp_ml.insight.profile import Profile

CORPUS = Path(__file__).resolve().parent / "corpus"


class BrokenError(AssertionError):
    """A result that no sound input has."""


def rows() -> pd.DataFrame:
    """Return accounts as the bundle of the corpus wants them."""
    return pd.DataFrame(
        {
            "id": [f"a{i}" for i in range(8)],
            "size": [1.0, None, 100.0, -5.0, 1e9, 0.0, 250.0, 12.5],
            "plan": ["basic", None, "pro", "zzz", "", "basic", "pro", "free"],
            "stack": ["crm;erp", None, "", "crm", "x;y;z", "erp", None, "crm;crm"],
        }
    )


def fuzz_bundle(data: bytes) -> None:
    """Bend files of a bundle, make its hashes again, load and score it."""
    choose = Choices(data)
    parts = {path.name: path.read_text(encoding="utf-8") for path in sorted((CORPUS / "bundle").iterdir())}
    manifest = json.loads(parts.pop("manifest.json"))
    for _ in range(1 + choose.below(3)):
        name = choose.one_of(sorted(parts))
        if name.endswith(".json") and choose.below(8):
            try:
                content = json.loads(parts[name])
            except ValueError:
                continue
            parts[name] = fuzzchanges.as_json(fuzzchanges.change_json(content, choose))
        else:
            parts[name] = fuzzchanges.change_text(parts[name], choose)
    raw = {name: text.encode("utf-8", "surrogatepass") for name, text in parts.items()}
    manifest["files"] = {name: hashlib.sha256(own).hexdigest() for name, own in raw.items()}
    if not choose.below(40):
        manifest = fuzzchanges.change_json(manifest, choose)
    with tempfile.TemporaryDirectory() as folder:
        for name, own in raw.items():
            (Path(folder) / name).write_bytes(own)
        (Path(folder) / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        scores = icp.load(folder).score(rows())
    chances = scores[[column for column in scores if column.startswith("p_retained")]].to_numpy(dtype=float)
    if len(scores) != len(rows()) or not (
        np.isfinite(chances).all() and ((chances >= 0) & (chances <= 1)).all()
    ):
        raise BrokenError(f"scores {chances.tolist()[:2]}")


def fuzz_predicates(data: bytes) -> None:
    """Read conditions out of JSON and of the table of traits, judge accounts and say them in words."""
    choose = Choices(data)
    stored = json.loads((CORPUS / "predicates.json").read_text(encoding="utf-8"))
    frame = rows().assign(flag=[True, False, None, True, 0, 1, None, False])
    if choose.below(2):
        state = choose.one_of(stored)
        for _ in range(1 + choose.below(2)):
            state = fuzzchanges.change_json(state, choose)
        predicate = Predicate.from_dict(json.loads(fuzzchanges.as_json(state)))
        met = predicate.mask(frame)
        if met.shape != (len(frame),) or not (np.isnan(met) | (met == 0) | (met == 1)).all():
            raise BrokenError(f"mask {met.tolist()}")
        predicate.text()
        predicate.value_json()
        return
    state = json.loads((CORPUS / "bundle" / "profile.json").read_text(encoding="utf-8"))
    for _ in range(1 + choose.below(2)):
        state = fuzzchanges.change_json(state, choose)
    profile = Profile.from_state(json.loads(fuzzchanges.as_json(state)))
    str(profile)


def fuzz_readers(data: bytes) -> None:
    """Read bent tables from files, and score and label bent files."""
    choose = Choices(data)
    kind = choose.below(4)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(CORPUS / "tables", place / "tables")
        path = choose.one_of(sorted((place / "tables").iterdir()))
        text = path.read_text(encoding="utf-8")
        if kind in (1, 2):
            text = rows().to_csv(index=False)
            path = place / "accounts.csv"
        for _ in range(1 + choose.below(4)):
            text = fuzzchanges.change_text(text, choose, between=",")
        encoding = choose.one_of(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
        path.write_bytes(text.encode(encoding, "replace"))
        if kind == 0:
            tables, rejects = icp.read_tables(place / "tables")
            tables.accounts.to_dict("records")
            len(rejects.frame)
        elif kind == 1:
            icp.score_parquet(icp.load(CORPUS / "bundle"), path, place / "out")
        elif kind == 2:
            frame = pd.read_csv(
                path, encoding=encoding, encoding_errors="replace", on_bad_lines="skip", dtype=object
            )
            _score(_odd(frame, choose))
        else:
            _label(_odd(rows(), choose))


def _odd(frame: pd.DataFrame, choose: Choices) -> pd.DataFrame:
    """Return a frame with odd cells, columns or index."""
    frame = frame.astype(object)
    for _ in range(1 + choose.below(4)):
        kind = choose.below(6)
        if kind <= 2 and frame.size:
            value = choose.one_of((*fuzzchanges.WORDS, *fuzzchanges.VALUES))
            cells = frame.iloc[:, choose.below(frame.shape[1])].tolist()
            cells[choose.below(len(cells))] = value
            at = choose.below(frame.shape[1])
            columns = [frame.iloc[:, j].tolist() if j != at else cells for j in range(frame.shape[1])]
            frame = pd.DataFrame(dict(enumerate(columns)), dtype=object).set_axis(frame.columns, axis=1)
        elif kind == 3:
            frame = frame.iloc[:, : choose.below(frame.shape[1] + 1)]
        elif kind == 4:
            frame = pd.concat([frame, frame.iloc[:, :1]], axis=1)
        else:
            frame = frame.iloc[: choose.below(len(frame) + 1)]
    return frame


def _score(frame: pd.DataFrame) -> None:
    scores = icp.load(CORPUS / "bundle").score(frame)
    chances = scores[[column for column in scores if column.startswith("p_retained")]].to_numpy(dtype=float)
    if len(scores) != len(frame) or not np.isfinite(chances).all():
        raise BrokenError(f"scores {chances.tolist()[:2]} of {len(frame)} rows")


def _label(frame: pd.DataFrame) -> None:
    labelled = frame.assign(kept=[i % 2 for i in range(len(frame))])
    icp.Dataset.from_frame(labelled, account_id="id", labels={"retained": "kept"}, technologies=["stack"])


def fuzz_config(data: bytes) -> None:
    """Read bent settings."""
    choose = Choices(data)
    text = (CORPUS / "config.toml").read_text(encoding="utf-8")
    for _ in range(1 + choose.below(2)):
        text = fuzzchanges.change_text(text, choose, between=choose.one_of((" = ", " ", '"', ",")))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "icp.toml"
        path.write_bytes(text.encode(choose.one_of(("utf-8", "utf-8", "utf-16", "latin-1")), "replace"))
        repr(icp.load_config(path))


TARGETS: dict[str, Callable[[bytes], Any]] = {
    "bundle": fuzz_bundle,
    "predicates": fuzz_predicates,
    "readers": fuzz_readers,
    "config": fuzz_config,
}
