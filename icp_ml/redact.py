"""What must not be read by whoever reads a message: passwords, tokens and keys in addresses and texts.

An address of a tracking store may carry its password, and libraries quote addresses in what they raise. So
every text that leaves through an error of ours, a log line or the terminal passes here.
"""

from __future__ import annotations

import base64
import os
import re
from urllib.parse import unquote

HIDDEN = "***"
#: Environment variables whose values are secrets, wherever they turn up.
SECRET_VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "DATABRICKS_TOKEN",
    "DATABRICKS_CLIENT_SECRET",
    "PGPASSWORD",
    "MYSQL_PWD",
)
#: Those whose values are addresses, of which a part is secret.
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_BACKEND_STORE_URI", "DATABASE_URL")
#: A shorter value turns up in ordinary words; where it stands in an address it's hidden all the same.
_SHORTEST = 4

# All bounded: the time grows with the length of the text, whatever stands in it.
_USER = re.compile(r"(?<=://)[^\s/?#'\"<>]{1,2000}@")
_PARAMETER = re.compile(
    r"(?i)([?&;](?:[a-z_.-]{0,40}(?:token|secret|password|passwd|pwd|signature|credential|auth|key|sig)"
    r"[a-z_.-]{0,20}|sig|se|sv)=)[^\s&;'\"<>]{1,4000}"
)
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s{1,3}[a-z0-9+/_.=~-]{8,4000}")
_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,20}\b")
_NAMED = re.compile(r"(?i)\b((?:password|passwd|pwd|secret|token)=)[^\s,;&'\"]{1,400}")


def without_secrets(text: str, *addresses: str) -> str:
    """Return a text with passwords, tokens and keys replaced.

    Parameters
    ----------
    text
        What is to be shown.
    *addresses
        Addresses whose password and parameters must not turn up in it, in any spelling.

    Examples
    --------
    >>> without_secrets("no answer from http://ann:s3cret@host:5000/api?token=abc")
    'no answer from http://***@host:5000/api?token=***'
    """
    for secret in _secrets(addresses):
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _USER.sub(f"{HIDDEN}@", text)
    text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    text = _HEADER.sub(rf"\1 {HIDDEN}", text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    return _KEY.sub(HIDDEN, text)


def _secrets(addresses: tuple[str, ...]) -> list[str]:
    """Return what the addresses and the environment hide, longest first."""
    found = {os.environ.get(name, "") for name in SECRET_VARIABLES}
    for address in (*addresses, *(os.environ.get(name, "") for name in _ADDRESSES)):
        found |= _inside(address)
    both = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    if all(os.environ.get(name) for name in both):
        found.add(_encoded(":".join(os.environ[name] for name in both)))
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)


def _inside(address: str) -> set[str]:
    """Return the secret parts of an address: password and values of its parameters, in each spelling."""
    _, mark, rest = address.partition("://")
    if not mark:
        return set()
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, _ = rest.rpartition("@") if "@" in authority or "@" in rest.partition("?")[0] else ("", "", "")
    found: set[str] = set()
    if at:
        name, colon, password = user.partition(":")
        secret = password if colon else name  # a token may stand where the name does
        found |= {secret, unquote(secret), _encoded(user), _encoded(unquote(user))}
    found |= {
        secret
        for pair in re.split(r"[?&;]", rest.partition("?")[2])
        for value in [pair.partition("=")[2]]
        if _PARAMETER.search(f"?{pair}")
        for secret in (value, unquote(value))
    }
    return found


def _encoded(user: str) -> str:
    return base64.b64encode(user.encode("utf-8", "replace")).decode("ascii")
