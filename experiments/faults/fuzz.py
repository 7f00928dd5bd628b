"""Fuzz what reads foreign data: bundles, conditions, tables and settings.

An input is bytes that choose changes of a small corpus. It crashes unless it ends in finite results or an
``IcpError`` (warnings are results). Each target runs in a child process, so that a segmentation fault or an
endless loop is a crash like any other. Inputs that lead to a new place or message are kept and varied; with
atheris installed, ``--engine atheris`` has its coverage choose them.

    python experiments/faults/fuzz.py --minutes 10 --target bundle
    python experiments/faults/fuzz.py --target bundle --again 00ff12   # one input again, with its traceback
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from fuzztargets import TARGETS

from icp_ml.errors import IcpError

LONGEST = 20.0
"""Seconds that an input may take; no sound reading of the corpus takes one."""
MOST_BYTES = 48
MOST_KEPT = 500
SMOKE = 20


def outcome(target: str, data: bytes) -> tuple[str, str]:
    """Return "ok", "refused" or "crash", and where and what."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TARGETS[target](data)
    except IcpError as error:
        return "refused", f"{type(error).__name__} {re.sub(r'[0-9]+', '0', str(error))[:80]}"
    except Exception as error:  # noqa: BLE001 - what a fuzzer looks for
        return "crash", f"{place(error)} {type(error).__name__}: {str(error)[:120]}"
    return "ok", "ok"


def place(error: BaseException) -> str:
    """Return the innermost line of the library that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}icp_ml{os.sep}" in frame.filename]
    if not own:
        return "no line of icp_ml"
    return f"icp_ml/{own[-1].filename.rpartition(f'{os.sep}icp_ml{os.sep}')[2]}:{own[-1].lineno}"


def inputs(rng: random.Random, kept: list[bytes]) -> Iterator[bytes]:
    """Yield new inputs and variations of those kept, for ever."""
    while True:
        if not kept or rng.random() < 0.5:
            yield rng.randbytes(rng.randint(4, MOST_BYTES))
            continue
        data = bytearray(rng.choice(kept))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        yield bytes(data)


def run(target: str, seed: int, seconds: float, most: int, log: Path) -> None:
    """Fuzz in this process, and write each input to the log before it is tried."""
    rng, kept, seen = random.Random(seed), [], set()
    until = time.monotonic() + seconds
    with log.open("a", encoding="utf-8") as lines, log.with_suffix(".trace").open("w") as trace:
        for number, data in enumerate(inputs(rng, kept)):
            if number >= most or time.monotonic() > until:
                lines.write(json.dumps({"end": number}) + "\n")
                return
            lines.write(json.dumps({"try": data.hex()}) + "\n")
            lines.flush()
            faulthandler.dump_traceback_later(LONGEST, exit=True, file=trace)
            kind, what = outcome(target, data)
            faulthandler.cancel_dump_traceback_later()
            if what not in seen and len(kept) < MOST_KEPT:
                kept.append(data)
            seen.add(what)
            lines.write(json.dumps({"kind": kind, "what": what, "data": data.hex()}) + "\n")


def run_atheris(target: str, seconds: float, log: Path) -> None:
    """Fuzz in this process with inputs chosen by coverage."""
    import atheris

    atheris.instrument_all()
    with log.open("a", encoding="utf-8") as lines:

        def one(data: bytes) -> None:
            lines.write(json.dumps({"try": data.hex()}) + "\n")
            lines.flush()
            kind, what = outcome(target, data)
            lines.write(json.dumps({"kind": kind, "what": what, "data": data.hex()}) + "\n")

        flags = [f"-max_total_time={int(seconds)}", f"-timeout={int(LONGEST)}", f"-max_len={MOST_BYTES}"]
        atheris.Setup([sys.argv[0], *flags], one)
        atheris.Fuzz()


def campaign(target: str, seed: int, seconds: float, most: int, engine: str) -> dict[str, object]:
    """Fuzz a target in child processes until its time is over; return counts and distinct crashes."""
    until = time.monotonic() + seconds
    counts = {"ok": 0, "refused": 0, "crash": 0}
    crashes: dict[str, dict[str, object]] = {}
    while time.monotonic() < until and sum(counts.values()) < most:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            left = str(max(1.0, until - time.monotonic()))
            mine = ["--child", str(log), "--target", target, "--seed", str(seed), "--engine", engine]
            limits = ["--seconds", left, "--most", str(most - sum(counts.values()))]
            done = subprocess.run(
                [sys.executable, __file__, *mine, *limits], capture_output=True, text=True, check=False
            )
            trace = log.with_suffix(".trace")
            said = trace.read_text() if trace.exists() else ""
            finished = _count(log, counts, crashes, done.returncode, said, done.stderr)
        if finished:
            break
        seed += 1
    return {"target": target, "engine": engine, **counts, "crashes": crashes}


def _count(
    log: Path,
    counts: dict[str, int],
    crashes: dict[str, dict[str, object]],
    code: int,
    trace: str,
    error: str,
) -> bool:
    """Add up the log of a child; return whether it came to its own end."""
    if not log.exists():
        raise SystemExit(error[-2000:])
    last = None
    for line in log.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if "try" in found:
            last = found["try"]
        elif "end" in found:
            return True
        else:
            last = None
            counts[found["kind"]] += 1
            if found["kind"] == "crash":
                where = " ".join(found["what"].split(" ")[:2]).rstrip(":")
                own = crashes.setdefault(where, {"what": found["what"], "again": found["data"], "times": 0})
                own["times"] = int(str(own["times"])) + 1
    if last is None:
        return code == 0
    lines = re.findall(r'icp_ml/([^"]+)", line (\d+)', trace)
    what = "hang" if lines else f"signal {-code}" if code < 0 else f"exit {code}"
    where = f"{what} icp_ml/{lines[0][0]}:{lines[0][1]}" if lines else what
    counts["crash"] += 1
    crashes.setdefault(where, {"what": f"{what} {error[-200:]}", "again": last, "times": 1})
    return False


def main() -> int:
    """Fuzz as the command line says; exit code 1 if anything crashed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--minutes", type=float, default=1.0, help="per target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help=f"{SMOKE} inputs per target")
    parser.add_argument("--engine", choices=["own", "atheris"], default="own")
    parser.add_argument("--again", help="run one input, given as hex, and show its traceback")
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    parser.add_argument("--most", type=int, default=10**9, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.again is not None:
        TARGETS[chosen.target](bytes.fromhex(chosen.again))
        return 0
    if chosen.child is not None:
        if chosen.engine == "atheris":
            run_atheris(chosen.target, chosen.seconds, chosen.child)
        else:
            run(chosen.target, chosen.seed, chosen.seconds, chosen.most, chosen.child)
        return 0
    targets = list(TARGETS) if chosen.target == "all" else [chosen.target]
    most = SMOKE if chosen.smoke else 10**9
    results = [campaign(name, chosen.seed, chosen.minutes * 60, most, chosen.engine) for name in targets]
    text = json.dumps(results, indent=1)
    if chosen.out is not None:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return int(any(result["crash"] for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
