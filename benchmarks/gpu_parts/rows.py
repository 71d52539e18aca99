"""Rows of the tables: handed on by a part, shown by the command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import numpy as np

COLUMNS = {
    "kernels": ("backend", "kernel", "format", "ms", "TFLOP/s", "GB/s"),
    "training": (
        "backend", "GPUs", "method", "cube", "format", "batch", "steps/s", "cubes/s", "waits", "busy", "TFLOP/s",
        "of peak", "first step s",
    ),
    "stages": ("backend", "what", "seconds", "CPU s", "MiB", "busy", "where the time goes (s)"),
    "scene": ("backend", "what", "seconds", "wedge CC", "wedge CC of the input", "measured CC"),
}  # fmt: skip
ROW = "ROW "  # how a line of output begins that is one


def emit(part: str, **cells: object) -> None:
    """Hand a row to the process that makes the table."""
    print(ROW + json.dumps({"part": part, **cells}), flush=True)


def emitted(output: Iterable[str]) -> Iterator[dict]:
    """The rows among the lines of a part's output."""
    for text in output:
        if text.startswith(ROW):
            yield json.loads(text[len(ROW) :])


def cell(value: object) -> str:
    """A value as the table shows it."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return "" if np.isnan(value) or value == 0 else f"{value:.3g}"


def line(row: dict) -> str:
    """A row in Markdown."""
    cells = {**row, **{name: f"{row[name]:.0%}" for name in ("waits", "busy", "of peak") if is_number(row.get(name))}}
    return "| " + " | ".join(cell(cells.get(column)) for column in COLUMNS[row["part"]]) + " |"


def is_number(value: object) -> bool:
    """Whether a cell holds a number."""
    return isinstance(value, float) and not np.isnan(value)


def with_peak(row: dict, rows: list[dict]) -> dict:
    """A training's row with the share of the peak, as the product of matrices in its format measured it."""
    format_ = row.get("format", "").replace("mixed_", "")
    peaks = [
        other["TFLOP/s"] for other in rows
        if other["part"] == "kernels" and other["kernel"].startswith("matrix") and other["format"] == format_
        and is_number(other.get("TFLOP/s"))
    ]  # fmt: skip
    if row["part"] == "training" and peaks and is_number(row.get("TFLOP/s")):
        row["of peak"] = row["TFLOP/s"] / max(peaks) / max(1, row["GPUs"])
    return row


def header(part: str) -> list[str]:
    """Title and head of a part's table."""
    columns = COLUMNS[part]
    return ["", f"## {part.capitalize()}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
