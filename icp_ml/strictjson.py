"""JSON as strangers may send it: bounded in size, depth and parts before anything is built of it."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import numpy as np

from icp_ml.errors import BundleError, IcpError

MOST_BYTES = 64 * 2**20
MOST_DEPTH = 64
MOST_PARTS = 4_000_000
"""Most objects and lists of one file; each takes some hundred bytes."""
_OTHERS = bytes(set(range(256)) - set(b'"[]{}'))
_STEPS = np.array([(byte in b"[{") - (byte in b"]}") for byte in range(256)], dtype=np.int8)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _RefusedError(ValueError):
    """An object has a key twice, or a number is none that JSON knows."""


def read_json(data: bytes, file: str = "", *, error: type[IcpError] = BundleError) -> Any:
    """Read JSON of strangers.

    Parameters
    ----------
    data
        The bytes of the file.
    file
        Its name, for errors.
    error
        Class of the errors raised.

    Raises
    ------
    IcpError
        Of class ``error``: the bytes are no UTF-8 or no JSON, are more than 64 MiB, nest deeper than 64
        levels, or hold a key twice, NaN, Infinity, half a character or a number of thousands of digits.

    Examples
    --------
    >>> read_json(b'{"slope": 0.5}')
    {'slope': 0.5}
    >>> read_json(b'{"slope": NaN}', "retained.json")
    Traceback (most recent call last):
    ...
    icp_ml.errors.BundleError: retained.json: expected finite numbers, found NaN: get the file from where it \
was made, or save the model again
    """

    def refuse(expected: str, found: str) -> NoReturn:
        raise error(
            f"{file or 'JSON'}: expected {expected}, found {found}: "
            "get the file from where it was made, or save the model again",
            file=file,
            expected=expected,
            found=found,
        )

    if len(data) > MOST_BYTES:
        refuse(f"at most {MOST_BYTES:,} bytes", f"{len(data):,}")
    if (parts := data.count(b"{") + data.count(b"[")) > MOST_PARTS:
        refuse(f"at most {MOST_PARTS:,} objects and lists", f"{parts:,}")
    if parts > MOST_DEPTH and (levels := depth(data)) > MOST_DEPTH:
        refuse(f"at most {MOST_DEPTH} levels", f"{levels:,} within each other")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _RefusedError as problem:
        refuse(*problem.args)
    except UnicodeError as problem:
        refuse("text in UTF-8", str(problem.reason if isinstance(problem, UnicodeDecodeError) else problem))
    except json.JSONDecodeError as problem:
        refuse("JSON", f"something else ({problem})")
    except ValueError:
        # the only other thing that Python's JSON refuses, as reading it takes the square of its length
        refuse("whole numbers of at most 64 bits", "one of thousands of digits")
    return value


def depth(data: bytes) -> int:
    """Return how many objects and lists lie within each other, without reading them.

    Examples
    --------
    >>> depth(b'{"a": [1, "[[", [2]]}')
    3
    """
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Strings without brackets go first: they are most of what is left.
    bare = data.translate(None, _OTHERS).replace(b'""', b"")
    outside = b"".join(bare.split(b'"')[::2])
    return int(np.cumsum(_STEPS[np.frombuffer(outside, dtype=np.uint8)], dtype=np.int64).max(initial=0))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RefusedError("every key once", f"{key[:60]!r} twice in an object")
            seen.add(key)
    return found


def _none(name: str) -> NoReturn:
    raise _RefusedError("finite numbers", name)


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_none)
