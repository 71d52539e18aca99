"""What a way of training a network is to a `Run`: all that knows the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    import keras

    from isonet_scipion.engine.learning.state import RunState
    from isonet_scipion.engine.learning.withheld_test import Tested

Batches = TypeVar("Batches")


class Losses(NamedTuple):
    """Of an epoch: of its steps, and of unseen data after it."""

    training: float
    validation: float
    with_denoiser: int = 0  # 1: of the network with its denoiser, 0: without


class Method(Protocol[Batches]):
    """A way of training; `iterative.Iterative` and `one_pass.OnePass`, which share nothing but this.

    A third one needs a class with these, its settings (`settings.training.METHODS`), what its table is known by
    (`stages.refine.TABLES`), and a function that makes a run of it of such a table (`stages.refine.STARTS`).
    """

    cube_size: int  # side in voxels of what the network is trained on
    crop_size: int  # side in voxels of what that is made of
    least_batch: int  # fewest pairs of a step

    def describe(self) -> str:
        """What it learns from, in words."""

    def identity(self) -> dict[str, Any]:
        """What a run that is gone on with must have in common with this one's data."""

    def bytes_needed(self, iterations: int) -> int:
        """Disk space beside that of the models."""

    def require_own_files(self, is_resumed: bool) -> None:
        """Raise an EngineError where a file of another's would be replaced; `is_resumed`: the folder is a run's."""

    def cost(self, epoch: int) -> float:
        """How long an epoch of the whole run takes, from 0, against its first one."""

    def compile(self, model: keras.Model) -> None:
        """Take a network and make it ready; all that follows is about this one."""

    def start_iteration(self, state: RunState, noise_level: float, before: Path | None) -> Batches:
        """Make what the steps of an iteration are drawn from.

        Parameters
        ----------
        state : RunState
            Which iteration; in a run that is gone on with, some of its epochs may be finished.
        noise_level : float
            Standard deviation of the noise that is added.
        before : Path, optional
            File of the network with which the iteration began; None: a new one.
        """

    def fit(self, batches: Batches, state: RunState, on_step: Callable[[float], None]) -> Losses:
        """Train for an epoch; `on_step` is told the mean loss so far after each step."""

    def test(self, trained: bool = True) -> Tested:
        """How well the network restores the withheld tilts; not `trained`: as if it left all as it is."""

    def tested(self) -> str:
        """What the test's example is, in words."""
