"""Changes of JSON, text, tables and settings, chosen by bytes: the same bytes, the same change."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

WORDS = (
    "", " ", "nan", "inf", "-inf", "1e400", "-1", "0", "1", "2", "7", "99999", "-99999", "1.5", "1e308",
    "5e-324", str(2**31), str(2**63), str(2**64), "x", "null", "true", "None", "0001-01-01", "9999-12-31",
    "2020-02-30", "31/12/2020", "1,5", "1.234,56", "€ 12", "12k", "=1+1", '"', '""', "'", "\\", "\x00",
    "\x1b[31m", "\u202e", "é", "\ud7ff", "a" * 300, "1" * 400, " " * 500, "[" * 50, "{}", "[]", "a;b;c",
    ";;;", "../../x", "\r\n", "\ufeff",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 10**9, -(10**9), 2**63, 2**64, 10**400, 0.5, -0.5, 1e308, -1e308,
    5e-324, float("nan"), float("inf"), float("-inf"), "", "x", "nan", "a" * 300, [], {}, [[]], [None],
    [1.0] * 50, ["a", "b"],
    {"a": 1}, [{}], [1, [2, [3, [4]]]],
)  # fmt: skip


class Choices:
    """Numbers out of bytes; zeros once they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def left(self) -> bool:
        """Whether there are bytes that nothing was chosen by."""
        return self._place < len(self._data)

    def below(self, n: int) -> int:
        """Return a whole number from 0 to ``n - 1``."""
        width = 1 if n <= 256 else 3
        part = self._data[self._place : self._place + width]
        self._place += width
        return int.from_bytes(part, "little") % max(n, 1)

    def one_of(self, options: Sequence[T]) -> T:
        """Return one of several."""
        return options[self.below(len(options))]


def change_json(content: Any, choose: Choices) -> Any:
    """Return JSON with one value replaced, removed, doubled or moved."""
    root = [copy.deepcopy(content)]
    parent, key = root, 0
    for _ in range(choose.below(12)):
        value = parent[key]
        if isinstance(value, dict) and value:
            parent, key = value, choose.one_of(list(value))
        elif isinstance(value, list) and value:
            parent, key = value, choose.below(len(value))
        else:
            break
    kind = choose.below(6)
    if kind <= 2:
        parent[key] = copy.deepcopy(choose.one_of(VALUES))
    elif kind == 3 and parent is not root:
        del parent[key]
    elif kind == 4 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(choose.one_of((parent[key], *VALUES))))
    elif isinstance(parent[key], dict) and len(parent[key]) > 1:
        one, other = choose.one_of(list(parent[key])), choose.one_of(list(parent[key]))
        parent[key][one], parent[key][other] = parent[key][other], parent[key][one]
    elif isinstance(parent[key], int | float):
        parent[key] = parent[key] * choose.one_of((-1, 10, 1e300, 0.5))
    else:
        parent[key] = [parent[key]] * choose.below(5)
    return root[0]


def change_text(text: str, choose: Choices, between: str = " ") -> str:
    """Return a text with one token, line or letter replaced, removed or doubled, or its end cut off."""
    lines = text.split("\n")
    row = choose.below(len(lines))
    kind = choose.below(8)
    tokens = lines[row].split(between)
    place = choose.below(len(tokens))
    if kind <= 2:
        lead, mark, _ = tokens[place].partition("=")
        tokens[place] = (lead + mark if mark else "") + choose.one_of(WORDS)
        lines[row] = between.join(tokens)
    elif kind == 3:
        lines[row] = between.join(tokens[:place] + tokens[place + 1 :])
    elif kind == 4:
        other = choose.below(len(lines))
        lines[row], lines[other] = lines[other], lines[row]
    elif kind == 5:
        lines.insert(row, lines[choose.below(len(lines))])
    elif kind == 6:
        del lines[row]
    else:
        text = "\n".join(lines)
        at = choose.below(len(text) + 1)
        return choose.one_of((text[:at], text[:at] + choose.one_of(WORDS) + text[at + 1 :]))
    return "\n".join(lines)


def as_json(content: Any) -> str:
    """Return JSON text, also of numbers that JSON can't hold."""
    return json.dumps(content)
