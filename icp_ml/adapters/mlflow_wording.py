"""What a failure of the store means, in words: the cause in a line, and what to do about it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from icp_ml.adapters.mlflow_patience import NoAnswer

_LONGEST = 400
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_AGAIN = "the same command may be run again and completes"
_SERVER = f"see that the server runs and can be reached from here; then {_AGAIN}"
#: The first whose words stand in the cause decides.
_ADVICE = (
    (
        ("out-of-date database schema", "Can't locate revision"),
        "back the database up and run 'mlflow db upgrade ADDRESS', or install the MLflow that made it",
    ),
    (
        ("database is locked", "table is locked"),
        f"another process holds the database, find it with 'fuser FILE' and let it end; then {_AGAIN}",
    ),
    (
        ("not a database", "malformed", "disk image"),
        "put a backup of the database back, or name another tracking_uri",
    ),
    (
        ("readonly", "read-only", "Permission denied", "Read-only"),
        "give this user the right to write the store and its files",
    ),
    (("No space left", "disk is full", "disk I/O"), f"make room on the disk of the store; then {_AGAIN}"),
    (
        ("401", "UNAUTHENTICATED", "403", "PERMISSION_DENIED", "password authentication"),
        "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN, and the "
        "user's rights",
    ),
    (("429", "too many requests"), f"the server is overloaded: wait, and {_AGAIN}"),
    (
        ("SSL", "CERTIFICATE", "certificate"),
        "check http against https in tracking_uri, and the certificate (MLFLOW_TRACKING_SERVER_CERT_PATH)",
    ),
    (
        ("not in a valid JSON format", "<html", "<!DOCTYPE", "JSONDecodeError", "ParseError"),
        "something that isn't MLflow answers at that address: check host, port and path in tracking_uri",
    ),
    (("resolve", "Name or service", "Invalid url", "Invalid URL"), "check the host in tracking_uri"),
    (("No module named",), "install the database's driver that the message names"),
)
_CODES = {
    "RESOURCE_DOES_NOT_EXIST": "check the name, the alias and the number against what icp-ml history shows",
    "INVALID_PARAMETER_VALUE": "correct what the message names",
    "NO_ANSWER": f"{_SERVER}. A slow store: raise patience_seconds in [tracking]",
}


def shown(address: str) -> str:
    """Return an address without user, password, parameters and line ends."""
    if "://" not in address or address.startswith("sqlite"):
        return _line(address.partition("?")[0])
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"{address.partition('://')[0]}://***"
    return _line(f"{parts.scheme}://{parts.hostname or '***'}{port}{parts.path}")


def cause_of(error: BaseException, seconds: float) -> str:
    """Return a failure in one line, up to the statement whose parameters may be customers' values."""
    if isinstance(error, NoAnswer):
        return f"none within {seconds:g} s ({error})"
    text = _line(str(getattr(error, "message", error)).partition("[SQL")[0])
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


def what_to_do(cause: str, code: str, address: str) -> str:
    """Return advice on a failure."""
    if code == "NO_ANSWER" and address.startswith("sqlite"):
        cause = "database is locked"
    if code == "NO_ANSWER" or code not in _CODES:
        for marks, advice in _ADVICE:
            if any(mark in cause for mark in marks):
                return advice.replace("ADDRESS", address).replace("FILE", address.partition(":///")[2])
    return _CODES.get(code, _SERVER)


def _line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()
