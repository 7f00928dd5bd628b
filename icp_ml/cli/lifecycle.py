"""Commands of a model's life in the registry: audit, retrain, history, rollback."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from icp_ml.cli.group import (
    BAD_INPUT,
    FAULT,
    NOT_PROMOTED,
    Day,
    Decorator,
    config_option,
    echo,
    examples,
    progress,
)
from icp_ml.cli.learning import metrics_text, read_source
from icp_ml.errors import IcpError, LeakageError, LeakageWarning, TableError, TrackingError
from icp_ml.writing import make_folder

if TYPE_CHECKING:
    from icp_ml.adapters.mlflow import MlflowTracker
    from icp_ml.config import Config
    from icp_ml.data.dataset import Dataset
    from icp_ml.data.rejects import Rejects
    from icp_ml.data.wires import Finding

QUOTED = {"account_ids", "examples", "values", "currencies", "n_bad"}
WHERE = ("table", "column", "feature", "count")
WAYS = {name: f"icp-ml {name} --config icp.toml" for name in ("audit", "retrain", "history")}
SUSPECT = 3
MEANING = {
    "refuse": "no fit until it is left out",
    "quarantine": "left out of the fit",
    "note": "to be known",
}


def ended(*codes: str) -> str:
    """Return exit codes as a part of a help text, one per line and not wrapped."""
    return "\b\n" + "\n".join(["Exit codes:", *(f"  {code}" for code in codes)]) + "\n\n"


def exit_option(name: str, code: int, when: str) -> Decorator:
    """Return an option for the exit code of an answer that is neither success nor failure."""
    return click.option(
        name,
        type=click.IntRange(0, 255),
        default=code,
        show_default=True,
        help=f"Exit code when {when}; mlflow run takes all but 0 for a failure.",
    )


on_option = click.option(
    "--on",
    type=Day(),
    envvar="ICP_ML_ON",
    help="Day that the history notes, to replay the past; also ICP_ML_ON. Default: now.",
)


@click.command(
    epilog=ended(
        "0  nothing to object to",
        "2  bad input, or a column that knows the outcome: a training would be refused",
        "3  a training would leave out columns or tools that seem to know the outcome",
    )
    + examples(WAYS["audit"], f"{WAYS['audit']} --values")
)
@config_option(required=True)
@click.option(
    "--values", is_flag=True, help="Show the cells that findings speak of; not for a log that is kept."
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of lines.")
@exit_option("--suspect-exit", SUSPECT, "something would be left out")
@click.pass_context
def audit(ctx: click.Context, config_path: Path, values: bool, as_json: bool, suspect_exit: int) -> None:
    """Look at the data as a training would, without training.

    Says which rows are refused, what the dataset holds, and which columns seem to know the outcome.
    """
    from icp_ml.config import load_config
    from icp_ml.data.tripwires import find_tripwires
    from icp_ml.serve.retrain import dataset_of

    say = progress()
    config = load_config(config_path)
    with _without_ids(ctx):
        tables, rejects = read_source(config, say)
        say("building the dataset")
        dataset = dataset_of(tables, config)
        say("looking for leaks")
        findings = find_tripwires(dataset)
    write = _audit_json if as_json else _audit_text
    echo(write(dataset, rejects, findings, values=values))
    found = {finding.severity for finding in findings}
    if "refuse" in found:
        ctx.exit(BAD_INPUT)
    if "quarantine" in found:
        ctx.exit(suspect_exit)


def _audit_text(dataset: Dataset, rejects: Rejects, findings: Sequence[Finding], *, values: bool) -> str:
    lines = [f"refused {row['n']:,} rows of {row['table']}: {row['rule']}" for row in _counts(rejects)]
    lines += dataset.summary().splitlines()
    lines += [f"  no feature: {name}{f' ({why})' if values else ''}" for name, why in dataset.schema.dropped]
    for finding in sorted(findings, key=lambda finding: list(MEANING).index(finding.severity)):
        said = f": {finding.sentence}" if values else ""
        about = f" for {finding.target}" if finding.target else ""
        lines.append(
            f"{finding.severity} ({MEANING[finding.severity]}): {_place(finding, values=values)}, wire "
            f"{finding.wire!r}, {finding.evidence:.3f}{about}{said}"
        )
    return "\n".join(lines if findings else [*lines, "no column seems to know the outcome"])


def _audit_json(dataset: Dataset, rejects: Rejects, findings: Sequence[Finding], *, values: bool) -> str:
    hidden = () if values else ("sentence", "tool")
    state = {
        "refused": _counts(rejects),
        "rows": len(dataset),
        "accounts": dataset.n_accounts,
        "base_rates": {name: float(dataset.target(name)[1].mean()) for name in dataset.targets},
        "features": dataset.schema.names,
        "no_features": [name for name, _ in dataset.schema.dropped],
        "findings": [
            {key: value for key, value in finding.to_dict().items() if key not in hidden}
            for finding in findings
        ],
    }
    return json.dumps(state, indent=1)


def _counts(rejects: Rejects) -> list[dict[str, Any]]:
    return json.loads(rejects.counts().to_json(orient="records"))  # type: ignore[no-any-return]


def _place(finding: Finding, *, values: bool) -> str:
    if finding.tool is None:
        return finding.column or "all rows"
    return f"{finding.tool if values else 'a tool'} in {finding.column}"


@click.command(
    epilog=ended(
        "0  promoted, or it was when the same data were trained on",
        "1  a fault: the registry refused, or the stored model scores differently",
        "2  bad input",
        "3  trained but not promoted; the reason is printed and kept in the registry",
    )
    + examples(WAYS["retrain"], f"{WAYS['retrain']} --superiority")
)
@config_option(required=True)
@click.option("--force", is_flag=True, help="Train also when the same data and settings were trained on.")
@click.option("--superiority", is_flag=True, help="Promote only a model that is proven better.")
@exit_option("--refused-exit", NOT_PROMOTED, "trained but not promoted")
@on_option
@click.pass_context
def retrain(
    ctx: click.Context, config_path: Path, force: bool, superiority: bool, refused_exit: int, on: date | None
) -> None:
    """Train, register, and promote unless it may be worse.

    The new model is judged against the champion on the newest accounts that neither saw. The same data and
    settings are trained on once; a repeat says what came of it.
    """
    from icp_ml.config import load_config
    from icp_ml.serve.gate import Rules
    from icp_ml.serve.retrain import retrain as run
    from icp_ml.view.keep import files_beside_model

    say = progress()
    config = load_config(config_path)
    make_folder(config.output_folder)
    with _faults(ctx), _without_ids(ctx), _columns_only():
        tables, rejects = read_source(config, say)
        say("training, measuring and registering")
        outcome = run(
            tables,
            config,
            _tracker(config, on),
            draw=files_beside_model(rejects),
            rules=Rules(superiority=superiority),
            force=force,
        )
    say("done")
    echo(metrics_text(outcome.evaluation))
    echo(f"\n{outcome.version} is {'the champion' if outcome.promoted else 'not promoted'}: {outcome.reason}")
    if not outcome.promoted:
        ctx.exit(refused_exit)


@click.command(epilog=examples(WAYS["history"], f"{WAYS['history']} --on 2025-03-31"))
@config_option(required=True)
@click.option("--on", type=Day(), help="Show only which version was champion when this day ended (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a change.")
@click.pass_context
def history(ctx: click.Context, config_path: Path, on: date | None, as_json: bool) -> None:
    """Show who was champion when, and why it changed.

    Ends with exit code 2 when there was no champion yet.
    """
    from icp_ml.config import load_config
    from icp_ml.errors import NotEnoughDataError

    config = load_config(config_path)
    with _faults(ctx):
        tracker = _tracker(config, None)
        changes = tracker.history()
        champion = None if on is None else tracker.champion_as_of(on)
    if changes.empty or (on is not None and champion is None):
        when = "" if on is None else f" on {on}"
        raise NotEnoughDataError(
            f"expected a champion of {config.model_name}{when}, found none: run icp-ml retrain"
        )
    if on is not None:
        echo(str(champion))
        return
    for row in changes.to_dict("records"):
        if as_json:
            echo(json.dumps({str(key): value for key, value in row.items()}, default=_iso))
        else:
            echo(
                f"{row['sequence']:>4}  {row['at']:%Y-%m-%d %H:%M}  {row['action']:13}  "
                f"{row['version'] or 'none'}  {row['reason']}"
            )


@click.command(
    epilog=ended(
        "0  done",
        "1  a fault: the earlier champion can't be loaded, or the registry refused; nothing was moved",
        "2  there's no earlier champion, or no reason was given",
    )
    + examples('icp-ml rollback --config icp.toml --reason "tiers of small firms are off"')
)
@config_option(required=True)
@click.option("--reason", required=True, help="Why; kept in the history and on the version.")
@on_option
@click.pass_context
def rollback(ctx: click.Context, config_path: Path, reason: str, on: date | None) -> None:
    """Make the champion before this one the champion again."""
    from icp_ml.config import load_config
    from icp_ml.errors import ConfigError

    config = load_config(config_path)
    if not reason.strip():
        raise ConfigError("expected a reason, found blanks: say why, for whoever asks in a year")
    with _faults(ctx):
        change = _tracker(config, on).roll_back(reason.strip())
    echo(f"{change.version} is the champion again; {change.replaces} was rolled back: {change.reason}")


def _tracker(config: Config, on: date | None) -> MlflowTracker:
    from icp_ml.adapters.mlflow import MlflowTracker

    tracker = MlflowTracker(
        config.experiment,
        config.model_name,
        config.tracking_uri,
        patience_seconds=config.patience_seconds,
    )
    if on is not None:
        noted = datetime.combine(on, time(), tzinfo=UTC)
        tracker.clock = lambda: noted
    return tracker


@contextmanager
def _faults(ctx: click.Context) -> Iterator[None]:
    """Turn what the registry refuses into exit code 1: the input isn't to blame."""
    try:
        yield
    except TrackingError as error:
        echo(f"error: {error}", err=True)
        ctx.exit(FAULT)


@contextmanager
def _without_ids(ctx: click.Context) -> Iterator[None]:
    """Leave accounts out of errors: the log of a nightly job is read, kept and sent around by anybody."""
    try:
        yield
    except TrackingError:
        raise
    except IcpError as error:
        echo(f"error: {_without_values(error)}", err=True)
        ctx.exit(BAD_INPUT)


@contextmanager
def _columns_only() -> Iterator[None]:
    """Leave levels and tools out of warnings on leaks; names of columns are no customer's values."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_columns(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, LeakageWarning):
                message = f"{str(message).partition(':')[0]}: icp-ml audit with the same settings names them"
            show(message, category, *rest, **more)

        warnings.showwarning = cast("Any", show_columns)
        yield


def _without_values(error: IcpError) -> str:
    """Return an error's message, or where it quotes cells of a table, only where to look."""
    if isinstance(error, LeakageError):
        names = error.facts.get("columns", [])
        return f"these columns know the outcome: {names}; icp-ml audit with the same settings says why"
    quotes = isinstance(error, TableError) and "such as " in str(error)
    if not quotes and not set(error.facts) & QUOTED:
        return str(error)
    where = ", ".join(f"{name} {error.facts[name]}" for name in WHERE if name in error.facts)
    return f"{type(error).__name__} ({where}): icp-ml train with the same settings shows the values"


def _iso(value: Any) -> str:
    return str(value.isoformat())
