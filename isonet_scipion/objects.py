"""The trained model as a Scipion object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwem.objects import EMObject
from pyworkflow.object import Boolean, Float, Integer, String

if TYPE_CHECKING:
    from isonet_scipion.engine.io.model_metadata import ModelMetadata


class IsoNetModel(EMObject):
    """A network that fills the missing wedge, and what it was trained on.

    Anything but the file may be unknown (None): models of IsoNet 0.2 say nothing about their training.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._filename = String()
        self._historyFile = String()  # losses of every epoch
        self._samplingRate = Float()  # A
        self._tiltMin = Float()  # degrees
        self._tiltMax = Float()
        self._cubeSize = Integer()  # voxels
        self._iteration = Integer()
        self._normalizePercentile = Boolean()
        self._ctfCorrected = Boolean()  # of the tomograms
        self._ctfAware = Boolean()

    def getFileName(self) -> str:
        return self._filename.get()

    def setFileName(self, path: str) -> None:
        self._filename.set(path)

    def getFiles(self) -> set[str]:
        return {path for path in (self.getFileName(), self.getHistoryFile()) if path}

    def getHistoryFile(self) -> str | None:
        """The table losses.csv of the training."""
        return self._historyFile.get()

    def setHistoryFile(self, path: str) -> None:
        self._historyFile.set(path)

    def getSamplingRate(self) -> float | None:
        return self._samplingRate.get()

    def setSamplingRate(self, samplingRate: float | None) -> None:
        self._samplingRate.set(samplingRate)

    def getTiltRange(self) -> tuple[float | None, float | None]:
        return self._tiltMin.get(), self._tiltMax.get()

    def getCubeSize(self) -> int | None:
        return self._cubeSize.get()

    def getIteration(self) -> int | None:
        return self._iteration.get()

    def ctfCorrected(self) -> bool | None:
        """Whether it was trained on tomograms with their CTF corrected."""
        return self._ctfCorrected.get()

    def isCtfAware(self) -> bool:
        """Whether it undoes the CTF, of tomograms as they are."""
        return bool(self._ctfAware.get())

    def setMetadata(self, metadata: ModelMetadata) -> None:
        """Take over what a model file says of itself (`isonet_scipion.engine.network.model_file.read_metadata`)."""
        self._samplingRate.set(metadata.voxel_size)
        self._tiltMin.set(metadata.tilt_min)
        self._tiltMax.set(metadata.tilt_max)
        self._cubeSize.set(metadata.cube_size)
        self._iteration.set(metadata.iteration)
        self._normalizePercentile.set(metadata.normalize_percentile)
        self._ctfCorrected.set(metadata.deconvolved)
        self._ctfAware.set(metadata.ctf_aware)

    def __str__(self) -> str:
        known = [
            (self.getSamplingRate(), "{:.2f} Å/px"),
            (self.getCubeSize(), "cube {}"),
            (self.getIteration(), "iteration {}" if self.getIteration() else "iteration {}, before the training"),
        ]
        facts = ", ".join(text.format(value) for value, text in known if value is not None)
        return f"{self.getClassName()} ({facts or 'training unknown'})"
