"""One self-contained HTML page: who is ideal, who isn't, how sure that is, and what it rests on.

The page asks for nothing from outside: style and pictures are inside, there is no script, and every text
from the data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icp_ml.errors import NotEnoughDataError, OutputError
from icp_ml.view import wording
from icp_ml.view.facts import data_facts, model_facts, reading_guide
from icp_ml.view.quality import gap_lines, quality_figures, quality_rows
from icp_ml.view.traits import by_outcome, segment_rows, trait_rows, trait_scale
from icp_ml.visible import visible
from icp_ml.writing import check_file, named, write_file

if TYPE_CHECKING:
    from icp_ml.data.rejects import Rejects
    from icp_ml.insight.controls import Controls
    from icp_ml.insight.profile import Profile
    from icp_ml.model.evaluation import Evaluation
    from icp_ml.serve.icpmodel import IcpModel

GROUPS = (
    ("must_have", "Who stays and grows", "Strong, and holding among otherwise similar accounts."),
    ("nice_to_have", "What also goes with it", "Real differences, smaller or shared with other features."),
    ("hard_no", "Who doesn’t", "Traits to disqualify on: such accounts fared clearly worse."),
    ("caution", "Where to look twice", "Such accounts fared worse, by less or together with other features."),
    ("unknown", "What stands in for another trait", "Useful to find accounts, wrong as an explanation."),
)


def render_report(
    model: IcpModel,
    *,
    evaluation: Evaluation | None = None,
    rejects: Rejects | None = None,
    facts: Mapping[str, Any] | None = None,
    controls: Controls | None = None,
    title: str = "Ideal customer profile",
) -> str:
    """Render a model's profile, quality and data facts as one HTML page.

    Parameters
    ----------
    model
        A trained model with a profile.
    evaluation
        Its evaluation on accounts it never saw; without it the page says that nothing was measured.
    rejects
        What :func:`icp_ml.read_tables` refused.
    facts
        ``Dataset.facts`` to show instead of those that the model carries.
    controls
        What the profile found where nothing is there, from :func:`icp_ml.negative_controls`.
    title
        Title of the page.

    Returns
    -------
    HTML; the same inputs give the same bytes.

    Raises
    ------
    NotEnoughDataError
        The model was trained without a profile.
    """
    profile = model.profile
    if profile is None:
        raise NotEnoughDataError(
            "expected a model with a profile, found one trained with profile=False: train it with a profile",
            version=model.version,
        )
    known_facts = dict(model.facts.get("dataset") or {}) if facts is None else dict(facts)
    context = {
        "title": title,
        "eyebrow": f"{title} · {model.version or 'unregistered model'}",
        **_top(model, profile, evaluation),
        **_profile_parts(profile),
        "quality": quality_rows(evaluation),
        "gaps": gap_lines(evaluation),
        "figures": quality_figures(evaluation),
        "data_facts": data_facts(model, known_facts),
        "model_facts": model_facts(model, profile),
        "words": reading_guide(profile.facts),
        "controls": [] if controls is None else controls.sentences(),
        **_reject_parts(rejects),
    }
    return str(_template().render(context))


def write_report(
    path: str | Path,
    model: IcpModel,
    *,
    evaluation: Evaluation | None = None,
    rejects: Rejects | None = None,
    facts: Mapping[str, Any] | None = None,
    controls: Controls | None = None,
    title: str = "Ideal customer profile",
) -> Path:
    """Write :func:`render_report` to a file, making its folder; an older report stays until it's whole.

    Returns
    -------
    The path written.

    Raises
    ------
    OutputError
        The system refuses to write, or ``path`` is something else than a report.
    """
    file = Path(path)
    check_file(file)
    _check_page(file)
    page = render_report(
        model, evaluation=evaluation, rejects=rejects, facts=facts, controls=controls, title=title
    )
    return write_file(file, page)


def _check_page(file: Path) -> None:
    """Refuse to write over what is no page: a name mistyped costs nobody their table or settings."""
    if file.exists():
        with named(file), file.open("rb") as stream:
            start = stream.read(1024)
        if start.strip() and b"<html" not in start.lower():
            raise OutputError(
                f"expected a new file or an older report at {file}, found something else: name another file",
                path=str(file),
            )


def _shown(value: object) -> object:
    """Write out control characters of every text on the page; markup is ours."""
    return visible(value) if type(value) is str else value


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("icp_ml.view", "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _top(model: IcpModel, profile: Profile, evaluation: Evaluation | None) -> dict[str, Any]:
    """Headline, tiles and the line that says what could have been found at all."""
    roles = profile.traits.loc[profile.traits["kind"].isin(["icp", "anti_icp"]), "role"]
    counts = {str(role): int(n) for role, n in roles.value_counts().items()}
    accounts = model.facts.get("accounts")
    tiles = [{"value": wording.count(accounts), "label": "accounts learnt from"}]
    for target, rate in dict(profile.facts.get("base_rates") or {}).items():
        verb = wording.TARGET_VERBS.get(target, target)
        tiles.append({"value": wording.share(rate), "label": f"of accounts {verb}, the base rate"})
    if evaluation is not None:
        tiles += _auc_tiles(evaluation)
    return {
        "headline": wording.headline(counts, accounts),
        "subline": _subline(model),
        "tiles": tiles,
        "limits": _limits(profile.facts),
    }


def _auc_tiles(evaluation: Evaluation) -> list[dict[str, str]]:
    rows = evaluation.metrics
    tiles = []
    for row in rows[rows["name"] == "auc"].to_dict("records"):
        value = wording.number(row["estimate"], 2)
        reach = f"{wording.number(row['low'], 2)} to {wording.number(row['high'], 2)}"
        name = wording.target_name(row["target"])
        tiles.append({"value": value, "label": f"AUC of {name} on unseen snapshots ({reach})"})
    return tiles


def _subline(model: IcpModel) -> str:
    first, last = model.facts.get("first_snapshot"), model.facts.get("last_snapshot")
    horizon = model.facts.get("horizon_months")
    if first is None:
        return "Learnt from labelled accounts without dates."
    return f"Learnt from snapshots {first} to {last}; each outcome read within the {horizon} months after."


def _limits(facts: Mapping[str, Any]) -> list[str]:
    """Return the profile's own sentences on what these data could have shown."""
    texts = facts.get("detectable_effect") or {}
    lines = [str(text) for text in (texts.values() if isinstance(texts, Mapping) else [texts])]
    return [line[:1].upper() + line[1:] for line in lines]


def _profile_parts(profile: Profile) -> dict[str, Any]:
    traits = profile.traits
    accepted = traits[traits["kind"].isin(["icp", "anti_icp"])]
    scale = trait_scale(accepted)
    rows = trait_rows(accepted, scale)
    groups = [
        {"role": role, "name": wording.ROLE_NAMES[role], "title": title, "note": note}
        | {"outcomes": by_outcome([row for row in rows if row["role"] == role])}
        for role, title, note in GROUPS
        if role != "unknown" or any(row["role"] == role for row in rows)
    ]
    untold = traits[~traits["kind"].isin(["icp", "anti_icp"])]
    return {
        "groups": groups,
        "axis": scale.axis,
        "untold": trait_rows(untold, scale),
        "segments": segment_rows(profile.segments, profile.facts.get("runners_up", [])),
    }


def _reject_parts(rejects: Rejects | None) -> dict[str, Any]:
    if rejects is None:
        return {"rejects": [], "n_rejects": "0"}
    counts = rejects.counts().to_dict("records")
    rows = [{"table": row["table"], "rule": row["rule"], "n": wording.count(row["n"])} for row in counts]
    return {"rejects": rows, "n_rejects": wording.count(len(rejects))}
