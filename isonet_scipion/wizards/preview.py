"""Opening a preview from a form, and taking its values over into the form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from isonet_scipion.convert.sets import enabled
from isonet_scipion.protocols.form import valueErrors
from isonet_scipion.protocols.linked_inputs import linkErrors
from isonet_scipion.protocols.set_checks import idErrors

if TYPE_CHECKING:
    from pyworkflow.gui.form import FormWindow
    from pyworkflow.protocol import Protocol
    from tomo.objects import Tomogram

    from isonet_scipion.viewers.browser import Slider
    from isonet_scipion.viewers.previews import Preview


def showPreview(
    form: FormWindow,
    title: str,
    hint: str,
    load: Callable[[Protocol, Tomogram], Preview],
    fields: Sequence[str],
    sliders: Sequence[Slider],
    size: tuple[float, float] = (7, 5.6),
) -> None:
    """Show the input tomograms with sliders for parameters of the form, which get the values that the user selects.

    Parameters
    ----------
    form : FormWindow
        Of a protocol with inputTomograms.
    title, hint : str
        Of the window.
    load : callable
        Makes the preview of one tomogram.
    fields : sequence of str
        Parameters that it uses, besides the sliders'.
    sliders : sequence of Slider
        Named as the parameters; their values are for parameters that are empty, or hold what is not legal.
    size : (float, float)
        Of the picture, in inches.
    """
    from isonet_scipion.viewers.browser import BrowserDialog

    protocol = form.protocol
    tomograms = protocol.inputTomograms.get()
    if tomograms is None:
        form.showInfo("Select the tomograms first.")
        return
    errors = linkErrors(protocol) or idErrors("Tomograms", tomograms) or valueErrors(protocol, fields)
    if errors:
        form.showInfo("\n".join(errors))
        return
    items = {tomogram.getTsId(): partial(load, protocol, tomogram.clone()) for tomogram in enabled(tomograms)}
    if not items:
        form.showInfo("The set of tomograms is empty, or all are disabled: there is nothing to show.")
        return
    sliders = [_filled(slider, protocol) for slider in sliders]
    dialog = BrowserDialog(form.root, title, hint, items, sliders, canSelect=True, size=size)
    if dialog.resultYes():
        for name, value in dialog.values().items():
            form.setVar(name, value)


def _filled(slider: Slider, protocol: Protocol) -> Slider:
    """A slider with the form's value, where that is legal."""
    value = getattr(protocol, slider.name).get()
    isLegal = value is not None and not valueErrors(protocol, [slider.name])
    return replace(slider, value=value) if isLegal else slider
