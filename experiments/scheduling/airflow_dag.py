"""Every night: audit the data, retrain, score the base, look for drift.

For Airflow 3 (2.x: take BashOperator from airflow.operators.bash and DAG from airflow). The commands run
where the worker runs; icp-ml is on its path, and icp.toml names the tables and the tracking server.
"""

from __future__ import annotations

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

FOLDER = "/opt/icp"
#: Exit codes that are no failure: "trained, not promoted", and "drifted", which a person should look at.
NOT_PROMOTED = DRIFTED = 3

with DAG(
    dag_id="icp",
    schedule="15 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": pendulum.duration(minutes=15)},
) as dag:
    # What is merely suspected is left out of the fit; a column that knows the outcome ends the run here.
    audit = BashOperator(
        task_id="audit", bash_command="icp-ml audit --config icp.toml --suspect-exit 0", cwd=FOLDER
    )
    # A retry of the same data trains only if the first try came to no decision.
    retrain = BashOperator(
        task_id="retrain",
        bash_command="icp-ml retrain --config icp.toml",
        cwd=FOLDER,
        skip_on_exit_code=NOT_PROMOTED,
    )
    # The base is scored every night, with whoever is champion then.
    score = BashOperator(
        task_id="score",
        bash_command="icp-ml score --config icp.toml --as-of {{ ds }} --out scores/{{ ds }}",
        cwd=FOLDER,
        trigger_rule="none_failed",
    )
    monitor = BashOperator(
        task_id="monitor",
        bash_command="icp-ml monitor --config icp.toml",
        cwd=FOLDER,
        skip_on_exit_code=DRIFTED,
        trigger_rule="none_failed",
    )
    audit >> retrain >> score >> monitor
