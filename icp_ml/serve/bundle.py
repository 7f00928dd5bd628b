"""A model as a folder: JSON and LightGBM text, readable by eye, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icp_ml.data.schema import Schema
from icp_ml.errors import BundleError
from icp_ml.insight.profile import Profile
from icp_ml.model.bundlefiles import read_bundle
from icp_ml.model.store import write_bundle
from icp_ml.model.stored import StoredPropensities
from icp_ml.serve.icpmodel import IcpModel, plain
from icp_ml.serve.reference import Reference

CONTENT = "icp_model"


def save(model: IcpModel, path: str | Path) -> None:
    """Write a model to a folder.

    The folder appears only when it's complete. It holds ``manifest.json`` (format number, a checksum per
    file), the schema, reference, facts and profile as JSON, and the trees as LightGBM text.

    Parameters
    ----------
    model
        A trained model.
    path
        Folder to write; an older bundle there is replaced.

    Raises
    ------
    BundleError
        ``path`` holds something else than a bundle.
    """
    write_bundle(Path(path), _parts(model))


def load(path: str | Path) -> IcpModel:
    """Read a model from the folder that :func:`save` wrote; its scores are the same bit for bit.

    Parameters
    ----------
    path
        Folder of the bundle.

    Raises
    ------
    BundleError
        The folder isn't a bundle, has another format, lacks a file, or a file was changed.
    """
    parts = read_bundle(Path(path))
    if "model.json" not in parts:
        raise BundleError(
            f"expected a model in {path}, found a bundle without model.json: give the folder that save wrote",
            path=str(path),
        )
    state = parts["model.json"]
    profile = parts.get("profile.json")
    return IcpModel(
        schema=Schema.from_dict(state["schema"]),
        propensities=StoredPropensities({name: _stored(parts, name) for name in state["targets"]}),
        profile=None if profile is None else Profile.from_state(profile),
        reference=Reference.from_state(state["reference"]),
        facts=state["facts"],
        version=state["version"],
    )


def _parts(model: IcpModel) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "model.json": {
            "content": CONTENT,
            "schema": model.schema.to_dict(),
            "targets": list(model.propensities),
            "reference": model.reference.to_state(),
            "facts": plain(model.facts),
            "version": model.version,
        }
    }
    for name, classifier in model.propensities.items():
        state, texts = classifier.to_state()
        parts[f"{name}.json"] = {"state": state, "texts": sorted(texts)}
        for key, text in texts.items():
            parts[_text_name(name, key)] = text
    if model.profile is not None:
        parts["profile.json"] = model.profile.to_state()
    return parts


def _stored(parts: Mapping[str, Any], name: str) -> tuple[dict[str, Any], dict[str, str]]:
    entry = parts[f"{name}.json"]
    return entry["state"], {key: parts[_text_name(name, key)] for key in entry["texts"]}


def _text_name(target: str, key: str) -> str:
    return f"{target}.{key.removesuffix('.txt')}.txt"
