"""Bad disks and clocks, rivals, inputs that change: has the end a name, is the output old or new?"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ground as grounds
import namespace
from forked import Child, End, Points, fail_at, signal_at, spread
from jobs import Job, by_name, tree
from kills import points_of
from trial import FAULTS, Stand, finish, seen, stand_of, strangers, tally

Row = dict[str, object]
#: Ends in order: a refusal by the command line, Ctrl-C, SIGTERM.
ENDS = ("jobs.RefusedError", "builtins.KeyboardInterrupt", "click.exceptions.Abort", "builtins.SystemExit")
#: Beside what kills may do: an error that isn't ours, an end that says nothing of what went wrong.
MORE = ("raw", "silent", "unclean")
ALL = (*FAULTS, *MORE)
LIMITS = (4_000, 8_000, 16_000, 60_000)


def judged(stand: Stand, end: End, number: int, *, may_pass: bool = True) -> tuple[str, list[str]]:
    """Look at what a fault left, repeat the job without it, and look again."""
    problems = []
    state, wrong = seen(stand)
    if end.code == 0 and (state != "new" or not may_pass):
        problems.append(f"silent: exit code 0 and the output is {state}")
    if end.code > 0 and not end.named and end.error not in ENDS:
        problems.append(f"raw: {end.error or end.code}: {end.said.strip().splitlines()[-1:]}")
    for kind in ("home", "in"):
        if not (stand.place.root / kind).is_dir():
            problems.append(f"lost: the folder {kind}")
    _restore(stand)
    return state, [*problems, *wrong, *strangers(stand), *finish(stand, number)]


def _restore(stand: Stand) -> None:
    """Bring the inputs back, where the fault was a change of them."""
    for file in stand.place.inputs.rglob("*"):
        if (
            file.is_file()
            and not (stand.folder / "template" / "in" / file.relative_to(stand.place.inputs)).exists()
        ):
            file.unlink()
    shutil.copytree(stand.folder / "template" / "in", stand.place.inputs, dirs_exist_ok=True)


def errors(stand: Stand, tries: int, seed: int) -> Iterator[Row]:
    """No space or a read error at a file event, for good or once."""
    for number, at in enumerate(points_of(stand, tries, random.Random(seed))):
        stand.fresh()
        code = (errno.ENOSPC, errno.EIO)[number % 2]
        end = stand.child(fail_at(at, code, for_good=number % 4 < 2)).wait()
        state, problems = judged(stand, end, number)
        yield {
            "at": f"{errno.errorcode[code]} at event {at}: {stand.moments[at - 1]}",
            "state": state,
            "problems": problems,
        }


def limits(stand: Stand, tries: int, seed: int) -> Iterator[Row]:
    """Files that may not grow beyond a size."""
    for number, most in enumerate(LIMITS[:tries]):
        stand.fresh()
        child = stand.child(
            lambda _: None,
            lambda _, most=most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)),
        )
        state, problems = judged(stand, child.wait(), number)
        yield {"at": f"files of at most {most} bytes", "state": state, "problems": problems}


def signals(stand: Stand, tries: int, seed: int) -> Iterator[Row]:
    """Ctrl-C and SIGTERM, at file events and at even moments."""
    some = points_of(stand, tries, random.Random(seed))
    for number, at in enumerate([*some, *spread(tries, stand.seconds)]):
        stand.fresh()
        kind = (signal.SIGINT, signal.SIGTERM)[number % 2]

        def set_up(_: Points) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

        if isinstance(at, int):
            end = stand.child(signal_at(at, kind), set_up).wait()
        else:
            child = stand.child(lambda _: None, set_up)
            child.send_after(at, kind)
            end = child.wait()
        unclean = sorted(tree(stand.place.temporary)) if end.code >= 0 else []
        state, problems = judged(stand, end, number)
        problems += [f"unclean: {unclean[:3]}"] if unclean else []
        yield {
            "at": f"{kind.name} at {at}, ended {end.code} {end.error}",
            "state": state,
            "problems": problems,
        }


def _removed(file: Path) -> None:
    file.unlink()


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _bent(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for place in range(len(data) // 3, len(data) // 3 + 200):
        data[place % len(data)] ^= 0x5A
    file.write_bytes(bytes(data))


def _swapped(file: Path) -> None:
    others = sorted(each for each in file.parent.iterdir() if each.suffix == file.suffix and each != file)
    fresh = file.with_name("fresh.tmp")
    shutil.copy(others[0], fresh)
    fresh.replace(file)


CHANGES: tuple[Callable[[Path], None], ...] = (_removed, _emptied, _cut, _bent, _swapped)


def inputs(stand: Stand, tries: int, seed: int) -> Iterator[Row]:
    """Inputs that are removed, emptied, cut, bent or replaced while they are scored."""
    if not stand.job.name.startswith("score"):
        return
    files = sorted(name for name in stand.inputs if not name.endswith("/"))
    kinds = [name for name in files if name.endswith(".csv" if "csv" in stand.job.name else ".parquet")]
    moments = [number for number, name in enumerate(stand.moments, 1) if name == "write"] or [1]
    rng = random.Random(seed)
    for number in range(min(tries * 2, len(CHANGES) * len(kinds))):
        change, file = CHANGES[number % len(CHANGES)], kinds[(number // len(CHANGES)) % len(kinds)]
        at = rng.choice(moments)
        stand.fresh()

        def act(event: int, change: Callable[[Path], None] = change, file: str = file, at: int = at) -> None:
            if event == at:
                change(stand.place.inputs / file)

        def quiet(points: Points) -> None:
            whole = points.act

            def once(event: int) -> None:
                points.off = True
                whole(event)
                points.off = False

            points.act = once

        end = stand.child(act, quiet).wait()
        state, problems = judged(stand, end, number)
        yield {"at": f"{file} {change.__name__[1:]} at event {at}", "state": state, "problems": problems}


def clocks(stand: Stand, tries: int, seed: int) -> Iterator[Row]:
    """A clock that runs backwards, and old results from the future."""
    for number in range(2):
        stand.fresh()
        far = time.time() + (315_360_000 if number else -315_360_000)
        for file in stand.place.home.rglob("*"):
            os.utime(file, (far, far))

        def backwards(_: Points) -> None:
            now, step = [time.time()], 3600.0

            def earlier() -> float:
                now[0] -= step
                return now[0]

            time.time = earlier
            time.time_ns = lambda: int(earlier() * 1e9)

        state, problems = judged(stand, stand.child(lambda _: None, backwards).wait(), number)
        problems += [] if state == "new" else [f"silent: a clock set back kept the output {state}"]
        yield {
            "at": f"clock back, files {'from the future' if number else 'of ten years ago'}",
            "state": state,
            "problems": problems,
        }


def rivals(stand: Stand, tries: int, seed: int) -> Iterator[Row]:
    """Two of the same job at once in one folder: each succeeds or is refused by name, one result is there."""
    for number in range(max(1, tries // 3)):
        stand.fresh()
        first = stand.child(lambda _: None)
        time.sleep(stand.seconds * number / max(1, tries // 3))
        second = Child(lambda: stand.job.run(stand.place), stand.folder / "rival.txt", stand.place.temporary)
        ends = [first.wait(), second.wait()]
        problems = []
        if all(end.code for end in ends):
            problems.append(f"raw: both failed: {ends[0].said[-200:]}")
        for end in ends:
            if end.code and not (end.named or end.error == "jobs.RefusedError"):
                problems.append(f"raw: {end.error}: {end.said.strip().splitlines()[-1:]}")
        good = next((end for end in ends if not end.code), ends[0])
        state, more = judged(stand, good, number)
        yield {
            "at": f"two at once, ends {[end.code for end in ends]}",
            "state": state,
            "problems": problems + more,
        }


def mounted(stand: Stand, tries: int, seed: int) -> Iterator[Row]:
    """A disk with little room, and one that is read-only; in a mount namespace, so as root only."""
    answer = stand.folder / "mounted.json"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            answer.write_text(json.dumps(list(_mounted(stand, tries))), encoding="utf-8")
            code = 0
        except BaseException:  # noqa: BLE001 - the parent is told by the exit code
            import traceback

            traceback.print_exc()
        os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"{stand.job.name}: the tries on a small disk failed")
    yield from json.loads(answer.read_text(encoding="utf-8"))


def _mounted(stand: Stand, tries: int) -> Iterator[Row]:
    namespace.enter()
    root = stand.place.root
    namespace.small_disk(root, 64 * 2**20)
    for number in range(tries):
        stand.fresh()
        free = round(2**21 * number / tries) // 4096 * 4096
        filler = namespace.fill(root, free)
        end = stand.run()
        filler.unlink()
        state, problems = judged(stand, end, number)
        yield {"at": f"{free} bytes free", "state": state, "problems": problems}
    stand.fresh()
    namespace.read_only(root, on=True)
    end = stand.run()
    namespace.read_only(root, on=False)
    state, problems = judged(stand, end, 0, may_pass=False)
    yield {"at": "read-only disk", "state": state, "problems": problems}


KINDS: dict[str, Callable[[Stand, int, int], Iterator[Row]]] = {
    "errors": errors,
    "limits": limits,
    "signals": signals,
    "inputs": inputs,
    "clocks": clocks,
    "rivals": rivals,
    "mounted": mounted,
}


def campaign(stand: Stand, kinds: list[str], tries: int, seed: int) -> dict[str, dict[str, object]]:
    """Try every kind of fault on one job."""
    found: dict[str, dict[str, object]] = {}
    for kind in kinds:
        if kind == "mounted" and namespace.missing():
            found[kind] = {"tries": 0, **dict.fromkeys(ALL, 0), "skipped": namespace.missing(), "faults": []}
            continue
        rows = list(KINDS[kind](stand, tries, seed))
        problems = [text for row in rows for text in row["problems"]]  # type: ignore[attr-defined]
        counts = {
            **tally(problems),
            **{name: sum(text.startswith(f"{name}:") for text in problems) for name in MORE},
        }
        found[kind] = {"tries": len(rows), **counts, "faults": [row for row in rows if row["problems"]]}
    return found


def tell(job: Job, found: dict[str, dict[str, object]]) -> None:
    """Print one line a kind of fault, and the first problems."""
    for kind, result in found.items():
        bad = "  ".join(f"{name} {result[name]}" for name in ALL if result[name])
        print(
            f"{job.name:36} {kind:8} tries {result['tries']:3}  {bad or result.get('skipped') or 'sound'}",
            flush=True,
        )
        for fault in result["faults"][:3]:  # type: ignore[index]
            print(f"    {fault['at']}: {fault['state']}: {fault['problems'][:3]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few tries on a small model, nothing written")
    parser.add_argument("--tries", type=int, default=10, help="a kind of fault and job")
    parser.add_argument("--job", action="append", default=[], help="jobs whose name begins so; repeatable")
    parser.add_argument("--kind", action="append", default=[], choices=list(KINDS), help="repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ground", type=Path, help="folder to keep models and inputs in, for the next run")
    parser.add_argument("--out", type=Path, default=None, help="folder for disk.json (default: beside this)")
    asked = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        ground = grounds.lay(asked.ground or Path(name) / "ground", small=asked.smoke)
        grounds.warm(ground)
        for job in by_name(ground, asked.job):
            stand = stand_of(job, Path(name) / job.name)
            results[job.name] = campaign(
                stand, asked.kind or list(KINDS), 2 if asked.smoke else asked.tries, asked.seed
            )
            tell(job, results[job.name])
    each = [result for found in results.values() for result in found.values()]
    total = {key: sum(int(result[key]) for result in each) for key in ("tries", *ALL)}  # type: ignore[call-overload]
    print(json.dumps(total))
    if not asked.smoke:
        target = (asked.out or Path(__file__).resolve().parent) / "disk.json"
        text = json.dumps({"seed": asked.seed, "total": total, "jobs": results}, indent=1)
        target.write_text(text + "\n", encoding="utf-8")
    return 1 if any(total[key] for key in ALL) else 0


if __name__ == "__main__":
    sys.exit(main())
