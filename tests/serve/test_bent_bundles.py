"""A stranger bends a field and makes the hashes again: a named error, before anything is computed from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icp_ml.errors import BundleError
from icp_ml.serve.bundle import load, save
from icp_ml.serve.icpmodel import IcpModel

Bend = Callable[[Any], Any]
NAN = float("nan")


@pytest.fixture(scope="module")
def saved(profiled: IcpModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bent") / "bundle"
    save(profiled, folder)
    return folder


@pytest.fixture(scope="module")
def hash_again(script: Callable[[str], Any]) -> Callable[[Path], None]:
    again: Callable[[Path], None] = script("faults/bending.py").hash_again
    return again


def detector(state: Any) -> Any:
    return state["reference"]["typicality"]["detector"]


def ensemble(state: Any) -> Any:
    return state["state"]["ensemble"]


def plan(state: Any) -> Any:
    return ensemble(state)["encoder"]["plans"]["industry"]


def member(state: Any, kind: str) -> Any:
    return next(own for own in ensemble(state)["members"].values() if own["kind"] == kind)


MODEL: list[tuple[str, Bend]] = [
    ("the keys", lambda s: s.pop("reference")),
    ("targets", lambda s: s.update(targets=["../../x"])),
    ("targets", lambda s: s.update(targets=[])),
    ("targets", lambda s: s.update(targets=["retained", "retained"])),
    ("targets[1]", lambda s: s.update(targets=["retained", "churned"])),
    ("version", lambda s: s.update(version=7)),
    ("schema.features", lambda s: s["schema"].update(features="abc")),
    ("schema.features[0]", lambda s: s["schema"]["features"][0].update(evil=1)),
    ("schema.features[0].kind", lambda s: s["schema"]["features"][0].update(kind="os.system")),
    ("schema.features", lambda s: s["schema"]["features"].append(s["schema"]["features"][0])),
    ("schema.features[0].direction", lambda s: s["schema"]["features"][0].update(direction=2)),
    ("schema.delimiters[0][1]", lambda s: s["schema"].update(delimiters=[["stack", ""]])),
    ("reference.quantiles", lambda s: s["reference"].update(quantiles=[])),
    ("reference.quantiles[3]", lambda s: s["reference"]["quantiles"].__setitem__(3, None)),
    ("reference.basis", lambda s: s["reference"].update(basis="tier")),
    ("reference.ratios", lambda s: s["reference"].update(basis="expected_nrr", ratios=dict.fromkeys(RATIOS))),
    ("reference.seen", lambda s: s["reference"]["seen"].update(strange=["a"])),
    (
        "factors.unique",
        lambda s: detector(s).update(flags=[], factors={"unique": [1.0], "loadings": [[0.5]]}),
    ),
    ("factors.loadings", lambda s: detector(s)["factors"]["loadings"].pop()),
    ("factors.unique[0]", lambda s: detector(s)["factors"]["unique"].__setitem__(0, 0.0)),
    ("flags[0][0]", lambda s: detector(s)["flags"][0].__setitem__(0, "strange")),
    ("flags[0][2]", lambda s: detector(s)["flags"][0].__setitem__(2, 1.0)),
    ("known", lambda s: detector(s)["known"].pop("seats")),
    ("seats.knots[1]", lambda s: detector(s)["numbers"]["seats"]["knots"].__setitem__(1, -1e9)),
    ("seats.scores", lambda s: detector(s)["numbers"]["seats"]["scores"].pop()),
    ("upper.shape", lambda s: detector(s)["numbers"]["seats"]["upper"].update(shape=0)),
    ("detector.known", lambda s: detector(s)["numbers"].update(strange=detector(s)["numbers"]["seats"])),
    ("levels.industry", lambda s: detector(s)["levels"]["industry"].update(x=-1)),
    ("ways", lambda s: s["reference"]["typicality"]["ways"].pop("new")),
    ("joint.values", lambda s: s["reference"]["typicality"]["joint"].update(values=[], upto=[])),
    ("facts.horizon_months", lambda s: s["facts"].update(horizon_months="x")),
    ("facts.last_snapshot", lambda s: s["facts"].update(last_snapshot="soon")),
]
TARGET: list[tuple[str, Bend]] = [
    ("weights", lambda s: ensemble(s).update(weights={})),
    ("weights.x", lambda s: ensemble(s).update(weights={"x": 1.0})),
    ("weights", lambda s: ensemble(s).update(weights=dict.fromkeys(ensemble(s)["weights"], 0.01))),
    ("calibration.slope", lambda s: ensemble(s)["calibration"].update(slope="a")),
    ("calibration.slope", lambda s: ensemble(s)["calibration"].update(slope=1e308)),
    ("calibration.covariance", lambda s: ensemble(s)["calibration"]["covariance"].pop()),
    ("encoder.plans", lambda s: ensemble(s)["encoder"].update(plans={})),
    ("industry.other", lambda s: plan(s).update(other=500)),
    ("industry.missing", lambda s: plan(s).update(missing=2)),
    ("industry.levels", lambda s: plan(s)["levels"].append(plan(s)["levels"][0])),
    ("industry.kind", lambda s: plan(s).update(kind="tools")),
    ("features", lambda s: ensemble(s)["encoder"]["schema"]["features"].reverse()),
    ("kind", lambda s: next(iter(ensemble(s)["members"].values())).update(kind="os.system")),
    ("texts", lambda s: s["texts"].append("../../etc/passwd")),
    ("params.n_bags", lambda s: s["state"]["params"].update(n_bags=0)),
    ("classes", lambda s: s["state"].update(classes=[1, 1])),
    ("cv_results.auc", lambda s: s["state"]["cv_results"]["auc"].pop()),
    ("base_rate", lambda s: s["state"].update(base_rate=7)),
]
MEMBERS: list[tuple[str, str, Bend]] = [
    ("steps", "columns[0]", lambda m: m["models"][0]["columns"].__setitem__(0, 300)),
    ("steps", "columns[0]", lambda m: m["models"][0]["columns"].__setitem__(0, -1)),
    ("steps", "thresholds", lambda m: m["models"][0]["thresholds"].pop()),
    ("steps", "encoded columns", lambda m: m.update(n_columns=m["n_columns"] + 1)),
    ("linear", "knots", lambda m: m["models"][0]["coefficients"].append(0.5)),
    (
        "linear",
        "flagged",
        lambda m: m["models"][0].update(flagged=[999], flag_centre=[0], flag_coefficients=[0]),
    ),
    ("linear", "knots", lambda m: m["models"][0]["knots"].__setitem__(0, [[2.0, 1.0], [0.0, 1.0]])),
    ("linear", "knots", lambda m: m["models"][0]["knots"].__setitem__(0, [[1.0, 2.0], [0.0]])),
    ("bounded", "floor", lambda m: m["models"][0].update(floor=0.0)),
    ("bounded", "floor and gap", lambda m: m["models"][0].update(floor=0.6, gap=0.6)),
    ("bounded", "models", lambda m: m.update(models=[])),
]
RATIOS = ("expanded", "flat", "retained", "cap")
PROFILE: list[tuple[str, Bend]] = [
    ("traits.role[0]", lambda s: s["traits"][0].update(role="evil")),
    ("traits.lift[0]", lambda s: s["traits"][0].update(lift="x")),
    ("traits[0]", lambda s: s["traits"][0].pop("lift")),
    ("traits[0].value", lambda s: s["traits"][0].update(value="__import__(1)")),
    (
        "traits[0].value",
        lambda s: s["traits"][0].update(operator="between", value='["a","b"]', feature="seats"),
    ),
    ("a condition of", lambda s: s["traits"][0].update(operator="between", value="[1,2]", feature="stack")),
    ("].conditions", lambda s: s["segments"].append({**SEGMENT, "conditions": "__import__(1)"})),
    ("].conditions", lambda s: s["segments"].append({**SEGMENT, "conditions": "[{}]"})),
    ("facts.detectable_effect", lambda s: s["facts"].update(detectable_effect=None)),
    ("format", lambda s: s.update(format=2)),
]
SEGMENT = {
    **{"name": "n", "conditions": "[]", "target": "retained", "n_accounts": 1, "support": 0.1, "rate": 0.5},
    **{"lift": 0.1, "lift_low": 0.0, "lift_high": 0.2, "jaccard_stability": 1.0, "decidable": 1.0},
}


def refused(
    saved: Path, folder: Path, file: str, bend: Bend, hash_again: Callable[[Path], None]
) -> BundleError:
    bent = folder / "bundle"
    shutil.copytree(saved, bent)
    state = json.loads((bent / file).read_text(encoding="utf-8"))
    bend(state)
    (bent / file).write_text(json.dumps(state), encoding="utf-8")
    hash_again(bent)
    with pytest.raises(BundleError) as caught:
        load(bent)
    return caught.value


@pytest.mark.parametrize(
    ("file", "field", "bend"),
    [
        *(("model.json", *case) for case in MODEL),
        *(("retained.json", *case) for case in TARGET),
        *(("profile.json", *case) for case in PROFILE),
    ],
)
def test_a_bent_field_is_named(
    saved: Path, tmp_path: Path, hash_again: Callable[[Path], None], file: str, field: str, bend: Bend
) -> None:
    said = str(refused(saved, tmp_path, file, bend, hash_again))
    assert said.startswith(file)
    assert field in said
    assert "expected" in said
    assert "found" in said


@pytest.mark.parametrize(("kind", "field", "bend"), MEMBERS)
def test_a_bent_member_is_named(
    kind: str, field: str, bend: Bend, members: dict[str, dict[str, Any]]
) -> None:
    from icp_ml.model.members import member_from_state

    state = json.loads(json.dumps(members[kind]))
    member_from_state(state, [], 3)
    bend(state)
    with pytest.raises(BundleError, match=r"expected .*, found") as caught:
        member_from_state(state, [], 3)
    assert field in str(caught.value)


@pytest.fixture(scope="module")
def members() -> dict[str, dict[str, Any]]:
    steps = {"columns": [0, 2], "thresholds": [1.5, None], "sizes": [0.2, 0.1], "shares": [0.5, 0.1]}
    line = {
        "knots": [[[0.0, 1.0], [-1.0, 1.0]], None, None],
        "centre": [0.0, 0.5, 0.5],
        "coefficients": [1.0, 0.5, -0.5],
        "flagged": [1],
        "flag_centre": [0.1],
        "flag_coefficients": [0.3],
        "intercept": 0.1,
    }
    return {
        "steps": {"kind": "steps", "n_columns": 3, "models": [{**steps, "intercept": 0.1}] * 2},
        "linear": {"kind": "linear", "models": [line] * 2},
        "bounded": {"kind": "bounded", "models": [{"floor": 0.1, "gap": 0.1, "linear": line}] * 2},
    }


@pytest.mark.parametrize("number", [NAN, float("inf"), 2**64])
def test_a_number_that_is_none_is_not_scored(
    saved: Path, tmp_path: Path, hash_again: Callable[[Path], None], number: float
) -> None:
    said = refused(
        saved,
        tmp_path,
        "retained.json",
        lambda s: ensemble(s)["calibration"].update(intercept=number),
        hash_again,
    )
    assert "retained.json" in str(said)


def test_files_that_the_model_does_not_name_are_refused(
    saved: Path, tmp_path: Path, hash_again: Callable[[Path], None]
) -> None:
    bent = tmp_path / "bundle"
    shutil.copytree(saved, bent)
    (bent / "more.json").write_text("{}")
    manifest = json.loads((bent / "manifest.json").read_text())
    manifest["files"]["more.json"] = ""
    (bent / "manifest.json").write_text(json.dumps(manifest))
    hash_again(bent)
    with pytest.raises(BundleError, match=r"found \['more\.json'\]"):
        load(bent)


def test_old_files_may_lack_what_was_optional(
    saved: Path, tmp_path: Path, hash_again: Callable[[Path], None], fresh: Any
) -> None:
    bent = tmp_path / "bundle"
    shutil.copytree(saved, bent)
    for file in ("model.json", "retained.json"):
        state = json.loads((bent / file).read_text(encoding="utf-8"))
        state.pop("content", None)
        schema = state["schema"] if "schema" in state else ensemble(state)["encoder"]["schema"]
        del schema["snapshot_date"]
        if file == "retained.json":
            del plan(state)["ranks"]
        (bent / file).write_text(json.dumps(state), encoding="utf-8")
    hash_again(bent)
    assert load(bent).score(fresh).equals(load(saved).score(fresh))
