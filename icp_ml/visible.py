"""What leaves the library is shown and never executed: control characters, formulas and markup in texts.

Names, levels and ids come from other people's systems. A terminal obeys escape sequences, a spreadsheet
obeys cells that begin with ``=``, a registry's page obeys Markdown. Every channel passes its texts through
here once.
"""

from __future__ import annotations

import re

#: C0 and C1 controls, soft hyphen, zero-width and direction marks, line separators, lone surrogates, tags.
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_BLOCKS = re.compile(f"[{_HIDDEN}]")
_IN_LINES = re.compile(f"[{_HIDDEN}\t\n]")
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~<>&-])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_RUNS_OF_TICKS = re.compile("`+")
#: What a spreadsheet reads as a formula, also after blanks and quotes and in full width.
FORMULA = (
    "^[\\s\u00a0\u2000-\u200a\u202f\u205f\u3000'\"\u2018\u2019\u201c\u201d`]*[=+\\-@\uff1d\uff0b\uff0d\uff20]"
)
_FORMULA = re.compile(FORMULA)


def visible(text: str, *, one_line: bool = False) -> str:
    r"""Return a text whose control characters are written out instead of obeyed.

    Parameters
    ----------
    text
        What is to be shown; tabs and line ends of a block stay.
    one_line
        Whether tabs and line ends are written out too, as in a name.

    Examples
    --------
    >>> visible("a\x1b[31mb\u202ec")
    'a\\x1b[31mb\\u202ec'
    >>> visible("two\nlines"), visible("two\nlines", one_line=True)
    ('two\nlines', 'two\\nlines')
    """
    pattern = _IN_LINES if one_line else _IN_BLOCKS
    return text if pattern.search(text) is None else pattern.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def formula_safe(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula; one that would be gets an apostrophe before it.

    :func:`formula_read_back` takes it off again.

    Examples
    --------
    >>> [formula_safe(text) for text in ("=1+1", " @SUM(A1)", "-12", "Acme - North", "12")]
    ["'=1+1", "' @SUM(A1)", "'-12", 'Acme - North', '12']
    """
    return f"'{text}" if _FORMULA.match(text) else text


def formula_read_back(text: str) -> str:
    """Return the cell that :func:`formula_safe` was given.

    Examples
    --------
    >>> [formula_read_back(text) for text in ("'=1+1", "''=1", "O'Neill", "'quoted'")]
    ['=1+1', "'=1", "O'Neill", "'quoted'"]
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def markdown_safe(text: str) -> str:
    r"""Return a text that Markdown shows as it is: no link, no picture, no tag, no cell of a table.

    Examples
    --------
    >>> markdown_safe("a|b <img src=x> [c](d)")
    'a\\|b &lt;img src=x&gt; \\[c\\]\\(d\\)'
    """
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), visible(text, one_line=True))


def fenced(text: str) -> str:
    """Return a block of Markdown code that no line of the text can end.

    Examples
    --------
    >>> fenced("a ``` b").splitlines()
    ['````', 'a ``` b', '````']
    """
    longest = max((len(run) for run in _RUNS_OF_TICKS.findall(text)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}\n{visible(text)}\n{fence}"


def shortened(text: str, most: int) -> str:
    """Return at most ``most`` characters; where something was cut, the text says so.

    Examples
    --------
    >>> shortened("abcdefghij", 6), shortened("abc", 6)
    ('abc...', 'abc')
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."
