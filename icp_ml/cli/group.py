"""What all commands share: exit codes, plain warnings, progress lines and options."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from icp_ml.adapters.mlflow_patience import PATIENCE_SECONDS, telling
from icp_ml.errors import ConfigError, IcpError, IcpWarning, TrackingError
from icp_ml.visible import visible

if TYPE_CHECKING:
    from icp_ml.config import Config
    from icp_ml.serve.icpmodel import IcpModel

Say = Callable[[str], None]
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FAULT = 1
BAD_INPUT = 2
NOT_PROMOTED = 3
QUIET_MLFLOW = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_SCHEMA_DETAILS": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def echo(text: str, *, err: bool = False) -> None:
    """Write text to the terminal, which obeys none of it: control characters are written out."""
    click.echo(visible(text), err=err)


class Commands(click.Group):
    """A group whose commands end with a sentence and exit code 2 where the input is bad."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an :class:`icp_ml.IcpError` becomes its message and exit code 2.

        What the tracking store is to blame for is a fault, exit code 1: the input is sound.
        """
        with _environment(QUIET_MLFLOW), _plain_warnings(), telling(progress()), _ended_in_order():
            try:
                return super().invoke(ctx)
            except TrackingError as error:
                echo(f"error: {error}", err=True)
                ctx.exit(FAULT)
            except IcpError as error:
                echo(f"error: {error}", err=True)
                ctx.exit(BAD_INPUT)
            except click.ClickException as error:
                # What was typed stands in click's own message, which its stubs call final.
                vars(error)["message"] = visible(error.message)
                raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they were added."""
        return list(self.commands)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM unwind the command as Ctrl-C does, so that its temporary files and locks go with it."""
    free = threading.current_thread() is threading.main_thread()
    if not free or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield  # whoever embeds the command has a way of their own
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables that the user left open, for the time of the command."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show the package's own warnings as one line on stderr; leave those of others as they are."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_plainly(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, IcpWarning):
                echo(f"warning: {message}", err=True)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.simplefilter("always", IcpWarning)
        warnings.showwarning = show_plainly
        yield


def progress() -> Say:
    """Return a function that writes a line to stderr with the seconds since now."""
    start = time.perf_counter()

    def say(text: str) -> None:
        echo(f"{time.perf_counter() - start:6.1f} s  {text}", err=True)

    return say


class Day(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A day such as 2025-09-30."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Read a day, or fail with the form that's expected."""
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no day such as 2025-09-30", param, ctx)


def examples(*lines: str) -> str:
    """Return example calls as the end of a help text, one per line and not wrapped."""
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])


def config_option(*, required: bool) -> Decorator:
    """Return the option ``--config``."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(dir_okay=False, path_type=Path),
        required=required,
        help="Settings of the run, see docs/icp.toml.",
    )


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--model``, ``--tracking-uri`` and an optional ``--config`` to a command."""
    for option in (
        config_option(required=False),
        click.option(
            "--tracking-uri",
            help="MLflow store of a models:/ address. Default: that of --config, else MLflow's.",
        ),
        click.option(
            "--model", help="Folder of a bundle, or models:/NAME@champion. Default: the champion of --config."
        ),
    ):
        command = option(command)
    return command


def read_config(path: Path | None) -> Config | None:
    """Read the settings, if a file was named."""
    if path is None:
        return None
    from icp_ml.config import load_config

    return load_config(path)


def read_model(address: str | None, tracking_uri: str | None, config: Config | None) -> IcpModel:
    """Load the model that was named, else the champion of the settings.

    Raises
    ------
    ConfigError
        Neither a model nor settings were given.
    """
    if address is None and config is None:
        raise ConfigError(
            "expected --model or --config, found neither: name a bundle, models:/icp@champion or icp.toml"
        )
    from icp_ml.adapters.mlflow import load

    patience = PATIENCE_SECONDS
    if config is not None:
        address = address or f"models:/{config.model_name}@champion"
        tracking_uri = tracking_uri or config.tracking_uri
        patience = config.patience_seconds
    return load(str(address), tracking_uri=tracking_uri, patience_seconds=patience)
