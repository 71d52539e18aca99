"""Viewers of the plugin's own objects."""

from isonet_scipion.viewers.viewer_model import IsoNetModelViewer

__all__ = ["IsoNetModelViewer"]
