"""The command line: help, exit codes, plain errors, light start; and the whole demo, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from datetime import date
from types import SimpleNamespace

import click
import pandas as pd
import pytest
from click.testing import CliRunner

import icp_ml.adapters.mlflow
import icp_ml.serve.retrain
from icp_ml.cli import main
from icp_ml.cli.demo import lay_out
from icp_ml.cli.group import QUIET_MLFLOW, Day
from icp_ml.cli.using import tiers_text, write_scores
from icp_ml.config import load_config
from icp_ml.errors import ConfigError, DataWarning, InputMismatchError
from icp_ml.model.evaluation import Evaluation

VERBS = (
    "demo",
    "audit",
    "retrain",
    "history",
    "rollback",
    "train",
    "evaluate",
    "profile",
    "score",
    "report",
    "monitor",
)


def run(*arguments: str):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def settings(folder, text: str = ""):
    file = folder / "icp.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb):
    result = run(verb, "--help")

    assert result.exit_code == 0
    assert f"icp-ml {verb} " in result.output.split("Examples:")[1]


def test_help_lists_every_verb_and_the_exit_codes():
    result = run("--help")

    assert result.exit_code == 0
    assert list(main.commands) == list(VERBS)
    assert all(f"\n  {verb} " in result.output for verb in VERBS)
    assert "3 trained but not promoted" in result.output


def test_help_is_light():
    code = (
        "import sys; from icp_ml.cli import main; main(['--help'], standalone_mode=False); "
        "heavy = {'pandas', 'numpy', 'mlflow', 'sklearn', 'matplotlib', 'jinja2'} & set(sys.modules); "
        "sys.exit(f'heavy: {sorted(heavy)}' if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_version_is_said():
    result = run("--version")

    assert result.output.strip() == f"icp-ml, version {icp_ml.__version__}"


def test_a_misspelt_setting_ends_with_2_and_the_nearest_name(tmp_path):
    result = run("retrain", "--config", settings(tmp_path, "[data]\nhorizon_month = 12"))

    assert result.exit_code == 2
    assert "did you mean 'horizon_months'" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("verb", ["audit", "train", "retrain", "evaluate", "profile", "report", "score"])
def test_a_missing_settings_file_ends_with_2(verb, tmp_path):
    result = run(verb, "--config", tmp_path / "none.toml")

    assert result.exit_code == 2
    assert "none.toml" in result.stderr


def test_missing_tables_end_with_2_and_the_folder(tmp_path):
    result = run("train", "--config", settings(tmp_path, '[data]\nsource = "crm"'))

    assert result.exit_code == 2
    assert "crm" in result.stderr
    assert result.stderr.count("error:") == 1


@pytest.mark.parametrize("verb", ["profile", "report"])
def test_neither_model_nor_settings_ends_with_2(verb):
    result = run(verb)

    assert result.exit_code == 2
    assert "--model" in result.stderr


def test_evaluate_needs_tables():
    result = run("evaluate", "--model", "bundle")

    assert result.exit_code == 2
    assert "--config" in result.stderr


@pytest.mark.parametrize("arguments", [("--data", "crm"), ("--as-of", "2025-09-30")])
def test_features_carry_their_day(arguments):
    result = run("score", "--model", "bundle", "--features", "base/*.parquet", *arguments)

    assert result.exit_code == 2
    assert "found both" in result.stderr


def test_score_needs_something_to_score():
    result = run("score", "--model", "bundle")

    assert result.exit_code == 2
    assert "--data, --features or --config" in result.stderr


def test_a_folder_that_is_no_bundle_ends_with_2(tmp_path):
    result = run("profile", "--model", tmp_path)

    assert result.exit_code == 2
    assert "error: " in result.stderr


def test_a_day_is_read_or_refused():
    assert Day().convert("2025-09-30", None, None) == date(2025, 9, 30)
    result = run("score", "--model", "b", "--data", "crm", "--as-of", "30.9.2025")

    assert result.exit_code == 2
    assert "2025-09-30" in result.stderr


def test_unknown_options_and_verbs_end_with_2():
    assert run("trian").exit_code == 2
    assert run("train", "--cofnig", "x").exit_code == 2


@pytest.fixture
def probe():
    """Return a function that runs a body as a command of the group."""
    added = []

    def invoke(body):
        main.add_command(click.command("probe")(body))
        added.append("probe")
        return run("probe")

    yield invoke
    for name in added:
        main.commands.pop(name, None)


def test_an_error_of_ours_is_a_message_and_a_fault_is_not_hidden(probe):
    def ours():
        raise InputMismatchError("expected 3 columns, found 2: add region")

    def fault():
        raise ZeroDivisionError("a bug")

    bad_input, bug = probe(ours), probe(fault)

    assert (bad_input.exit_code, bad_input.stderr) == (2, "error: expected 3 columns, found 2: add region\n")
    assert bug.exit_code == 1
    assert isinstance(bug.exception, ZeroDivisionError)


def test_our_warnings_are_one_plain_line_on_stderr(probe):
    def body():
        warnings.warn("2 tools were never seen", DataWarning, stacklevel=1)
        click.echo("done")

    result = probe(body)

    assert (result.stdout, result.stderr) == ("done\n", "warning: 2 tools were never seen\n")


def test_mlflow_is_quiet_inside_the_command_only_and_the_users_choice_is_kept(probe, monkeypatch):
    for name in QUIET_MLFLOW:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "DEBUG")
    seen = {}

    def body():
        seen.update({name: os.environ[name] for name in QUIET_MLFLOW})

    probe(body)

    assert seen == {**QUIET_MLFLOW, "MLFLOW_LOGGING_LEVEL": "DEBUG"}
    assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ


@pytest.mark.parametrize(
    ("promoted", "code", "words"), [(True, 0, "the champion"), (False, 3, "not promoted")]
)
def test_retrain_ends_with_3_when_not_promoted(tmp_path, monkeypatch, promoted, code, words):
    folder = tmp_path / "crm"
    folder.mkdir()
    (folder / "accounts.csv").write_text("account_id,industry\na,Retail\n", encoding="utf-8")
    empty = pd.DataFrame(columns=["name", "target", "estimate", "low", "high", "n", "base_rate", "logistic"])
    outcome = SimpleNamespace(
        promoted=promoted, reason="because", version="icp/2", evaluation=Evaluation(empty, pd.DataFrame(), {})
    )
    monkeypatch.setattr(icp_ml.serve.retrain, "retrain", lambda *_, **__: outcome)
    monkeypatch.setattr(icp_ml.adapters.mlflow, "MlflowTracker", lambda *_, **__: None)

    result = run("retrain", "--config", settings(tmp_path, '[data]\nsource = "crm"'))

    assert result.exit_code == code
    assert f"icp/2 is {words}: because" in result.stdout


def test_scores_are_not_overwritten_unless_told(tmp_path):
    scores = pd.DataFrame({"account_id": ["a"], "tier": ["A"], "applicability": ["in"]})
    file = write_scores(scores, tmp_path / "scores", overwrite=False)

    with pytest.raises(ConfigError, match="--overwrite"):
        write_scores(scores, tmp_path / "scores", overwrite=False)

    assert write_scores(scores, tmp_path / "scores", overwrite=True) == file
    assert pd.read_parquet(file)["account_id"].tolist() == ["a"]


def test_scores_are_summed_up_by_tier():
    scores = pd.DataFrame({"tier": ["B", "A", "B"], "applicability": ["in", "out", "edge"]})

    assert tiers_text(scores) == "3 accounts scored; tiers A: 1, B: 2; 1 unlike those learnt from"


def test_demo_lays_out_tables_and_settings_but_not_the_truth(tmp_path):
    config = load_config(lay_out(tmp_path / "demo"))

    names = {path.name.split(".")[0] for path in config.source.iterdir()}
    assert {"accounts", "technologies", "subscriptions"} <= names
    assert "truth" not in names
    assert config.output_folder.resolve() == (tmp_path / "demo").resolve()


@pytest.mark.slow
@pytest.mark.mlflow
def test_demo_runs_the_whole_line_and_its_next_commands_work(tmp_path):
    out = tmp_path / "demo"
    result = run("demo", "--out", out)

    assert result.exit_code == 0, result.output
    assert "Profile against the planted truth" in result.stdout
    assert "models:/icp@champion" in result.stdout
    assert "first model" in result.stdout
    accounts = pd.read_csv(out / "crm" / "accounts.csv")["account_id"].dropna().nunique()
    scores = pd.read_parquet(out / "scores.parquet")
    assert len(scores) == scores["account_id"].nunique() == accounts
    assert set(scores["model_version"]) == {"icp/1"}
    assert (out / "icp_report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (out / "mlflow.db").is_file()

    shown = run("profile", "--config", out / "icp.toml")
    as_json = run("profile", "--config", out / "icp.toml", "--json")
    assert shown.exit_code == as_json.exit_code == 0, shown.output
    assert shown.stdout.strip() in result.stdout
    assert json.loads(as_json.stdout)

    scored = run("score", "--config", out / "icp.toml", "--as-of", "2025-09-30", "--reasons", 1)
    assert scored.exit_code == 0, scored.output
    again = pd.read_parquet(out / "scores" / "scores.parquet")
    assert len(again) == accounts
    assert "reason_2" not in again

    measured = run("evaluate", "--config", out / "icp.toml", "--json")
    assert measured.exit_code == 0, measured.output
    assert {row["name"] for row in json.loads(measured.stdout)} >= {"auc", "log_loss"}
