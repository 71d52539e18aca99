"""Wizards: the wand beside a form's parameter."""

from isonet_scipion.wizards.cube_size import IsoNetCubeSizeWizard
from isonet_scipion.wizards.deconvolution import IsoNetDeconvWizard
from isonet_scipion.wizards.mask import IsoNetMaskWizard
from isonet_scipion.wizards.tilt_range import IsoNetTiltRangeWizard

__all__ = ["IsoNetCubeSizeWizard", "IsoNetDeconvWizard", "IsoNetMaskWizard", "IsoNetTiltRangeWizard"]
