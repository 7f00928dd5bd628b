"""The scheduling examples parse, and call commands that exist with options that they have."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from icp_ml.cli import main

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "scheduling"


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every call of icp-ml in a text, without what the shell does with its output."""
    for line in re.findall(
        r"icp-ml ((?:audit|retrain|score|monitor|history|rollback|profile)\b[^\n]*)", text
    ):
        line = re.sub(r"\$\{\{.*?\}\}", "", line)
        called = re.split(r">>|\|\||&&|;|\"(?=$|,)", line)[0].replace('"', "")
        yield shlex.split(called)


def check(words: list[str]) -> None:
    """Fail unless the command has every option, with a value where one is needed."""
    verb, *rest = words
    command = main.commands[verb]
    filled = [re.sub(r"\{\{.*?\}\}|\$\(.*?\)", "2026-01-01", word) for word in rest]
    command.make_context(verb, filled, resilient_parsing=False)


@pytest.mark.parametrize("name", ["crontab", "icp-retrain.service", "airflow_dag.py", "github-actions.yml"])
def test_every_command_exists_with_its_options(name: str) -> None:
    text = re.sub(r"\\%", "%", (FOLDER / name).read_text(encoding="utf-8"))
    text = re.sub(r"\{\{ ds \}\}|\$\(date [^)]*\)", "2026-01-01", text)
    found = list(commands(text))
    assert any(words[0] == "retrain" for words in found)
    for words in found:
        check(words)


def test_crontab_lines_have_five_fields_and_a_command() -> None:
    lines = [
        line
        for line in (FOLDER / "crontab").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#") and not re.match(r"[A-Z_]+=", line)
    ]
    assert len(lines) == 3
    for line in lines:
        fields = line.split(None, 5)
        assert all(re.fullmatch(r"\*|\d+", field) for field in fields[:5])
        assert not re.search(r"(?<!\\)%", fields[5]), "cron ends a command at a bare per cent sign"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze isn't installed")
def test_systemd_finds_no_fault_but_the_program_that_is_not_here() -> None:
    for name in ("icp-retrain.service", "icp-retrain.timer"):
        command = ["systemd-analyze", "verify", str(FOLDER / name)]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stderr
        ours = [line for line in said.splitlines() if "icp-retrain" in line]
        assert all("is not executable" in line for line in ours), said
    assert "SuccessExitStatus=3" in (FOLDER / "icp-retrain.service").read_text(encoding="utf-8")


class Operator:
    """What the DAG needs of Airflow's operator."""

    made: list[Operator] = []

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.after: list[Operator] = []
        Operator.made.append(self)

    def __rshift__(self, other: Operator) -> Operator:
        self.after.append(other)
        return other


def test_the_dag_runs_on_a_stub_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow brings 150 packages of its own pins; the stub has the names and arguments that are used."""

    class Dag:
        def __init__(self, **given: Any) -> None:
            assert set(given) == {
                "dag_id", "schedule", "start_date", "catchup", "max_active_runs", "default_args",
            }  # fmt: skip

        def __enter__(self) -> Dag:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    bash, sdk, pendulum = (ModuleType(name) for name in ("bash", "sdk", "pendulum"))
    bash.BashOperator, sdk.DAG = Operator, Dag  # type: ignore[attr-defined]
    pendulum.datetime = pendulum.duration = lambda *_, **__: SimpleNamespace()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pendulum", pendulum)
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators.bash", bash)
    Operator.made.clear()
    code = compile((FOLDER / "airflow_dag.py").read_text(encoding="utf-8"), "airflow_dag.py", "exec")
    exec(code, {"__name__": "dag"})
    tasks = {task.given["task_id"]: task for task in Operator.made}
    assert list(tasks) == ["audit", "retrain", "score", "monitor"]
    assert [after.given["task_id"] for after in tasks["retrain"].after] == ["score"]
    assert tasks["retrain"].given["skip_on_exit_code"] == 3
    assert tasks["score"].given["trigger_rule"] == "none_failed"


def test_the_workflow_tells_3_from_a_failure() -> None:
    flow = yaml.safe_load((FOLDER / "github-actions.yml").read_text(encoding="utf-8"))
    assert flow[True]["schedule"] == [{"cron": "15 2 * * *"}]  # YAML reads the key `on` as true
    assert flow["concurrency"]["cancel-in-progress"] is False
    steps = {step.get("name", ""): step for step in flow["jobs"]["retrain"]["steps"]}
    script = re.sub(r"\$\{\{.*?\}\}", "", steps["retrain"]["run"])
    for code, ends in ((0, 0), (3, 0), (1, 1), (2, 2)):
        stub = f"icp-ml() {{ return {code}; }}\n"
        done = subprocess.run(["bash", "-ec", stub + script], capture_output=True, text=True, check=False)
        assert done.returncode == ends
        assert ("champion stays" in done.stdout) == (code == 3)


def test_the_databricks_job_calls_commands_that_exist() -> None:
    job = json.loads((FOLDER / "databricks_job.json").read_text(encoding="utf-8"))
    assert job["max_concurrent_runs"] == 1
    clusters = {cluster["job_cluster_key"] for cluster in job["job_clusters"]}
    for task in job["tasks"]:
        assert task["job_cluster_key"] in clusters
        wheel = task["python_wheel_task"]
        assert (wheel["package_name"], wheel["entry_point"]) == ("icp-ml", "icp-ml")
        check(wheel["parameters"])


def test_the_compose_file_is_whole() -> None:
    stack = yaml.safe_load((FOLDER / "docker-compose.yml").read_text(encoding="utf-8"))
    services = stack["services"]
    for service in services.values():
        assert "image" in service or "build" in service
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in stack["volumes"]
        for config in service.get("configs", []):
            assert config["source"] in stack["configs"]
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
    text = (FOLDER / "docker-compose.yml").read_text(encoding="utf-8")
    assert not re.search(r"(PASSWORD|SECRET|KEY): (?!\$\{)\S", text), "no secret stands in the file"


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
def test_the_compose_files_server_knows_its_options() -> None:
    from mlflow.cli import server

    stack = yaml.safe_load((FOLDER / "docker-compose.yml").read_text(encoding="utf-8"))
    program, verb, *words = stack["services"]["mlflow"]["command"]
    assert (program, verb) == ("mlflow", "server")
    known = {option for parameter in server.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words} <= known
