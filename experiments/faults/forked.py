"""Jobs in forked processes: begun at once, counted by file events, killed or disturbed at a chosen one."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Work = Callable[[], object]

#: Events of Python's audit that touch a disk.
EVENTS = frozenset(
    {
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.mkdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "open",
    }
)
CALLS = ("fsync", "fdatasync", "write", "pwrite", "sendfile", "copy_file_range")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
LIMIT = 300.0


@dataclass(frozen=True)
class End:
    """How a child ended.

    Parameters
    ----------
    code
        Exit code; negative for a signal.
    finished
        Whether the job had returned, so that whatever came then came too late.
    said
        What it wrote to stdout and stderr.
    error
        Name of the exception that left the job, with its module; empty when none did.
    seconds
        From the job's begin to its end.
    """

    code: int
    finished: bool
    said: str
    error: str
    seconds: float

    @property
    def killed_in_time(self) -> bool:
        return self.code == -signal.SIGKILL and not self.finished

    @property
    def named(self) -> bool:
        """Whether the job was refused by an error of ours."""
        return self.error.startswith("icp_ml.errors.")


@dataclass
class Points:
    """Counts the file events of this process below some folders, and acts at one of them.

    Parameters
    ----------
    roots
        Only events that name something below one of these folders count; writes to open files always do.
    act
        Called with the number of each event, from 1 on, before it happens.
    """

    roots: Sequence[Path]
    act: Callable[[int], None]
    seen: int = 0
    names: list[str] = field(default_factory=list)
    off: bool = False

    def watch(self) -> Points:
        """Begin; an audit hook can't be taken off again, so use it in a child only."""
        texts = tuple(str(root) + os.sep for root in self.roots)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event in EVENTS and not self.off:
                named = [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)]
                if event == "open" and not int(args[2] or 0) & WRITING:
                    return
                if event == "os.mkdir" and Path(named[0]).is_dir():
                    return
                if any(f"{name}{os.sep}".startswith(texts) for name in named):
                    self._event(f"{event} {Path(named[0]).name}")

        sys.addaudithook(hook)
        for name in CALLS:
            if hasattr(os, name):
                setattr(os, name, self.counted(getattr(os, name), name))
        return self

    def counted(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return a function whose every call is an event."""

        def again(*args: Any, **kwargs: Any) -> Any:
            if not self.off:
                self._event(name)
            return call(*args, **kwargs)

        return again

    def _event(self, name: str) -> None:
        self.seen += 1
        self.names.append(name)
        self.act(self.seen)


def kill_at(point: int) -> Callable[[int], None]:
    """Return an act that ends this process by SIGKILL at one event."""

    def act(number: int) -> None:
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def fail_at(point: int, code: int = errno.ENOSPC, *, for_good: bool = True) -> Callable[[int], None]:
    """Return an act that raises OSError at one event, and ``for_good`` at all later ones."""

    def act(number: int) -> None:
        if number == point or (for_good and number > point):
            raise OSError(code, os.strerror(code))

    return act


def signal_at(point: int, kind: signal.Signals) -> Callable[[int], None]:
    """Return an act that sends this process a signal at one event."""

    def act(number: int) -> None:
        if number == point:
            os.kill(os.getpid(), kind)

    return act


class Child:
    """A forked process that runs one job.

    Parameters
    ----------
    work
        The job.
    said
        File for what it says.
    temporary
        Folder for its temporary files; what it leaves there is a leftover.
    """

    def __init__(self, work: Work, said: Path, temporary: Path) -> None:
        self._said = said
        self._read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            os.setsid()
            _run(work, said, temporary, write)
        os.close(write)
        self._words = b""
        self._until(b"b")
        self._began = time.monotonic()

    def _until(self, word: bytes, seconds: float = LIMIT) -> bool:
        """Read from the child until it says a word; False when it ended first or took too long."""
        end = time.monotonic() + seconds
        while word not in self._words:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return False
            more = os.read(self._read, 4096)
            if not more:
                return False
            self._words += more
        return True

    def kill_after(self, seconds: float, *, group: bool = False) -> None:
        """Wait, then kill the process, or it and all that it started."""
        self._until(b"e", seconds)
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def send_after(self, seconds: float, kind: signal.Signals) -> None:
        """Wait, then send a signal unless the job has ended."""
        if not self._until(b"e", seconds):
            os.kill(self.pid, kind)

    def wait(self, seconds: float = LIMIT) -> End:
        """Wait for the end; a job that hangs is killed, and an error says so."""
        end = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"a job didn't end within {seconds} s: {self._text()[-2000:]}")
            time.sleep(0.002)
        took = time.monotonic() - self._began
        self._until(b"\0", 1.0)
        os.close(self._read)
        error = self._words.partition(b"x")[2].decode()
        return End(os.waitstatus_to_exitcode(status), b"e" in self._words[:2], self._text(), error, took)

    def _text(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace") if self._said.exists() else ""


def _run(work: Work, said: Path, temporary: Path, write: int) -> None:
    """Be the child: say b at the begin, e at the end or x and the name of what was raised."""
    with said.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    raw_write, code = os.write, 0
    try:
        raw_write(write, b"b")
        try:
            work()
            raw_write(write, b"e")
        except BaseException as error:  # noqa: BLE001 - the job's end is told to the parent
            code = 130 if isinstance(error, KeyboardInterrupt) else 1
            raw_write(write, f"ex{type(error).__module__}.{type(error).__qualname__}".encode())
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)  # whatever is raised here must not unwind what belongs to the parent


def run(work: Work, said: Path, temporary: Path, seconds: float = LIMIT) -> End:
    """Run a job to its end."""
    return Child(work, said, temporary).wait(seconds)


def spread(count: int, length: float) -> Iterator[float]:
    """Return moments evenly over a length, none at its very ends."""
    for number in range(count):
        yield length * (number + 0.5) / count
