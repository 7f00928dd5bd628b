"""A command that is told to end: it ends in order, and what it made for a while is gone."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from icp_ml.cli.group import Commands


@pytest.fixture
def patient() -> Commands:
    """A command that makes a temporary folder and is told to end."""
    group = Commands()

    @group.command()
    @click.argument("folder", type=click.Path(path_type=Path))
    def work(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder):
            os.kill(os.getpid(), signal.SIGTERM)
            click.echo("went on")

    return group


def test_sigterm_unwinds_a_command(patient: Commands, tmp_path: Path) -> None:
    done = CliRunner().invoke(patient, ["work", str(tmp_path)])
    assert (done.exit_code, done.output) == (128 + signal.SIGTERM, "")
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_embedding_program_stays(patient: Commands, tmp_path: Path) -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        done = CliRunner().invoke(patient, ["work", str(tmp_path)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (told, done.exit_code, done.output) == ([signal.SIGTERM], 0, "went on\n")
