"""The documentation runs: sessions as doctests, other python compiles, links lead somewhere."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")], key=str)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions_give_what_the_page_says(page):
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")

    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_other_python_compiles_and_uses_public_names_only(page):
    import icp_ml

    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        if ">>>" in block:
            continue
        for node in ast.walk(ast.parse(block)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "icp"
            ):
                assert node.attr in icp_ml.__all__, node.attr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_prints_what_was_measured():
    spec = importlib.util.spec_from_file_location("table", ROOT / "experiments" / "truth" / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    printed = readme.split(table.BEGIN)[1].split(table.END)[0].strip()
    assert printed == table.text()
    assert "| top 10 by mean abs. SHAP, default LightGBM | 1.000" in printed
    assert "any trait, null, n 300" in printed
