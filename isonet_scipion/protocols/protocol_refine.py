"""Training of the network on subtomograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyworkflow.protocol.params import IntParam

from isonet_scipion.constants import CUBE_SIZE_ATTRIBUTE
from isonet_scipion.convert.sets import sidesOf
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning.noise_schedule import adds_noise, late_noise
from isonet_scipion.engine.network.model_file import read_metadata
from isonet_scipion.engine.sampling.crops import usual_cube_size
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.engine.settings.option import options
from isonet_scipion.engine.settings.training import IterativeSettings
from isonet_scipion.engine.wording import counted
from isonet_scipion.protocols.form import numbers
from isonet_scipion.protocols.training_base import ProtIsoNetTraining, methodCitations
from isonet_scipion.protocols.training_errors import subtomogramErrors
from isonet_scipion.protocols.training_form import addIterativeTraining, addNetwork, addSubtomograms
from isonet_scipion.protocols.training_tables import subtomogramRows

if TYPE_CHECKING:
    from pyworkflow.object import Pointer
    from pyworkflow.protocol import Form

    from isonet_scipion.engine.io.star import Star
    from isonet_scipion.engine.measure.history import EpochRecord

ONE_PASS = 1  # as `method` of version 1.0.0, which had one protocol for both methods
OF_ONE_PASS = (
    "This is a one-pass training of version 1.0.0, and that is a protocol of its own now: it can be neither continued, "
    "restarted nor copied. Make a new *train (one-pass)* with its inputs. What it trained is used as before."
)


class ProtIsoNetRefine(ProtIsoNetTraining):
    """Train a network that fills the missing wedge, on subtomograms of the data themselves.

    Each iteration estimates the missing information of every subtomogram with the network so far, and trains on rotated
    copies from which the information of the missing wedge is taken away again. The losses should fall quickly at first
    and then slowly; where noise is added (iterations 11, 16, 21 and 26 by default) they rise once.
    """

    _label = "train (iterative)"
    settings = IterativeSettings
    items = "subtomograms"
    table = "subtomo.star"

    def _addInput(self, form: Form) -> None:
        addSubtomograms(form)
        # read from the projects and workflows of version 1.0.0, nowhere set
        form.addHidden("method", IntParam, default=0)

    def _addTraining(self, form: Form) -> None:
        addIterativeTraining(form)
        addNetwork(form)

    def _input(self) -> Pointer:
        return self.inputSubtomograms

    def _rows(self, isPlaced: bool = True) -> list[dict[str, str]]:
        return subtomogramRows(self, self._cubeSize(), self._cropSize(), isPlaced)

    def _options(self) -> dict[str, object]:
        given = super()._options()
        # a model brings its network's shape along
        left = options(NetworkSettings) if self._startsFromModel() else ()
        return {name: value for name, value in given.items() if name not in left}

    def _setErrors(self) -> list[str]:
        return subtomogramErrors(self)

    def _warnings(self) -> list[str]:
        schedule = numbers(self.noiseLevel.get()), numbers(self.noiseStartIter.get(), int), self.iterations.get()
        late = late_noise(*schedule)
        if not late:
            return super()._warnings()
        told = ", ".join(f"{level:g} (iteration {start})" for level, start in late)
        words = f"*Noise levels*: not reached within {counted(self.iterations.get(), 'iterations')}: {told}."
        if not adds_noise(*schedule):
            words += " The network will fill the wedge, but not remove noise."
        return [*super()._warnings(), words]

    def _inputErrors(self) -> list[str]:
        return [OF_ONE_PASS] if self._wasOnePass() else super()._inputErrors()

    def _wasOnePass(self) -> bool:
        return self.method == ONE_PASS

    def _table(self) -> str:
        return self._getExtraPath("tomograms.star") if self._wasOnePass() else super()._table()

    def _citations(self) -> list[str]:
        return methodCitations(isOnePass=self._wasOnePass(), isCtfAware=False)

    def _progress(self, history: list[EpochRecord]) -> list[str]:
        if not self._wasOnePass():
            return super()._progress(history)
        return [f"{counted(history[-1].iteration, 'iterations')} were begun."] if history else []

    def _cropSize(self) -> int:
        return sidesOf(self.inputSubtomograms.get())[0]

    def _cubeSize(self) -> int:
        first = next(self._learned()).clone()
        return self.cubeSize.get() or first.getAttributeValue(CUBE_SIZE_ATTRIBUTE) or usual_cube_size(self._cropSize())

    def _learnedFrom(self, table: Star) -> list[str]:
        if self._wasOnePass():
            return [f"One-pass, by version 1.0.0, on {counted(len(table.rows), 'tomograms')}."]
        return [f"{counted(len(table.rows), 'subtomograms')}, cubes of {table.rows[0]['rlnCubeSize']} voxels."]

    def _methods(self) -> list[str]:
        model = getattr(self, "model", None)
        if model is None:
            return []
        if self._wasOnePass():
            return [
                "A U-Net was trained to fill the missing wedge, its own estimates being made within each training step "
                f"as in DeepDeWedge [Wiedemann2024], on {counted(self._number(), 'tomograms')}.{self._lastLoss()}"
            ]
        try:
            network = read_metadata(model.getFileName()).network
            shape = f"depth {network.unet_depth}, {network.filter_base} channels at the first level"
        except EngineError as error:  # it was deleted
            shape = f"of unknown shape, as {error.what} can't be read: {error.why}"
        return [
            f"A U-Net ({shape}) was trained to fill the missing wedge as in IsoNet [Liu2022], in "
            f"{model.getIteration() or self._iterations()} iterations of {self._used('epochs')} epochs on "
            f"{counted(self._number(), 'subtomograms')}.{self._lastLoss()}{self._outcome()}"
        ]
