"""Reports as single HTML pages that need no network: names are escaped."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from isonet_scipion.engine.conventions import REPORT_PAGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import in_turn, read_own_file, require_file, write_whole

MOST_PAGE = 1 << 30  # bytes
MOST_PICTURE = 64 << 20  # bytes

STYLE = """
body { font: 16px/1.5 sans-serif; color: #222; max-width: 1250px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { margin-top: 2em; border-top: 1px solid #ccc; padding-top: 1em; }
.cards { display: flex; flex-wrap: wrap; gap: 1em; margin: 1em 0; }
.card { background: #f2f5f8; border-radius: 8px; padding: .7em 1.1em; flex: 1 1 13em; }
.card b { display: block; font-size: 1.9em; line-height: 1.25; } .card small { color: #555; }
.mark { border-left: 6px solid; padding-left: .6em; }
.verdict { font-size: 1.15em; padding: .6em 1em; border-left: 6px solid #888; background: #f7f7f7; }
.good { border-color: #2a8c4a; } .fair { border-color: #d9a400; } .poor { border-color: #c0392b; }
img { width: 100%; } table { border-collapse: collapse; } td, th { padding: .2em .8em; text-align: left; }
tr:nth-child(even) { background: #f2f5f8; }
h1, h2, p small { white-space: pre-wrap; }
"""


def require_own_page(folder: str | os.PathLike[str]) -> None:
    """Raise an EngineError if a folder holds a page of another program's, which would be replaced."""
    path = Path(folder) / REPORT_PAGE
    if os.path.lexists(path) and not has_own_page(folder):
        raise EngineError(str(path), "it is there already, and no page of this program", "Give another folder.")


def has_own_page(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a page that this program wrote."""
    path = Path(folder) / REPORT_PAGE
    # the style is in each of ours
    return os.path.lexists(path) and STYLE.strip().splitlines()[0].encode() in read_own_file(path, MOST_PAGE)


def write_page(path: Path, title: str, sections: list[str]) -> Path:
    """Write a page of HTML sections; several processes may write it at once."""
    body = "\n".join(sections)
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )
    with in_turn(path.parent):
        write_whole(path, text, since=False)
    return path


def image(path: Path, description: str) -> str:
    """A PNG file as an HTML element with the picture inside."""
    data = base64.b64encode(read_own_file(path, MOST_PICTURE)).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def image_beside(path: Path, description: str) -> str:
    """The same of a page in the picture's folder, to which it links."""
    name = quote(require_file(path, "picture").name)
    return f'<img alt="{html.escape(description)}" src="{name}" loading="lazy">'


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML."""
    header = "".join(f"<th>{title}</th>" for title in titles)
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return f"<table><tr>{header}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def card(label: str, value: str, note: str) -> str:
    """A number with its name and a remark."""
    label, value, note = (html.escape(text) for text in (label, value, note))
    return f'<div class="card">{label}<b>{value}</b><small>{note}</small></div>'
