"""Servers that misbehave, on this machine only: each answers every request with one kind of fault."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


def _answer(status: str, body: bytes, more: str = "", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _hang(link: socket.socket, stop: threading.Event) -> None:
    stop.wait()


def _trickle(text: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def serve(link: socket.socket, stop: threading.Event) -> None:
        for byte in text:
            link.sendall(bytes([byte]))
            if stop.wait(0.2):
                return

    return serve


def _say(text: bytes) -> Callable[[socket.socket, threading.Event], None]:
    return lambda link, stop: link.sendall(text)


def _reset(link: socket.socket, stop: threading.Event) -> None:
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


_LONG = b'{"a": "' + b"x" * 4000 + b'"}'
#: Name → what is done with a connection once the request is there.
FAULTS: dict[str, Callable[[socket.socket, threading.Event], None]] = {
    "hangs after the request": _hang,
    "a byte now and then, in the headers": _trickle(_answer("200 OK", _LONG)),
    "a byte now and then, in the body": lambda link, stop: (
        link.sendall(_OK + b"4009\r\n\r\n"),
        _trickle(_LONG)(link, stop),
    ),
    "cut off in the body": _say(_OK + b'900\r\n\r\n{"registered_model": {"name"'),
    "cut off in the headers": _say(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "closes at once": _say(b""),
    "resets": _reset,
    "no HTTP at all": _say(b"\x00\x01\x02SSH-2.0-OpenSSH\r\n\r\n"),
    "500": _say(_answer("500 Internal Server Error", b"{}")),
    "502 with HTML": _say(_answer("502 Bad Gateway", b"<html><h1>Bad Gateway</h1></html>", kind="text/html")),
    "503, retry after an hour": _say(_answer("503 Service Unavailable", b"", "Retry-After: 3600\r\n")),
    "429, retry after an hour": _say(_answer("429 Too Many Requests", b"", "Retry-After: 3600\r\n")),
    "401": _say(_answer("401 Unauthorized", b"You are not authenticated", kind="text/plain")),
    "403": _say(_answer("403 Forbidden", b'{"error_code": "PERMISSION_DENIED", "message": "no"}')),
    "200 with HTML of a login page": _say(
        _answer("200 OK", b"<!DOCTYPE html><html>log in" + b"x" * 100_000 + b"</html>", kind="text/html")
    ),
    "200 with nothing": _say(_answer("200 OK", b"")),
    "200 with a list": _say(_answer("200 OK", b"[1, 2]")),
    "200 with other fields": _say(_answer("200 OK", b'{"model_version": {"version": {"a": 1}}}')),
    "200 with control characters": _say(_answer("404 Not Found", b"\x1b[31mred\x07", kind="text/plain")),
    "200 that isn't UTF-8": _say(_answer("200 OK", b"\xff\xfe\x00{")),
    "redirects to itself": lambda link, stop: link.sendall(
        _answer("302 Found", b"", f"Location: http://127.0.0.1:{link.getsockname()[1]}/again\r\n")
    ),
    "redirects to a file": _say(_answer("302 Found", b"", "Location: file:///etc/passwd\r\n")),
}


@contextlib.contextmanager
def serving(fault: str) -> Iterator[int]:
    """Serve a fault for the time of the block; gives the port."""
    stop, door = threading.Event(), socket.create_server(("127.0.0.1", 0), backlog=64)
    door.settimeout(0.2)

    def serve(link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            link.settimeout(5)
            link.recv(65_536)
            FAULTS[fault](link, stop)

    def accept() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                link, _ = door.accept()
                threading.Thread(target=serve, args=(link,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield door.getsockname()[1]
    finally:
        stop.set()
        door.close()


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """Give a port whose queue is full: connecting hangs."""
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(0)
    waiting = []
    for _ in range(3):
        link = socket.socket()
        link.setblocking(False)
        link.connect_ex(door.getsockname())
        waiting.append(link)
    try:
        yield door.getsockname()[1]
    finally:
        for link in [*waiting, door]:
            link.close()


class Gate:
    """A WSGI application behind which one runs, until a chosen request; from then on a fault.

    Parameters
    ----------
    inner
        The application, such as MLflow's own.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.lock = threading.Lock()
        self.count = 0
        self.dies_at: float = float("inf")
        self.how = "500"

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        if environ["PATH_INFO"].startswith(_CONTROL):
            return self._told(environ["PATH_INFO"].removeprefix(_CONTROL), start)
        with self.lock:
            self.count += 1
            mine = self.count
        if mine < self.dies_at:
            return self.inner(environ, start)
        if self.how == "done" and mine == self.dies_at:
            for _ in self.inner(environ, lambda *_, **__: lambda _: None):
                pass
        if self.how == "hangs":
            time.sleep(2.0)
        start("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"gone"]

    def _told(self, order: str, start: Any) -> Any:
        """Take an order, ``dies_in/how``, and answer how many requests there were."""
        after, _, self.how = order.partition("/")
        self.dies_at = self.count + float(after or "inf")
        start("200 OK", [("Content-Type", "text/plain")])
        return [str(self.count).encode()]


_CONTROL = "/gate/"


def tell_gate(address: str, after: float = float("inf"), how: str = "500") -> int:
    """Have a gate die at the request so many from now; returns how many there were."""
    with urllib.request.urlopen(f"{address}{_CONTROL}{after}/{how}", timeout=120) as answer:
        return int(answer.read())


@contextlib.contextmanager
def real_server(folder: Path) -> Iterator[str]:
    """Run MLflow's own server behind a gate, in a process of its own; gives its address."""
    settings = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'server.db'}",
        "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{folder / 'server.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "files"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    port = free_port()
    command = [sys.executable, "-W", "ignore", __file__, str(port)]
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, **settings})
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(OSError):
                tell_gate(address)
                break
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    """Serve MLflow behind a gate at the port that was named."""
    from mlflow.server import app
    from werkzeug.serving import make_server

    make_server("127.0.0.1", int(sys.argv[1]), Gate(app.wsgi_app), threaded=True).serve_forever()


if __name__ == "__main__":
    main()
