"""Csv files: rows of the file = rows read + refused, whatever quotes, encodings and cuts they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from icp_ml.data.csvfiles import count_rows, read_csv
from icp_ml.data.tables import read_tables
from icp_ml.errors import TableError

HEAD = "account_id,industry\n"
ROWS = "".join(f"a{i},Retail\n" for i in range(60))


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "accounts.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_rows_inside_a_stray_quote_are_refused_row_by_row(tmp_path: Path) -> None:
    text = (HEAD + ROWS).replace("a5,Retail", 'a5,"Retail').replace("a25,Retail", 'a25,"Retail')
    file = written(tmp_path, text)
    tables, rejects = read_tables(tmp_path)
    assert rejects.counts().to_numpy().tolist() == [["accounts", "stray_quote", 21]]
    assert rejects.frame["account_id"].tolist() == [f"a{i}" for i in range(5, 26)]
    assert rejects.frame["row"].tolist() == list(range(5, 26))
    assert len(tables.accounts) + len(rejects) == rejects.rows_in["accounts"] == 60
    with pytest.raises(TableError, match="quoted cells that hold whole rows, beginning on lines \\[7\\]"):
        count_rows(file)


@pytest.mark.parametrize(
    "cell", ['"c\nd"', '"Dear all,\nthanks"', '"Dear\nJohn, thanks"', '"a\n\nb"', '"one\ntwo\nthree"']
)
def test_quoted_line_ends_are_text(tmp_path: Path, cell: str) -> None:
    file = written(tmp_path, (HEAD + ROWS).replace("a5,Retail", f"a5,{cell}"))
    frame, stray = read_csv(file, "utf-8")
    assert frame["industry"][5] == cell.strip('"')
    assert len(frame) == count_rows(file) == 60
    assert not stray.any()


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, (HEAD + ROWS).replace("a57,Retail", 'a57,"Retail'))
    frame, stray = read_csv(file, "utf-8")
    assert len(frame) == 60
    assert stray.tolist() == [False] * 57 + [True] * 3
    with pytest.raises(TableError, match="lines \\[59\\]"):
        count_rows(file)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])
def test_named_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    written(tmp_path, HEAD + ROWS.replace("a5,", "é5,"), encoding)
    tables, rejects = read_tables(tmp_path, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    assert tables.accounts["account_id"][5] == "é5"
    assert len(rejects) == 0


@pytest.mark.parametrize("encoding", ["klingon", "", "\0", "base64", None, 5])
def test_what_is_no_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    written(tmp_path, HEAD + ROWS)
    with pytest.raises(TableError, match="expected the name of a text encoding"):
        read_tables(tmp_path, encoding=encoding)


def test_zero_bytes_are_no_text(tmp_path: Path) -> None:
    written(tmp_path, HEAD + ROWS + "\0" * 100)
    with pytest.raises(TableError, match="found a zero byte at"):
        read_tables(tmp_path)


def test_parts_of_a_table_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts" / "1.csv").write_text(HEAD + "a,Retail\n")
    (tmp_path / "accounts" / "2.csv").write_text("industry,account_id\nRetail,b\n")
    assert read_tables(tmp_path)[0].accounts["account_id"].tolist() == ["a", "b"]
    (tmp_path / "accounts" / "3.csv").write_text("account_id,industri\nc,Retail\n")
    with pytest.raises(
        TableError, match=r"3.csv has \['industri'\] that 1.csv lacks, and lacks \['industry'\]"
    ):
        read_tables(tmp_path)
