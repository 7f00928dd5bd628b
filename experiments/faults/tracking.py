"""Faults of the tracking store: what is half promoted, how long one waits, which secrets are printed.

    python experiments/faults/tracking.py --smoke
    python experiments/faults/tracking.py --json tracking.json

Every fault is real: servers on this machine that hang, trickle, lie and die, and SQLite files that are
locked, cut off, edited or moved. ``load`` or the steps of a retraining run against each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", MLFLOW_LOGGING_LEVEL="WARNING")
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

from badservers import FAULTS, deaf_port, free_port, real_server, serving, tell_gate

import icp_ml as icp
from icp_ml.adapters.mlflow_patience import telling

PASSWORD, TOKEN = "S3cret/Passw0rd", "t0ken-of-the-query"
SECRETS = (PASSWORD, "S3cret%2FPassw0rd", TOKEN)
PATIENCE = 1.5
LONGEST = 60.0
SMOKE = ("hangs after the request", "a byte now and then, in the body", "cut off in the body", "401")


@dataclass
class Found:
    """What came of one fault."""

    name: str
    error: str
    named: bool
    seconds: float
    secret: bool
    half: bool
    said: str


@dataclass
class Ground:
    """What the faults are tried on: a bundle, its record, and a store with a champion to copy."""

    bundle: Path
    record: Any
    folder: Path

    @property
    def template(self) -> Path:
        """Folder of the whole store."""
        return self.folder / "template"


def prepare(folder: Path, bundle: Path, record: Any) -> Ground:
    """Make a store with two versions, the first of them the champion."""
    ground = Ground(bundle, record, folder)
    ground.template.mkdir()
    tracker = icp.MlflowTracker(tracking_uri=f"sqlite:///{ground.template / 'mlflow.db'}")
    tracker.promote(tracker.log(record, bundle), "first", replaces=None)
    tracker.log(record, bundle)
    _let_go()
    return ground


def tried(name: str, act: Callable[[], Any], *, sound: Callable[[], bool] = lambda: True) -> Found:
    """Run a fault and note what is raised, said and printed."""
    said, begin = io.StringIO(), time.monotonic()
    handler, root = logging.StreamHandler(said), logging.getLogger()
    root.addHandler(handler)
    error: BaseException | None = None
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=said)  # type: ignore[assignment]
        try:
            with telling(lambda text: print(text, file=said)):
                act()
        except BaseException as raised:  # noqa: BLE001 - anything else than a named error is a finding
            error = raised
    seconds = time.monotonic() - begin
    root.removeHandler(handler)
    text = said.getvalue() + ("" if error is None else "".join(traceback.format_exception(error)))
    facts = repr(getattr(error, "facts", {}))
    return Found(
        name,
        "none" if error is None else f"{type(error).__name__}: {error}"[:300],
        error is None or isinstance(error, icp.IcpError),
        round(seconds, 2),
        any(secret in text + facts for secret in SECRETS),
        not sound(),
        said.getvalue()[-200:],
    )


def address(port: int) -> str:
    """Return the address of a server on this machine, with a password in it."""
    return f"http://alice:S3cret%2FPassw0rd@127.0.0.1:{port}"


def load(uri: str, source: str = "models:/icp@champion") -> Any:
    """Load a model with the short patience."""
    return icp.load(source, tracking_uri=uri, patience_seconds=PATIENCE)


def servers(names: Iterator[str] | tuple[str, ...]) -> Iterator[Found]:
    """Try servers that misbehave."""
    for name in names:
        with serving(name) as port:
            yield tried(f"server: {name}", lambda port=port: load(address(port)))
    yield tried("server: nobody listens", lambda: load(address(free_port())))
    with deaf_port() as port:
        yield tried("server: connecting hangs", lambda: load(address(port)))
    yield tried("server: no such host", lambda: load(f"http://alice:{PASSWORD}@nowhere.invalid:5000"))
    with serving("401") as port:
        yield tried("server: TLS where there is none", lambda: load(address(port).replace("http", "https")))
        query = f"http://127.0.0.1:{port}/?token={TOKEN}"
        yield tried("server: a token in the address", lambda: load(query))
    refused = f"postgresql+psycopg2://alice:S3cret%2FPassw0rd@127.0.0.1:{free_port()}/mlflow"
    yield tried("PostgreSQL: nobody listens", lambda: load(refused))
    with serving("hangs after the request") as port:
        hanging = f"postgresql+psycopg2://alice:S3cret%2FPassw0rd@127.0.0.1:{port}/mlflow"
        yield tried("PostgreSQL: hangs", lambda: load(hanging))
    yield tried("a scheme that nobody knows", lambda: load(f"ftp://alice:{PASSWORD}@127.0.0.1/x"))
    yield tried(
        "a server that hangs, asked by a retraining",
        lambda: icp.MlflowTracker(tracking_uri=refused, patience_seconds=PATIENCE).tidy(),
    )


@contextlib.contextmanager
def copied(ground: Ground) -> Iterator[Path]:
    """Copy the store; what it notes still names the original."""
    with tempfile.TemporaryDirectory(dir=ground.folder) as name:
        folder = Path(name) / "copy"
        shutil.copytree(ground.template, folder)
        yield folder / "mlflow.db"
    _let_go()


def _let_go() -> None:
    """Close MLflow's connections, which it keeps for as long as the process lives."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for engine in SqlAlchemyStore._engine_map.values() if hasattr(SqlAlchemyStore, "_engine_map") else ():
        engine.dispose()


def sql(*statements: str) -> Callable[[Path], None]:
    """Return a fault that edits the database."""

    def edit(database: Path) -> None:
        with contextlib.closing(sqlite3.connect(database)) as opened, opened:
            for statement in statements:
                opened.execute(statement)

    return edit


def _cut(share: float) -> Callable[[Path], None]:
    return lambda database: os.truncate(database, int(database.stat().st_size * share))


def _garbage(database: Path) -> None:
    database.write_bytes(os.urandom(50_000))


def _smashed(database: Path) -> None:
    with database.open("r+b") as opened:
        opened.seek(100)
        opened.write(b"\xff" * 3000)


def _folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


def _artifacts(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def edit(database: Path) -> None:
        for root in sorted((database.parent / "mlartifacts").rglob("model.json")):
            change(root.parent)

    return edit


def _foreign(database: Path) -> None:
    database.unlink()
    sql("CREATE TABLE customers (name TEXT)")(database)


_TAG = (
    "INSERT OR REPLACE INTO registered_model_tags (name, key, value, workspace) "
    "VALUES ('icp', '{}', '{}', 'default')"
)
#: Name → (what is done to a copy of the store, what is then asked of it, whether an error is expected).
FILES: dict[str, tuple[Callable[[Path], None], str, bool]] = {
    "a copy elsewhere": (lambda database: None, "load", False),
    "a copy elsewhere, retrained": (lambda database: None, "log", False),
    "garbage": (_garbage, "load", True),
    "half a file": (_cut(0.5), "load", True),
    "a file of 60 bytes": (lambda database: os.truncate(database, 60), "load", True),
    "smashed inside": (_smashed, "load", True),
    "a folder": (_folder, "load", True),
    "no file": (lambda database: database.unlink(), "load", True),
    "somebody else's database": (_foreign, "log", True),
    "an old schema": (sql("UPDATE alembic_version SET version_num = '1b5f0d9ad7c1'"), "load", True),
    "a schema of the future": (sql("UPDATE alembic_version SET version_num = 'ffffffffffff'"), "load", True),
    "a bent history": (sql(_TAG.format("icp.history.000001", "{]")), "promote", True),
    "a history of another shape": (sql(_TAG.format("icp.history.000001", '{"at": 5}')), "promote", True),
    "a bent mark of what is settled": (sql(_TAG.format("icp.settled", "many")), "promote", True),
    "a huge tag": (sql(_TAG.format("icp.history.000001", "[" * 100_000)), "promote", True),
    "an alias of a version that is gone": (sql("DELETE FROM model_versions WHERE version = 1"), "load", True),
    "no files of the version": (_artifacts(shutil.rmtree), "load", True),
    "half of the files": (_artifacts(lambda folder: (folder / "manifest.json").unlink()), "load", True),
    "another model": (_artifacts(lambda folder: (folder / "model.json").rename(folder / "x")), "load", True),
    "an unknown alias": (lambda database: None, "models:/icp@nobody", True),
    "an unknown model": (lambda database: None, "models:/nobody/1", True),
    "an unknown number": (lambda database: None, "models:/icp/99", True),
    "an unknown stage": (lambda database: None, "models:/icp/Nowhere", True),
    "a stage that nobody is in": (lambda database: None, "models:/icp/Production", True),
    "half an address": (lambda database: None, "models:/icp", True),
    "latest": (lambda database: None, "models:/icp/latest", False),
    "params are gone": (sql("DELETE FROM params", "DELETE FROM latest_metrics"), "load", False),
}


def files(ground: Ground, names: Iterator[str] | tuple[str, ...]) -> Iterator[Found]:
    """Try stores that are files."""
    for name in names:
        change, asked, wrong = FILES[name]
        with copied(ground) as database:
            change(database)
            uri, old = f"sqlite:///{database}", _listing(ground.template)
            found = tried(f"file: {name}", lambda a=asked, u=uri: ask(a, u, ground))
            if (found.error == "none") is wrong:
                found.named, found.said = False, f"expected {'an error' if wrong else 'none'}: {found.error}"
            found.half = _listing(ground.template) != old
            yield found
    with copied(ground) as database, contextlib.closing(sqlite3.connect(database)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield tried("file: locked by another", lambda: load(f"sqlite:///{database}"))
        holder.rollback()


def ask(what: str, uri: str, ground: Ground) -> None:
    """Ask a store for a step."""
    tracker = icp.MlflowTracker(tracking_uri=uri, patience_seconds=20.0)
    if what.startswith("models:/"):
        loaded = load(uri, what)
        if not loaded.version.rpartition("/")[2].isdigit():
            raise AssertionError(f"loaded {loaded.version}")
    elif what == "load":
        load(uri)
    elif what == "log":
        version = tracker.log(ground.record, ground.bundle)
        if tracker.load(version).version != version:
            raise AssertionError(version)
    else:
        tracker.promote("icp/2", "better", replaces="icp/1")


def _listing(folder: Path) -> list[tuple[str, int]]:
    """Return the files of a store; the original of a copy must not change."""
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*") if path.is_file())


def deaths(ground: Ground) -> Iterator[Found]:
    """Let the server die at one request after the other of a retraining's steps; look at what it left."""
    folder = Path(tempfile.mkdtemp(dir=ground.folder))
    with real_server(folder) as uri:
        first = icp.MlflowTracker(model_name="died", tracking_uri=uri, patience_seconds=300.0)
        first.promote(first.log(ground.record, ground.bundle), "first", replaces=None)
        before = tell_gate(uri)
        champion = step(uri, ground)
        length = tell_gate(uri) - before
        for number, point in enumerate(range(2, length, max(1, length // 15))):
            how = ("500", "done", "hangs")[number % 3]
            tell_gate(uri, point, how)
            name = f"server: dies at request {point} of {length} ({how})"
            found = tried(name, lambda: step(uri, ground, PATIENCE))
            tell_gate(uri)
            found.half, champion = whole(uri, champion, ground)
            yield found


def step(uri: str, ground: Ground, patience: float = 300.0) -> str:
    """Do what a retraining asks of the store: tidy, log, load, promote."""
    tracker = icp.MlflowTracker(model_name="died", tracking_uri=uri, patience_seconds=patience)
    tracker.tidy()
    current = tracker.champion()
    version = tracker.log(ground.record, ground.bundle)
    tracker.load(version)
    tracker.promote(version, "not worse", replaces=current, evidence={"a": 1})
    return version


def whole(uri: str, old: str, ground: Ground) -> tuple[bool, str]:
    """Return whether something is half done after a death, and the champion after one more run."""
    tracker = icp.MlflowTracker(model_name="died", tracking_uri=uri, patience_seconds=300.0)
    champion = tracker.champion()
    half = champion is None or tracker.load(champion).version != champion
    after = step(uri, ground)
    history = tracker.history()
    half |= tracker.champion() != after or history["version"].iloc[-1] != after
    half |= history["sequence"].tolist() != list(range(1, len(history) + 1))
    return bool(half or old not in history["version"].tolist()), after


def by_default() -> Iterator[Found]:
    """Measure the patience that is set by default, all at once, in processes of their own."""
    code = "import sys, icp_ml as icp; icp.load('models:/icp@champion', tracking_uri=sys.argv[1])"
    names = (
        "hangs after the request",
        "a byte now and then, in the body",
        "503, retry after an hour",
        "resets",
    )
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(serving(name)) for name in names}
        ports["nobody listens"] = free_port()
        ports["connecting hangs"] = stack.enter_context(deaf_port())
        begin = time.monotonic()
        jobs = {
            name: subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", code, address(port)], stderr=subprocess.PIPE, text=True
            )
            for name, port in ports.items()
        }
        import threading

        ended: dict[str, tuple[float, str]] = {}

        def wait(name: str, job: subprocess.Popen[str]) -> None:
            said = job.communicate(timeout=600)[1]
            ended[name] = (time.monotonic() - begin, said)

        waits = [threading.Thread(target=wait, args=pair) for pair in jobs.items()]
        for thread in waits:
            thread.start()
        for thread in waits:
            thread.join()
    for name, (seconds, said) in ended.items():
        last = (said.strip().splitlines() or [""])[-1]
        secret = any(secret in said for secret in SECRETS)
        named = last.startswith("icp_ml.errors.TrackingError")
        yield Found(f"default patience: {name}", last[:300], named, round(seconds, 1), secret, False, "")


def campaign(ground: Ground, *, smoke: bool) -> Iterator[Found]:
    """Try everything, or a few of each kind."""
    yield from servers(SMOKE if smoke else tuple(FAULTS))
    some = ("a copy elsewhere", "garbage", "no file", "a bent history", "no files of the version", "latest")
    yield from files(ground, some if smoke else tuple(FILES))
    if not smoke:
        yield from deaths(ground)
        yield from by_default()


def summary(found: list[Found]) -> dict[str, Any]:
    """Return the counts that have a bar."""
    short = [one.seconds for one in found if not one.name.startswith("default")]
    return {
        "faults": len(found),
        "half promoted": sum(one.half for one in found),
        "longest wait by default, s": max(
            [one.seconds for one in found if one.name.startswith("default")], default=None
        ),
        f"longest wait with a patience of {PATIENCE:g} s": max(short, default=None),
        "secrets printed": sum(one.secret for one in found),
        "not named": [asdict(one) for one in found if not one.named],
    }


def a_small_model(folder: Path) -> tuple[Path, Any]:
    """Train on 200 made-up accounts."""
    import numpy as np
    import pandas as pd

    from icp_ml.model.evaluation import evaluate
    from icp_ml.serve.record import run_record

    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"account_id": [f"c{i}" for i in range(200)], "seats": rng.integers(5, 500, 200)})
    frame["renewed"] = rng.random(200) < 1 / (1 + np.exp(-0.01 * (frame["seats"] - 250)))
    data = icp.Dataset.from_frame(frame, account_id="account_id", labels={"retained": "renewed"})
    model = icp.train(data, profile=False)
    icp.save(model, folder / "bundle")
    return folder / "bundle", run_record(model, evaluate(model, data, n_bootstrap=20))


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few of each kind")
    parser.add_argument("--only", choices=("servers", "files", "deaths", "default"), help="one kind")
    parser.add_argument("--json", type=Path, help="where to write all findings")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="icp-faults-") as name:
        folder = Path(name)
        ground = prepare(folder, *a_small_model(folder))
        found = []
        kinds = {
            "servers": lambda: servers(tuple(FAULTS)),
            "files": lambda: files(ground, tuple(FILES)),
            "deaths": lambda: deaths(ground),
            "default": by_default,
            None: lambda: campaign(ground, smoke=asked.smoke),
        }
        for one in kinds[asked.only]():
            mark = "" if one.named and not one.half and not one.secret else "  <-- " + one.said
            print(f"{one.seconds:6.1f} s  {one.name}: {one.error}{mark}", flush=True)
            found.append(one)
    result = summary(found)
    print(json.dumps(result, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(one) for one in found], indent=1), encoding="utf-8")
    longest = result["longest wait by default, s"] or 0.0
    bad = result["half promoted"] or result["secrets printed"] or result["not named"] or longest > LONGEST
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
