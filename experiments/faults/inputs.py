"""Dirty inputs through every entry point: each gives the right result or a named error.

Every case ends as ``ok`` (its oracle held), ``named`` (an IcpError, or exit code 2), ``traceback`` (of a
dependency), ``silent`` (the oracle failed) or ``hang``. Bar: none of the last three.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dirty import CELLS, FILES, SETTINGS

import icp_ml as icp
from icp_ml.cli import main

PATIENCE = 30
SMOKE_EVERY = 19
AT_A_TIME = 20
TABLE_ROLES = ("account_id", "arr", "start_date", "end_date", "product", "extra")
FRAME_ROLES = ("id", "y", "size", "plan", "stack")
SCORE_ROLES = ("id", "size", "plan", "stack", "as_of")


@dataclass(frozen=True)
class Case:
    """One dirty input: what is done with it, which raises AssertionError where the result is wrong."""

    name: str
    run: Callable[[], object]


def column_of(cell: object, plain: list[Any]) -> pd.Series[Any]:
    """Put a cell into a column of plain ones."""
    cells = np.empty(len(plain), dtype=object)
    cells[:] = plain
    cells[1] = cell
    return pd.Series(cells, dtype=object)


@cache
def frame() -> pd.DataFrame:
    """Return a labelled frame of 120 accounts."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=120)
    return pd.DataFrame(
        {
            "id": [f"a{i}" for i in range(120)],
            "y": (rng.random(120) < 1 / (1 + np.exp(-2 * size))).astype(int),
            "size": size,
            "plan": rng.choice(["a", "b", "c"], 120),
            "stack": rng.choice(["Slack;AWS", "AWS", "", "Jira;Slack"], 120),
        }
    )


def labelled(given: pd.DataFrame) -> icp.Dataset:
    """Make a dataset of a frame such as :func:`frame`."""
    return icp.Dataset.from_frame(given, account_id="id", labels={"retained": "y"}, technologies=["stack"])


@cache
def model() -> icp.IcpModel:
    """Return a small model."""
    return icp.train(labelled(frame()), seed=1, profile=False)


@cache
def bundle() -> Path:
    """Return the folder of the small model."""
    folder = Path(tempfile.mkdtemp()) / "bundle"
    icp.save(model(), folder)
    return folder


def subscriptions(role: str, cell: object) -> dict[str, pd.DataFrame]:
    """Return tables in which one cell is dirty."""
    n = 12
    columns: dict[str, Any] = {
        "account_id": [f"a{i}" for i in range(n)],
        "start_date": ["2021-01-01"] * n,
        "end_date": [None] * n,
        "arr": [float(i + 1) for i in range(n)],
        "product": ["Core"] * n,
    }
    accounts = pd.DataFrame({"account_id": columns["account_id"], "extra": [f"x{i % 3}" for i in range(n)]})
    if role == "extra":
        accounts["extra"] = column_of(cell, accounts["extra"].tolist())
    table = pd.DataFrame(columns)
    if role in columns:
        table[role] = column_of(cell, columns[role])
    return {"accounts": accounts, "subscriptions": table}


def check_tables(role: str, cell: object) -> None:
    """Read tables with a dirty cell, build features and labels of them, and check what came out."""
    raw = subscriptions(role, cell)
    tables, rejects = icp.read_tables(raw)
    kept = tables.required("subscriptions")
    refused = rejects.frame["table"].value_counts()
    for name, found in tables.present().items():
        assert len(found) + refused.get(name, 0) == rejects.rows_in[name] == len(raw[name])
    assert np.isfinite(kept["arr"]).all()
    assert np.isfinite(kept["arr"].sum())
    for day in ("start_date", "end_date"):
        years = kept[day].dropna().dt.year
        assert years.between(1700, 2199).all()
    untouched = np.delete(np.arange(12), 1)
    found = kept.set_index("account_id").reindex([f"a{i}" for i in untouched])
    assert found["arr"].tolist() == [float(i + 1) for i in untouched]
    features = icp.build_features(tables, as_of="2022-01-01")
    assert len(features) == len(tables.accounts)


def check_frame(role: str, cell: object) -> None:
    """Make a dataset of a frame with a dirty cell and check the other rows."""
    given = frame().assign(**{role: column_of(cell, frame()[role].tolist())})
    found = labelled(given)
    rest = found.features[found.features["account_id"] != "a1"]
    assert len(rest) >= 118
    if "size" in rest and role != "size":
        assert rest["size"].tolist()[0] == frame()["size"][0]
    for name in found.schema.of_kind("numeric", "boolean"):
        assert not np.isinf(found.features[name].to_numpy(dtype=float)).any()


def check_scores(role: str, cell: object) -> None:
    """Score a frame with a dirty cell: each row as if it were alone, whatever its neighbour is."""
    given = frame().drop(columns="y").head(4)
    if role == "as_of":
        given = given.assign(as_of=column_of(cell, ["2024-01-01"] * 4))
    else:
        given = given.assign(**{role: column_of(cell, given[role].tolist())})
    found = model().score(given, reasons=0)
    assert len(found) == 4
    assert found["p_retained"].between(0, 1).all()
    assert found["account_id"].tolist()[0] == "a0"
    alone = pd.concat([model().score(given.iloc[[i]], reasons=0) for i in range(4)], ignore_index=True)
    pd.testing.assert_frame_equal(found, alone, check_categorical=False)


def check_file(write: Callable[[Path], Path], rows: int | None) -> None:
    """Read a dirty file as a table: all its rows are accepted or refused, or it is named."""
    folder = Path(tempfile.mkdtemp())
    write(folder)
    tables, rejects = icp.read_tables(folder)
    assert rows is not None
    assert len(tables.accounts) + len(rejects) == rejects.rows_in["accounts"] == rows


def check_scored_file(write: Callable[[Path], Path], rows: int | None) -> None:
    """Score a dirty file in batches of two sizes: all rows, the same ids and scores."""
    folder = Path(tempfile.mkdtemp())
    (folder / "in").mkdir()
    file = write(folder / "in")
    found = []
    for size in (7, 1000):
        run = icp.score_parquet(model(), file, folder / f"out{size}", batch_rows=size, reasons=0, n_jobs=1)
        found.append(pq.read_table(run.files[0]).to_pandas())
        assert run.rows == len(found[-1]) == rows
    pd.testing.assert_frame_equal(*found)


def check_settings(text: str) -> None:
    """Read settings that mean nothing: they must be refused."""
    file = Path(tempfile.mkdtemp()) / "icp.toml"
    file.write_text(text, encoding="utf-8")
    icp.load_config(file)
    raise AssertionError("accepted")


def check_command(write: Callable[[Path], Path], rows: int | None, command: str) -> None:
    """Run a command on a dirty file: exit code 0 where it can be read, else 2."""
    folder = Path(tempfile.mkdtemp())
    (folder / "in").mkdir()
    file = write(folder / "in")
    arguments = {
        "features": ["score", "--model", bundle(), "--features", file, "--out", folder / "out"],
        "data": [
            "score",
            "--model",
            bundle(),
            "--data",
            folder / "in",
            "--as-of",
            "2024-01-01",
            "--out",
            folder / "out",
        ],
        "tables": [
            "score",
            "--model",
            bundle(),
            "--tables",
            folder / "in",
            "--as-of",
            "2024-01-01",
            "--out",
            folder / "out",
        ],
        "train": ["train", "--config", _settings(folder)],
        "audit": ["audit", "--config", _settings(folder)],
    }
    done = click.testing.CliRunner().invoke(main, [str(part) for part in arguments[command]])
    if done.exit_code == 2:
        raise icp.IcpError(done.output[-300:])
    if done.exit_code:
        raise done.exception or RuntimeError(done.output)
    assert rows is not None


def _settings(folder: Path) -> Path:
    file = folder / "icp.toml"
    file.write_text("[data]\nsource='in'\nsnapshot_dates=[2023-01-01]\n", encoding="utf-8")
    return file


def odd_sources() -> Iterator[Case]:
    """Yield what is no table, frame or path at all, and names of columns that are odd."""
    for value in (
        None,
        5,
        b"x",
        {"accounts": {"account_id": ["a"]}},
        {"accounts": None},
        {"x": frame()},
        [],
        "",
        "\0",
    ):
        yield Case(f"read_tables({str(value)[:20]!r})", lambda value=value: icp.read_tables(value))
        yield Case(
            f"score_parquet({str(value)[:20]!r})",
            lambda value=value: icp.score_parquet(model(), value, tempfile.mkdtemp() + "/o"),
        )
    for value in (None, 5, {"id": [1]}, pa.table({"id": [1]}), [], frame()["id"]):
        yield Case(f"from_frame({type(value).__name__})", lambda value=value: labelled(value))
        if not isinstance(value, pa.Table):
            yield Case(f"score({type(value).__name__})", lambda value=value: model().score(value))
    for name in ("klingon", "", "\0", "base64", None, 5):
        yield Case(
            f"encoding {name!r}", lambda name=name: icp.read_tables({"accounts": frame()}, encoding=name)
        )
    for value in (None, 5, b"x", "", "\0", ".", [], "x" * 5000):
        yield Case(f"load_config({str(value)[:20]!r})", lambda value=value: icp.load_config(value))
    for day in ("0001-01-01", "9999-12-31", None, "x", 10**30, float("nan"), [], {}):
        yield Case(
            f"as_of {str(day)[:20]}",
            lambda day=day: icp.build_features(icp.read_tables(subscriptions("", 0))[0], as_of=day),
        )


def named_oddly() -> Iterator[Case]:
    """Yield frames whose columns have odd names; the scores must be those of the clean frame."""
    clean = frame().drop(columns="y").head(5)
    levels = clean.set_axis(pd.MultiIndex.from_tuples([(name, "") for name in clean]), axis=1)
    variants = {
        "two levels": levels,
        "numbers among them": clean.assign(**{"z": 1}).rename(columns={"z": 5}),
        "None among them": clean.assign(**{"z": 1}).rename(columns={"z": None}),
        "arrow": pa.RecordBatch.from_pandas(clean),
        "arrow table": pa.Table.from_pandas(clean),
        "large index": clean.set_index(pd.Index([2**70] * 5, dtype=object)),
        "twice, of no use": pd.concat(
            [clean, pd.DataFrame({"z": [1] * 5}), pd.DataFrame({"z": [1] * 5})], axis=1
        ),
        "twice": pd.concat([clean, clean[["size"]]], axis=1),
    }
    for name, given in variants.items():
        yield Case(f"columns: {name}", lambda given=given: _same_scores(given, clean))


def _same_scores(given: Any, clean: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model().score(given, reasons=0)
    pd.testing.assert_frame_equal(found, model().score(clean, reasons=0))


def cases() -> Iterator[Case]:
    """Yield every case."""
    yield from odd_sources()
    yield from named_oddly()
    for name, cell in CELLS.items():
        for role in TABLE_ROLES:
            yield Case(f"read_tables, {role}: {name}", lambda r=role, c=cell: check_tables(r, c))
        for role in FRAME_ROLES:
            yield Case(f"from_frame, {role}: {name}", lambda r=role, c=cell: check_frame(r, c))
        for role in SCORE_ROLES:
            yield Case(f"score, {role}: {name}", lambda r=role, c=cell: check_scores(r, c))
    for name, (write, rows) in FILES.items():
        yield Case(f"read_tables, file: {name}", lambda w=write, n=rows: check_file(w, n))
        yield Case(f"score_parquet, file: {name}", lambda w=write, n=rows: check_scored_file(w, n))
        for command in ("features", "data", "tables", "train", "audit"):
            yield Case(
                f"command {command}, file: {name}", lambda w=write, n=rows, c=command: check_command(w, n, c)
            )
    for name, text in SETTINGS.items():
        yield Case(f"settings: {name}", lambda text=text: check_settings(text))


def outcome(case: Case) -> tuple[str, str]:
    """Run a case and say how it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            case.run()
        except icp.IcpError as error:
            return "named", str(error)[:200]
        except AssertionError as error:
            return "silent", "".join(traceback.format_exception(error))[-600:]
        except BaseException as error:  # noqa: BLE001  # whatever else comes out is what is looked for
            return "traceback", "".join(traceback.format_exception(error))[-600:]
    return "ok", ""


def run_here(chosen: list[int]) -> None:
    """Run cases in this process and write how each ended, a line of JSON per case."""
    every = list(cases())
    for number in chosen:
        kind, said = outcome(every[number])
        sys.stdout.write(json.dumps([number, every[number].name, kind, said]) + "\n")
        sys.stdout.flush()


def run_guarded(chosen: list[int]) -> Iterator[tuple[str, str, str]]:
    """Run cases in a child process; one that says nothing for too long is a hang, and the next ones go on."""
    names = [case.name for case in cases()]
    left = list(chosen)
    while left:
        part = left[:AT_A_TIME]
        command = [sys.executable, __file__, "--cases", ",".join(map(str, part))]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE * len(part))
            text, ended = done.stdout, "traceback"
        except subprocess.TimeoutExpired as late:
            text, ended = late.stdout or b"", "hang"
        for line in text.decode().splitlines():
            number, name, kind, said = json.loads(line)
            part.remove(number)
            left.remove(number)
            yield name, kind, said
        if part:
            yield names[part[0]], ended, "the process ended, or said nothing any more"
            left.remove(part[0])


def start() -> None:
    """Run the cases, print what isn't as it should be, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="A few of the cases only.")
    parser.add_argument("--cases", default="", help="Run these numbers in this process.")
    parser.add_argument("--out", type=Path, help="Folder for result.json.")
    given = parser.parse_args()
    if given.cases:
        run_here([int(number) for number in given.cases.split(",")])
        return
    total = sum(1 for _ in cases())
    chosen = list(range(0, total, SMOKE_EVERY if given.smoke else 1))
    counts: Counter[str] = Counter()
    for name, kind, said in run_guarded(chosen):
        counts[kind] += 1
        if kind not in ("ok", "named"):
            sys.stdout.write(f"{kind}: {name}\n{said}\n")
    result = {"cases": len(chosen), "of": total} | {
        kind: counts[kind] for kind in ("ok", "named", "traceback", "silent", "hang")
    }
    sys.stdout.write(json.dumps(result) + "\n")
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "inputs.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(bool(counts["traceback"] + counts["silent"] + counts["hang"]))


if __name__ == "__main__":
    start()
