"""A screen of the test's own (Xvfb), and Scipion's windows on it, used as a person would."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
import tkinter as tk
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import ImageGrab
from pyworkflow.gui.dialog import RESULT_CANCEL, Dialog

SIZE = (1360, 960)
PATIENCE = 120  # seconds
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def startScreen() -> str:
    """Start Xvfb on a free display; returns its name, such as :99.

    It ends with this process, not before: Tk keeps its connection, and would end the process if the screen went first.
    """
    reading, writing = os.pipe()
    prctl = ctypes.CDLL(None).prctl
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "{}x{}x24".format(*SIZE), "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()  # written once the server takes connections
    if not number:
        raise RuntimeError(f"Xvfb ended with status {server.wait()}")
    return f":{number}"


def waitFor(
    root: tk.Misc, what: str, condition: Callable[[], object], seconds: float = PATIENCE, pause: float = 0.02
) -> object:
    """Let the windows work until a condition, asked every `pause` seconds, holds; returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        root.update()
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def photograph(window: tk.Misc, path: Path) -> Path:
    """Save a picture of a window as it is on the screen."""
    window.winfo_toplevel().geometry("+0+0")
    window.lift()
    waitFor(window, "the window is on the screen", window.winfo_viewable)
    for _ in range(3):  # drawing may ask for more drawing
        window.update()
    x, y = window.winfo_rootx(), window.winfo_rooty()
    box = (x, y, x + window.winfo_width(), y + window.winfo_height())
    ImageGrab.grab(bbox=box, xdisplay=os.environ["DISPLAY"]).quantize(128).save(path, optimize=True)
    return path


def descendants(widget: tk.Misc) -> Iterator[tk.Misc]:
    """All widgets inside one."""
    for child in widget.winfo_children():
        yield child
        yield from descendants(child)


def button(widget: tk.Misc, text: str) -> tk.Button:
    """The button with a text inside a widget, which must be there."""
    buttons = [child for child in descendants(widget) if isinstance(child, tk.Button)]
    found = [child for child in buttons if child.cget("text") == text]
    assert found, f"no button {text}, only {[child.cget('text') for child in buttons]}"
    return found[0]


@contextmanager
def answering(root: tk.Misc, answer: Callable[[Dialog], None], isOptional: bool = False) -> Iterator[None]:
    """Give the next dialog that opens, which holds up its caller, to a function; the dialog is closed after it.

    Raises
    ------
    AssertionError
        What the function raised; or where no dialog opened, unless that `isOptional`.
    """
    problems: list[BaseException] = []
    seen: list[Dialog] = []
    asked: list[str] = []

    def look() -> None:
        dialogs = [widget for widget in descendants(root) if isinstance(widget, Dialog) and widget.winfo_viewable()]
        if not dialogs or dialogs[-1] not in seen:
            seen.extend(dialogs)
            # the screen's answer comes behind the news that the dialog is visible, for which its opening waits
            root.winfo_pointerxy()
            pending.append(root.after(50, look))
            return
        asked.append(dialogs[-1].title())
        try:
            answer(dialogs[-1])
        except BaseException as problem:  # Tk would only print it
            problems.append(problem)
        finally:
            if dialogs[-1].winfo_exists():
                dialogs[-1]._handleResult(RESULT_CANCEL)

    pending = [root.after(50, look)]
    yield
    root.after_cancel(pending[-1])
    if problems:
        raise problems[0]
    assert asked or isOptional, "no dialog opened"


def refuse(dialog: Dialog) -> None:
    """The answer to a dialog that should not be there."""
    texts = [widget.get("1.0", tk.END) for widget in descendants(dialog) if isinstance(widget, tk.Text)]
    raise AssertionError(f"{dialog.title()}: {' '.join(texts)}")


def doubleClick(tree: tk.Misc, item: str) -> None:
    """Double-click a row of a tree."""
    tree.see(item)
    tree.update()
    x, y, width, height = tree.bbox(item)
    for _ in range(2):
        for event in ("<ButtonPress-1>", "<ButtonRelease-1>"):
            tree.event_generate(event, x=x + width // 2, y=y + height // 2)
    tree.update()
