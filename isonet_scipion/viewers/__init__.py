"""Viewers of the plugin's protocols and objects."""

from isonet_scipion.viewers.viewer_model import IsoNetModelViewer
from isonet_scipion.viewers.viewer_protocols import (
    IsoNetDeconvViewer,
    IsoNetExtractViewer,
    IsoNetMaskViewer,
    IsoNetPredictViewer,
)
from isonet_scipion.viewers.viewer_sets import ViewerIsoNetSubtomograms, ViewerIsoNetTomograms
from isonet_scipion.viewers.viewer_training import IsoNetOnePassViewer, IsoNetRefineViewer

__all__ = [
    "IsoNetDeconvViewer",
    "IsoNetExtractViewer",
    "IsoNetMaskViewer",
    "IsoNetModelViewer",
    "IsoNetOnePassViewer",
    "IsoNetPredictViewer",
    "IsoNetRefineViewer",
    "ViewerIsoNetSubtomograms",
    "ViewerIsoNetTomograms",
]
