"""A model as a folder: JSON and LightGBM text, readable by eye, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icp_ml.data.schema import Schema
from icp_ml.errors import BundleError
from icp_ml.foreign import Given, shown
from icp_ml.insight.profile import Profile
from icp_ml.model.bundlefiles import read_bundle
from icp_ml.model.store import write_bundle
from icp_ml.model.stored import StoredPropensities
from icp_ml.serve.icpmodel import IcpModel, plain
from icp_ml.serve.reference import Reference
from icp_ml.serve.storedfacts import read_facts

CONTENT = "icp_model"
MODEL_TARGETS = ("retained", "expanded")
MOST_VERSION = 500


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
    given = Given(parts["model.json"], file="model.json").record(
        "schema", "targets", "reference", "facts", "version", optional=("content",)
    )
    if (content := given.get("content")) is not None:
        content.choice([CONTENT])
    schema = Schema.from_dict(given["schema"])
    stored = {target.choice(MODEL_TARGETS): target for target in given["targets"].each(least=1, most=2)}
    given["targets"].once(given["targets"].value)
    own = {name: _stored(parts, name, target) for name, target in stored.items()}
    _refuse_strangers(parts, own)
    propensities = StoredPropensities(own)
    for name, ensemble in propensities.ensembles.items():
        _check_schema(schema, ensemble.encoder.schema, name)
    reference = Reference.from_state(given["reference"])
    reference.check_fields(given["reference"], schema, list(own))
    profile = Given(parts["profile.json"], file="profile.json") if "profile.json" in parts else None
    return IcpModel(
        schema=schema,
        propensities=propensities,
        profile=None if profile is None else Profile.from_state(profile, schema),
        reference=reference,
        facts=read_facts(given["facts"]),
        version=given["version"].text(most=MOST_VERSION),
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


def _stored(parts: Mapping[str, Any], name: str, target: Given) -> tuple[Given, dict[str, str]]:
    """Return the state of a target's classifier and its model texts."""
    file = f"{name}.json"
    if file not in parts:
        target.refuse(f"a target with a file {file}", "none")
    given = Given(parts[file], file=file).record("state", "texts")
    keys = given["texts"].texts(distinct=True)
    for key in keys:
        if _text_name(name, key) not in parts:
            given["texts"].refuse("names of model texts in the bundle", shown(key))
    return given["state"], {key: parts[_text_name(name, key)] for key in keys}


def _refuse_strangers(parts: Mapping[str, Any], own: Mapping[str, tuple[Given, Mapping[str, str]]]) -> None:
    """Refuse files that no part of the model names."""
    known = {"model.json", "profile.json", *(f"{name}.json" for name in own)}
    known |= {_text_name(name, key) for name, (_, texts) in own.items() for key in texts}
    if unknown := sorted(set(parts) - known):
        raise BundleError(
            f"expected no other files than those of the model, found {unknown[:5]}: "
            "get the bundle from where it was made, or save the model again",
            unknown=unknown,
        )


def _check_schema(schema: Schema, own: Schema, target: str) -> None:
    """Refuse an encoder whose features aren't the model's: columns belong to features by position."""
    found = [(feature.name, feature.kind) for feature in own.features]
    if found != [(feature.name, feature.kind) for feature in schema.features]:
        Given(found, "state.ensemble.encoder.schema.features", f"{target}.json").refuse(
            "the features of model.json, in their order", "others"
        )


def _text_name(target: str, key: str) -> str:
    return f"{target}.{key.removesuffix('.txt')}.txt"
