"""The measured table of docs/performance.md, made of the JSON files beside this script.

python experiments/speed/table.py [--write]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOC = HERE.parents[1] / "docs" / "performance.md"
START, END = "<!-- speed: written by experiments/speed/table.py -->", "<!-- end of speed -->"
Row = tuple[str, str, str]


def read(name: str) -> dict[str, Any]:
    file = HERE / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def contributions() -> list[Row]:
    rows: list[Row] = []
    for name, found in read("contributions").items():
        bars = found["bars"]
        top5, compile_seconds = bars["top5_to_predict"], bars["compile_seconds"]
        slower = f"{found['pred_contrib_to_top5']:.0f} ×, {found['shap_to_top5']:.0f} ×"
        rows += [
            (
                f"{name}: score and top 5 to LightGBM's predict",
                f"{found['top5_to_predict']:.2f}",
                f"≤ {top5}",
            ),
            (f"{name}: faster than pred_contrib, shap.TreeExplainer", slower, "≥ 120 ×"),
            (f"{name}: difference to pred_contrib", f"{found['difference']:.0e}", "≤ 1e-10"),
            (f"{name}: 2 threads", f"{found['two_threads_faster']:.2f} ×", "≥ 1.7 ×"),
            (f"{name}: tables made", f"{found['compile_seconds']:.2f} s", f"≤ {compile_seconds:.0f} s"),
            (f"{name}: one row", f"{found['one_row_milliseconds']:.2f} ms", "≤ 2 ms"),
        ]
        if "score_alone_to_contributions" in found:
            alone = found["score_alone_to_contributions"]
            rows.append((f"{name}: score alone to score with contributions", f"{alone:.2f}", ""))
        if "shap_to_interventional" in found:
            faster, apart = found["shap_to_interventional"], found["interventional_difference"]
            rows += [
                (f"{name}: against a background, faster than shap", f"{faster:.0f} ×", "≥ 20 ×"),
                (f"{name}: the same, difference to shap", f"{apart:.0e}", "1e-8"),
            ]
    return rows


def base() -> list[Row]:
    found = read("score_base")
    runs, ratios = found.get("runs", {}), found.get("ratios", {})
    if not runs:
        return []
    two, cold = runs["ours, 2 threads"], runs["ours, cold process, one account"]
    rows = [
        ("1,000,000 accounts from parquet to parquet, 2 threads", f"{two['seconds']:.1f} s", "≤ 20 s"),
        ("the same to read + predict + write (CPU)", f"{ratios['to_floor']:.2f}", "≤ 0.6"),
        ("the same, peak memory", f"{two['peak_mb']:.0f} MB", "≤ 800 MB"),
        (
            "faster than today's way, 100,000 accounts",
            f"{ratios['faster_than_today_at_small_base']:.0f} ×",
            "≥ 50 ×",
        ),
        (
            "2 threads against 1, whole base from a cold process",
            f"{ratios['wall_2_threads_against_1']:.2f} ×",
            "",
        ),
        (
            "the same in one warm process, median of pairs in turns",
            f"{ratios['warm_2_threads_against_1']:.2f} ×",
            "≥ 1.7 ×",
        ),
        ("cold process to first score", f"{cold['seconds']:.1f} s", "≤ 4 s"),
    ]
    for n, run in found.get("memory", {}).items():
        rows.append((f"{int(n):,} accounts, peak memory", f"{run['peak_mb']:.0f} MB", "≤ 800 MB"))
    return rows


def tables() -> list[Row]:
    return [
        (
            f"raw tables: {int(n):,} accounts × {found['technology_rows']:,} technology rows",
            f"{found['seconds'] / 60:.1f} min ({found['cpu_seconds'] / 60:.1f} of CPU), "
            f"{found['peak_gb']:.2f} GB",
            "≤ 20 min, ≤ 8 GB" if int(n) == 10_000_000 else "",
        )
        for n, found in read("tables").items()
        if n.isdigit()
    ]


def rivals() -> list[Row]:
    rows: list[Row] = []
    for model, found in read("rivals").get("models", {}).items():
        for name, own in found.items():
            if "not_measured" in own:
                rows.append((f"{model}: {name}", f"not measured: {own['not_measured']}", ""))
            elif name != "icp_ml":
                sizes = [n for n in own if n.isdigit()]
                said = ", ".join(f"{own[n]['ours_faster']:.0f} × ({int(n):,} rows)" for n in sizes)
                rows.append((f"{model}: faster than {name}", said, "≥ 8 ×"))
    return rows


def spark() -> list[Row]:
    found = read("spark")
    if not found:
        return []
    same = "same bytes" if found["same_bytes"] else "OTHER BYTES"
    return [
        ("local Spark to the local path, one core", f"{found['spark_to_local']:.2f} ×, {same}", "≥ 0.6 ×")
    ]


def text() -> str:
    rows = [*contributions(), *base(), *tables(), *rivals(), *spark()]
    lines = [f"| {line} | {figure} | {bar} |" for line, figure, bar in rows]
    return "\n".join([START, "| line | measured | bar |", "|---|---|---|", *lines, END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    print(text())
    if args.write:
        doc = DOC.read_text(encoding="utf-8")
        before, after = doc[: doc.index(START)], doc[doc.index(END) + len(END) :]
        DOC.write_text(before + text() + after, encoding="utf-8")


if __name__ == "__main__":
    main()
