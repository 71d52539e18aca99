"""Viewers of the sets: a window with a list, and slices of the item chosen in it."""

from __future__ import annotations

from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer
from tomo.objects import SetOfSubTomograms, SetOfTomograms, SetOfTomoMasks

from isonet_scipion.engine.io.confidence_file import confidence_path
from isonet_scipion.viewers.previews import COVER, previews

NOTHING_YET = "The set is empty: there is nothing to show yet.", "Empty set"


class ViewerIsoNetTomograms(Viewer):
    """Central slices of tomograms, with the mask outlined if it is a set of masks.

    Its name keeps it behind tomo's own viewer in the list that Scipion sorts by class name.
    """

    _name = "IsoNet slices"
    _environments = [DESKTOP_TKINTER]
    _targets = [SetOfTomograms, SetOfTomoMasks]

    def _visualize(self, obj: SetOfTomograms, **kwargs: object) -> list[View]:
        from isonet_scipion.viewers.browser import BrowserView, Slider

        items = previews(obj, self.getProject())
        if not items:
            return [self.infoMessage(*NOTHING_YET)]
        sliders = [Slider("height", "Height in the tomogram (%)", 0, 100, 1, 50)]
        hint = "Slices in xy and xz. Protein is dark."
        if any(confidence_path(item.getFileName()).exists() for item in obj):
            sliders.append(Slider("cover", "Colour of the confidence (%)", 0, 100, 5, COVER))
            hint += " Green: what was filled in is expected to be right; red: not."
        return [BrowserView(self.getTkRoot(), self._name, hint, items, sliders)]


class ViewerIsoNetSubtomograms(Viewer):
    """Central slices of subtomograms, tomogram by tomogram."""

    _name = "IsoNet montage"
    _environments = [DESKTOP_TKINTER]
    _targets = [SetOfSubTomograms]

    def _visualize(self, obj: SetOfSubTomograms, **kwargs: object) -> list[View]:
        from isonet_scipion.viewers.browser import BrowserView

        items = previews(obj, self.getProject())
        if not items:
            return [self.infoMessage(*NOTHING_YET)]
        hint = "Subtomograms should show the sample, not empty ice or gold."
        return [BrowserView(self.getTkRoot(), self._name, hint, items)]
