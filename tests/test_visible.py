"""Hostile texts are shown and never obeyed: terminal, csv, page, model card, registry, plot."""

from __future__ import annotations

import csv
import io
import re
import warnings
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.csv
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from icp_ml.cli.group import Commands, echo, progress
from icp_ml.errors import DataWarning, IcpError, InputWarning, OutputWarning, TableError
from icp_ml.insight.predicates import Predicate
from icp_ml.serve.csvcells import csv_cells
from icp_ml.serve.scoreparts import PartWriter
from icp_ml.visible import fenced, formula_read_back, formula_safe, markdown_safe, shortened, visible

HIDDEN = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u200b\u200f\u202a\u202e\u2066\u2069\u2028\u2029",
]
HIDDEN += ["\ufeff", "\u00ad", "\ud800", "\U000e0041", "\u061c"]
FORMULAS = [
    "=1+1",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    '"=1',
    "'=1",
    "＝1+1",
    "＋1",
    "－1",
    "＠a",
]
FORMULAS += ["\u00a0=1", "\u3000=1", "\n=1", "\x00=1", "\u200b=1", "\ufeff=1", "=cmd|' /C calc'!A0", "``=1"]
PLAIN = ["Acme, Inc.", "O'Neill", "a-b", "1", "", "Zürich", "日本", "x=1", "naïve (+0.42)", "'quoted'", "C++"]
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
TRIGGER = re.compile("""^[\\s'"`]*[=+\\-@＝＋－＠]""")


@pytest.mark.parametrize("mark", HIDDEN, ids=ascii)
def test_a_control_character_is_written_out_and_nothing_else_changes(mark: str) -> None:
    shown = visible(f"a{mark}b", one_line=True)
    assert shown.isprintable()
    assert (shown[:2], shown[-1]) == ("a\\", "b")
    assert visible(f"a{mark}b") == (f"a{mark}b" if mark in "\t\n" else shown)


@pytest.mark.parametrize("text", PLAIN)
def test_plain_texts_stay_as_they_are(text: str) -> None:
    assert visible(text, one_line=True) == text == formula_safe(text) == formula_read_back(text)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.text(alphabet=st.sampled_from("=+-@＝'\"` \ta1"), max_size=8))
def test_an_id_is_read_back_from_csv_as_it_was(text: str) -> None:
    safe = formula_safe(text)
    assert not TRIGGER.match(safe) or safe.startswith("'")
    assert formula_read_back(safe) == text


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers(kind: pa.DataType) -> None:
    texts = [*FORMULAS, *PLAIN, "a\x1b[31mred", "b\u202ec", None]
    ids = pa.array(texts, pa.string()).cast(kind)
    table = pa.table(
        {"account_id": ids, "=name": [-1.5] * len(texts), "risk_1": pa.nulls(len(texts), pa.string())}
    )
    safe, changed = csv_cells(pa.concat_tables([table.slice(3), table.slice(0, 3)]))
    assert changed == len(FORMULAS) + 2
    sink = io.BytesIO()
    pa.csv.write_csv(safe, sink)
    rows = list(csv.reader(io.StringIO(sink.getvalue().decode(), newline="")))
    assert rows[0] == ["account_id", "'=name", "risk_1"]
    assert len(rows) == len(texts) + 1
    assert all(row[1] == "-1.5" for row in rows[1:])
    cells = [row[0] for row in rows[1:]]
    assert not [cell for cell in cells if re.match("[=+\\-@＝＋－＠\t\r\n ]", cell)]
    assert not [cell for cell in cells if RAW.search(cell)]
    assert {*PLAIN} <= {*cells}


def test_a_part_in_csv_counts_what_it_changed_and_parquet_changes_nothing(tmp_path: Path) -> None:
    table = pa.table({"account_id": ["=1", "a"]})
    for form, expected in (("csv", 1), ("parquet", 0)):
        part = tmp_path / f"part-0.{form}"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            writer = PartWriter(part, table.schema, form, None)
            with writer:
                writer.write(table)
        assert [str(one.message).split()[0] for one in caught if one.category is OutputWarning] == [
            "1"
        ] * expected
    assert (tmp_path / "part-0.csv.unfinished").read_text().splitlines()[1] == '"\'=1"'
    assert pa.parquet.read_table(tmp_path / "part-0.parquet.unfinished").equals(table)


@click.group(cls=Commands)
def program() -> None:
    """A program."""


@program.command()
@click.option("--how", type=click.Choice(["say", "progress", "error", "warning"]), default="say")
def speak(how: str) -> None:
    """Say something hostile."""
    text = "a\x1b]0;title\x07b\x9b31mc\u202ed\x7f\b\r"
    if how == "error":
        raise TableError(f"expected a table, found {text}")
    if how == "warning":
        warnings.warn(text, DataWarning, stacklevel=1)
    elif how == "progress":
        progress()(text)
    else:
        echo(text)


WAYS = [["speak", "--how", how] for how in ("say", "progress", "error", "warning", "\x1b[31m")]
WAYS += [["\x1b[31mx"], ["speak", "--\x1b[31m"], ["speak", "\x1b[3m"]]


@pytest.mark.parametrize("words", WAYS, ids=ascii)
def test_a_terminal_gets_no_control_character(words: list[str]) -> None:
    said = CliRunner().invoke(program, words).output
    assert "\\x" in said
    assert not RAW.search(said)


def test_errors_and_warnings_are_safe_wherever_they_are_shown() -> None:
    assert str(IcpError("a\x1b[2Jb", found="\x1b")) == "a\\x1b[2Jb"
    assert IcpError("a", found="\x1b").found == "\x1b"
    assert str(InputWarning("a\u2028b")) == "a\\u2028b"


def test_words_of_conditions_are_one_line_without_control_characters() -> None:
    said = Predicate("a\nb\x1b[31m", "in", ("x\u202e", "y\x07")).text()
    assert said == "a\\nb\\x1b[31m is x\\u202e or y\\x07"


def test_markdown_shows_names_and_no_line_ends_a_block() -> None:
    hostile = "![x](http://evil/?a) <script>alert(1)</script> [b](javascript:c) `d` | e\n# f"
    safe = markdown_safe(hostile)
    assert not re.search(r"(?<!\\)[\[\]()`|#!]|[<>\n]", safe)
    lines = fenced(f"```\n{hostile}\n``````\n").splitlines()
    assert lines[0] == lines[-1] == "`" * 7
    assert not [line for line in lines[1:-1] if line.strip().startswith(lines[0])]
    cut = shortened("a" * 9_000, 5_000)
    assert (cut[-5:], len(cut)) == ("aa...", 5_000)
