"""Print the README's tables from the results that lie here; --write puts them into the README.

python experiments/truth/table.py [--write]
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- truth: written by experiments/truth/table.py -->", "<!-- end of truth -->"

NULL_CELLS = (
    "null, n 300",
    "null, n 1,000",
    "null, n 3,000",
    "null, missing not at random",
    "null, 4 snapshots an account",
)
#: Line of the table, cell, figure, and the least or most it should be.
LINES = (
    ("planted traits found, n = 400", "signal, n 400", "recall", "≥ .36"),
    ("by an oracle that needn't search for the conditions", "signal, n 400", "recall_of_an_oracle", ""),
    ("planted traits found, n = 1,000", "signal, n 1,000", "recall", "≥ .84"),
    ("by the same oracle", "signal, n 1,000", "recall_of_an_oracle", ""),
    ("planted traits found, n = 3,000", "signal, n 3,000", "recall", "≥ .95"),
    (
        "claims that are planted traits (proxies count as wrong)",
        "signal, n 1,000",
        "strict_precision",
        "≥ .80",
    ),
    ("sign right", "signal, n 1,000", "sign", "≥ .99"),
    ("overlap with the planted members (Jaccard, mean)", "signal, n 1,000", "jaccard_mean", "≥ .85"),
    ("lift: bias in points", "signal, n 1,000", "lift_bias_points", "≤ 1"),
    ("lift: 90 % interval holds the truth", "signal, n 1,000", "lift_coverage", ".85-.95"),
    ("the same for the top trait", "signal, n 1,000", "top_lift_coverage", ".85-.95"),
    ("segments: overlap with the planted members", "signal, n 1,000", "segment_own_jaccard_mean", "≥ .70"),
    ("segments: bias of the lift in points", "signal, n 1,000", "segment_lift_bias_points", "≤ 1"),
    ("proxies labelled", "signal, n 1,000", "proxies_labelled", "≥ .70"),
    ("planted traits not taken for proxies", "signal, n 1,000", "planted_kept", "≥ .80"),
    ("confounded column labelled", "signal, n 1,000", "confounded_labelled", "≥ .90"),
    ("lift only inside one conjunction: found", "interaction only", "segment_found", "≥ .60"),
)
#: Rivals' columns: title, cell, figure.
RIVAL_COLUMNS = (
    ("any trait on noise", "null", "any_reported"),
    ("planted found", "signal", "recall"),
    ("claims right", "signal", "strict_precision"),
    ("proxies labelled", "signal", "proxies_labelled"),
)
RIVALS = {
    "shap": "top 10 by mean abs. SHAP, default LightGBM",
    "thresholds": "best threshold per column + BH, same data",
    "univariate": "univariate tests + BH",
    "stability": "stability selection, L1",
    "ipss": "IPSS, boosting, FDR .10",
    "ipss_l1": "IPSS, L1, FDR .10",
    "ebm": "EBM, top 10 terms",
    "pysubgroup": "pysubgroup, best 5",
}


def read(name: str) -> dict[str, Any]:
    """Return a result that lies beside this file; empty when it doesn't."""
    file = HERE / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def short(value: Any) -> str:
    """Write ``0.812 [0.776, 0.844] n=360`` without leading zeros, numbers plainly."""
    return re.sub(r"(?<![\d.])0\.(?=\d)", ".", str(value)) if value is not None else "-"


def ours(cells: dict[str, Any]) -> list[str]:
    lines = ["| measure | figure [90 % interval] | bar |", "|---|---|---|"]
    for name in NULL_CELLS:
        if name in cells:
            lines.append(f"| any trait, {name} | {short(cells[name]['any_reported'])} | ≤ .12 |")
    for title, cell, figure, bar in LINES:
        if cell in cells:
            lines.append(f"| {title} | {short(cells[cell].get(figure))} | {bar} |")
    return lines


#: Figures of the signal cells of ageing.py, with their bars where n is 1,000.
AGEING = (
    ("planted traits found", "recall", {400: "≥ .36", 1000: "≥ .84", 3000: "≥ .97"}),
    ("claims that are planted traits", "strict_precision", {1000: "≥ .85"}),
    ("sign right", "sign", {1000: "≥ .99"}),
    ("lift: 90 % interval holds the truth", "lift_coverage", {400: ".85-.95", 1000: ".85-.95"}),
)


def judged(figure: str, bar: str) -> str:
    """Return a bar, marked where the figure misses it."""
    if not bar:
        return ""
    value, ends = float(figure.split(" ")[0]), [float(end) for end in re.findall(r"\.\d+", bar)]
    met = (
        ends[0] <= value <= ends[-1]
        if len(ends) == 2
        else value >= ends[0]
        if "≥" in bar
        else value <= ends[0]
    )
    return bar if met else f"{bar}, **missed**"


def ageing(found: dict[str, Any]) -> list[str]:
    """Write the cells of ageing.py that were run; the others aren't claimed."""
    lines = ["| measure | accounts, snapshots | figure [90 % interval] | bar |", "|---|---|---|---|"]
    for name, figures in found.items():
        if name.startswith("null, "):
            where = name.removeprefix("null, n ").replace(", ", " accounts, ", 1)
            lines.append(f"| any trait on noise | {where} | {short(figures['any_reported'])} | ≤ .12 |")
    for title, key, bars in AGEING:
        for name, figures in found.items():
            if name.startswith("signal, ") and key in figures:
                where = name.removeprefix("signal, n ").replace(", ", " accounts, ", 1)
                n = int(where.split(" ")[0].replace(",", ""))
                lines.append(
                    f"| {title} | {where} | {short(figures[key])} | {judged(figures[key], bars.get(n, ''))} |"
                )
    return lines


def rivals(found: dict[str, Any], cells: dict[str, Any]) -> list[str]:
    lines = ["| | " + " | ".join(title for title, _, _ in RIVAL_COLUMNS) + " |", "|---|---|---|---|---|"]
    mine = {"null": cells.get("null, n 1,000", {}), "signal": cells.get("signal, n 1,000", {})}
    for title, figures in [("**icp_ml**", mine)] + [
        (RIVALS[name], found[name]) for name in RIVALS if name in found
    ]:
        row = [short(figures.get(cell, {}).get(key)) for _, cell, key in RIVAL_COLUMNS]
        lines.append(f"| {title} | " + " | ".join(row) + " |")
    return lines


def real(found: dict[str, Any]) -> list[str]:
    names = {"telco": "Telco 2018", "saas": "SaaS simulation", "bank": "bank marketing without call duration"}
    lines = [
        "| | accounts a half | confirmed on the other half | any trait, labels shuffled |",
        "|---|---|---|---|",
    ]
    for key, title in names.items():
        if key in found:
            row = found[key]
            lines.append(
                f"| {title} | {row['accounts_a_half']:,} | {short(row['confirmed'])} | "
                f"{short(row['permuted_any_trait'])} |"
            )
    return lines


def text() -> str:
    """Return everything between the markers."""
    cells = read("result.json").get("cells", {})
    parts = [
        "n = 1,000 accounts, 15 % churn, q = .10, unless said; `make truth` prints these figures. **The "
        "table on accounts that grow older is of today; the others were measured before traits were judged "
        "within risk sets (decision 018) and are still to be run again.**",
        "\n".join(ours(cells)),
        "Accounts that grow older: founding dates, tools taken up and given up, growing head counts, "
        "contracts of a month to three years, rates of leaving that fall with tenure (`truth/ageing.py`; "
        "cells that aren't listed weren't run):",
        "\n".join(ageing(read("ageing.json"))),
        "The same kind of worlds, n = 1,000, judged the same way (`truth/rivals.py`, seeds from 5,000):",
        "\n".join(rivals(read("rivals.json"), cells)),
        "Real data, random halves (`experiments/truth/real.py`):",
        "\n".join(real(read("real.json"))),
    ]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    args = parser.parse_args()
    print(text())
    if args.write:
        before, rest = README.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        README.write_text(f"{before}{BEGIN}\n{text()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
