"""A window with a list of items, a picture of the chosen one, and sliders that change it."""

from __future__ import annotations

import tkinter as tk
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyworkflow.gui.dialog import RESULT_CANCEL, RESULT_CLOSE, RESULT_YES, Dialog
from pyworkflow.gui.matplotlib_image import FigureFrame
from pyworkflow.gui.tree import BoundTree, ListTreeProviderString
from pyworkflow.gui.widgets import LabelSlider
from pyworkflow.object import String
from pyworkflow.viewer import View

from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from isonet_scipion.viewers.previews import Preview

PAUSE = 150  # ms without a change before the picture is drawn anew
DPI = 100


@dataclass(frozen=True)
class Slider:
    """One number that the user changes."""

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float

    def at(self, place: float) -> float:
        """The number of a place on the scale, which has steps: the slider's own at that nearest to it."""
        return self.value if abs(place - self.value) <= self.step / 2 else place


class BrowserDialog(Dialog):
    """The window. It blocks until it is closed; `resultYes()` tells whether the user took the values.

    Parameters
    ----------
    parent : tkinter widget
    title : str
    hint : str
        What to look for.
    items : mapping
        What the list shows -> function that makes its preview; may raise an EngineError.
    sliders : sequence of Slider
    canSelect : bool
        Whether there is a button to take the values.
    size : (float, float)
        Of the picture, in inches.
    """

    def __init__(
        self,
        parent: tk.Misc,
        title: str,
        hint: str,
        items: Mapping[str, Callable[[], Preview]],
        sliders: Sequence[Slider] = (),
        canSelect: bool = False,
        size: tuple[float, float] = (7, 5.6),
    ) -> None:
        self._hint, self._items, self._sliders, self._size = hint, items, sliders, size
        self._name, self._pending = "", None
        self.preview: Preview | None = None
        self.scales: dict[str, LabelSlider] = {}
        buttons = [("Select", RESULT_YES), ("Cancel", RESULT_CANCEL)] if canSelect else [("Close", RESULT_CLOSE)]
        super().__init__(parent, title, buttons=buttons, default=buttons[0][0])

    def values(self) -> dict[str, float]:
        """The sliders' values by name; where one was not moved, its own, which may lie between two steps."""
        return {slider.name: slider.at(self.scales[slider.name].get()) for slider in self._sliders}

    def status(self) -> str:
        """The line below the picture."""
        return self._status.get()

    def choose(self, name: str) -> None:
        """Show this item of the list."""
        if name != self._name:
            self._name = name
            self._load()

    def body(self, master: tk.Frame) -> None:
        """Called by Scipion's Dialog to fill the window."""
        tk.Label(master, text=self._hint, justify=tk.LEFT, wraplength=DPI * self._size[0]).grid(
            row=0, column=0, columnspan=2, sticky="w", padx=5, pady=5
        )
        names = tk.Frame(master)
        names.grid(row=1, column=0, sticky="news", padx=5)
        names.rowconfigure(0, weight=1)
        provider = ListTreeProviderString([String(name) for name in self._items])
        provider.getColumns = lambda: [("Tomogram", 150)]
        tree = BoundTree(names, provider)
        tree.itemClick = lambda item: self.choose(item.get())
        self._frame = FigureFrame(master, figsize=self._size, dpi=DPI, layout="constrained")
        self._frame.grid(row=1, column=1, padx=5)
        self._status = tk.StringVar()
        tk.Label(master, textvariable=self._status, justify=tk.LEFT, wraplength=DPI * self._size[0]).grid(
            row=2, column=1, sticky="w", padx=5
        )
        width = max([len(slider.label) for slider in self._sliders], default=0) + 3
        for row, slider in enumerate(self._sliders, 3):
            self.scales[slider.name] = LabelSlider(
                master,
                slider.label,
                min(slider.low, slider.value),
                max(slider.high, slider.value),
                slider.value,
                self._changed,
                slider.step,
                length=350,
                labelWidth=width,
            )
            self.scales[slider.name].grid(row=row, column=1, sticky="w")
        self.choose(next(iter(self._items)))
        tree.selectChildByIndex(0)

    def _load(self) -> None:
        self.preview = None
        try:
            self.preview = self._items[self._name]()
        except EngineError as error:
            self._frame.figure.clear()
            self._frame.canvas.draw()
            self._status.set(str(error))
        else:
            self._draw()

    def _changed(self, *args: object) -> None:
        if self._pending is not None:
            self.after_cancel(self._pending)
        self._pending = self.after(PAUSE, self._draw)

    def _draw(self) -> None:
        self._pending = None
        if self.preview is None:
            return
        self._frame.figure.clear()
        try:
            self._status.set(self.preview.draw(self._frame.figure, self.values()))
        except EngineError as error:
            self._status.set(str(error))
        self._frame.canvas.draw()


@dataclass
class BrowserView(View):
    """A BrowserDialog to look at things only."""

    parent: tk.Misc
    title: str
    hint: str
    items: Mapping[str, Callable[[], Preview]]
    sliders: Sequence[Slider] = ()

    def show(self) -> None:
        BrowserDialog(self.parent, self.title, self.hint, self.items, self.sliders)
