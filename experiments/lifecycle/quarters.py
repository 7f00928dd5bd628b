"""Ten quarterly retrainings on a drifting base, through ``mlflow run``: is every day's champion known?"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import pandas as pd
import world

import icp_ml as icp

ROOT = Path(__file__).resolve().parents[2]


def run_project(settings: Path, uri: str, day: str, folder: Path) -> None:
    """Retrain as a scheduler would on a day."""
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "ICP_ML_ON": day}
    environment["PATH"] = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    command = [str(bin_folder / "mlflow"), "run", str(ROOT), "-e", "retrain", "--env-manager", "local"]
    command += ["-P", f"config={settings}", "--experiment-name", "lifecycle"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def scores(champion: str | None, uri: str, accounts: int, day: str) -> pd.DataFrame:
    """Score the base as known on a day with a version; empty when there was no champion."""
    if champion is None:
        return pd.DataFrame()
    model = icp.load(f"models:/{champion}", tracking_uri=uri)
    tables = world.base(accounts, until=day)
    described = icp.build_features(icp.read_tables(tables)[0], as_of=day, schema=model.schema)
    return model.score(described, reasons=1)


def versions(uri: str) -> list[object]:
    import mlflow

    return list(mlflow.MlflowClient(tracking_uri=uri).search_model_versions("name='icp'"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two quarters, nothing written")
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--out", type=Path, default=None, help="folder for quarters.json")
    asked = parser.parse_args()
    days = [day.isoformat() for day in icp.quarter_ends("2023-06-30", "2025-09-30")]
    days = days[-2:] if asked.smoke else days
    rows, judged, kept = [], [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        world.tracker(uri).tidy()
        for day in days:
            shutil.rmtree(folder / "crm", ignore_errors=True)
            settings = world.lay_out(folder, day, "2021-03-31", accounts=asked.accounts)
            run_project(settings, uri, day, folder)
            found = world.tracker(uri)
            champion = found.champion()
            kept[day] = (champion, scores(champion, uri, asked.accounts, day))
            made = {f"icp/{v.version}": v.tags for v in versions(uri)}
            last = max(made, key=lambda version: int(version.split("/")[1]))
            judged.append({"day": day, "version": last, "status": made[last]["validation_status"]})
            judged[-1] |= {"reason": made[last]["validation_reason"], "champion": champion}
            print(judged[-1], flush=True)
        found = world.tracker(uri)
        history = found.history()
        every = pd.date_range(days[0], days[-1], freq="D")
        wrong = 0
        for moment in every:
            passed = [day for day in days if pd.Timestamp(day) <= moment]
            wrong += found.champion_as_of(moment.date()) != kept[passed[-1]][0]
        before = found.champion_as_of(every[0].date() - timedelta(days=1))
        for day, (champion, then) in kept.items():
            again = scores(found.champion_as_of(day), uri, asked.accounts, day)
            rows.append({"day": day, "champion": champion, "same_scores": bool(then.equals(again))})
        result = {
            "accounts": asked.accounts,
            "days_checked": len(every),
            "days_wrong": int(wrong) + (before is not None),
            "quarters": judged,
            "scores_of_past_days": rows,
            "history": [{**row, "at": row["at"].date().isoformat()} for row in history.to_dict("records")],
            "state": world.state(uri),
        }
    print(json.dumps(result, indent=1))
    if not asked.smoke:
        target = (asked.out or Path(__file__).resolve().parent) / "quarters.json"
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    bad = result["days_wrong"] or not all(row["same_scores"] for row in rows)
    return 1 if bad or not world.sound(result["state"]) else 0


if __name__ == "__main__":
    sys.exit(main())
