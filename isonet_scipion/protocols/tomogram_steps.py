"""The steps of what works on tomograms in streaming: one for each as it comes in, and who takes which."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Container, Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pyworkflow.object import Set
from pyworkflow.protocol import ProtStreamingBase
from pyworkflow.protocol.constants import STATUS_FAILED, STATUS_NEW
from pyworkflow.protocol.executor import StepExecutor, ThreadStepExecutor

from isonet_scipion.convert.files import fileOf, sizeOf
from isonet_scipion.protocols.base import ProtIsoNetBase
from isonet_scipion.protocols.linked_inputs import hasEndedByNow
from isonet_scipion.protocols.together import Together

if TYPE_CHECKING:
    from pyworkflow.protocol import Step
    from tomo.objects import Tomogram

MOST_VOXELS = 400_000_000  # of all tomograms that a job of a queue takes at once: those of a large one
THREADS_PER_TOMOGRAM = 4  # CPU threads that a job of a queue asks for
STATE = "_streamState"  # of a set, in its file


class ProtIsoNetSteps(ProtIsoNetBase, ProtStreamingBase):
    """A step for each tomogram, which a thread, a GPU or a job of a queue takes; it may take further ones along."""

    MATCHED: tuple[str, ...] = ()  # parameters whose sets go with the tomograms by tsId
    lastStatus: str  # Scipion's, of the last step

    # ---------------------------------------------------------------- to be filled in

    def _newTomograms(self) -> dict[str, tuple[Tomogram, object]]:
        """Those that can be worked on, and were not yet, with what goes with each."""
        raise NotImplementedError

    def _processOne(self, tsId: str) -> None:
        """Process one tomogram; what concerns it alone is not raised."""
        raise NotImplementedError

    def closeStep(self) -> None:
        """End what the steps have begun, once all are done."""
        raise NotImplementedError

    # ---------------------------------------------------------------- a step for each

    def setStepsExecutor(self, executor: StepExecutor | None = None) -> None:
        """Take Scipion's executor, and let each listed GPU work on a tomogram of its own, whatever the threads."""
        super().setStepsExecutor(executor)
        if self.usesGpu() and isinstance(executor, ThreadStepExecutor):
            # one more, for the step that waits for tomograms
            executor.numberOfProcs = max(executor.numberOfProcs, len(self.getGpuList()) + 1)
            executor.gpuDict = {}
            executor._assignGPUperNode()

    def _gpusPerStep(self) -> int:
        return 1

    def _threadsPerStep(self) -> int:
        return THREADS_PER_TOMOGRAM

    def stepsGeneratorStep(self) -> None:
        """Give each tomogram a step as soon as it and its partner are there, until the inputs are closed."""
        self._tomograms: dict[str, tuple[Tomogram, object]] = {}
        isGrowing = True
        self._processSteps: list[tuple[int, str]] = []
        self._takenSteps: list[Step] = []  # that another step did; Scipion is to be told
        while isGrowing and not self.isFailed():
            with self._lock:
                # before the sets are read: what comes after that is seen in the next turn
                isGrowing = any(self._isGrowing(name) for name in self._matched())
                new = self._newTomograms()
            self._tomograms.update(new)
            for tsId in new:
                index = self._insertFunctionStep(
                    self.processStep, tsId, prerequisites=[], wait=True, needsGPU=self._needsGpu()
                )
                self._processSteps.append((index, tsId))
            if isGrowing:
                time.sleep(max(1, self._getStreamingSleepOnWait()))
        if not self.isFailed():
            steps = [index for index, _ in self._processSteps]
            self._insertFunctionStep(self.closeStep, prerequisites=steps, wait=True, needsGPU=False)
        if threading.current_thread() is threading.main_thread():
            self._stepsCheck()  # with one thread nobody calls it in time

    def _stepsCheck(self) -> None:
        """Let new steps run once they are stored: Scipion lends GPUs by the number that a step gets then."""
        waiting = [step for step in self._steps if step.isWaiting()]
        if waiting:
            self.updateSteps()
            for step in waiting:
                step.setStatus(STATUS_NEW)
        last = self.lastStatus
        while self._takenSteps:
            step = self._takenSteps.pop(0)
            self._stepStarted(step)
            self._stepFinished(step)
        if last == STATUS_FAILED:  # of a step that was told before; the protocol ends with the last one's
            self.lastStatus = last

    def _matched(self) -> list[str]:
        """The tomograms, and what goes with them by tsId, as far as the form's other values do not hide it."""
        return [name for name in ("inputTomograms", *self.MATCHED) if self.evalParamCondition(name)]

    def _isGrowing(self, name: str) -> bool:
        """Whether the set of an input may get more items, as its file says now."""
        items, source = getattr(self, name).get(), getattr(self, name).getObjValue()
        if items is None:
            return False
        if items.hasProperty(STATE):
            items.loadAllProperties()
        elif items.isStreamOpen() and hasEndedByNow(source, self.getProject()):  # its file does not tell
            items.setStreamState(Set.STREAM_CLOSED)
        items.close()
        return items.isStreamOpen()

    # ---------------------------------------------------------------- who takes which

    def processStep(self, tsId: str) -> None:
        """Process one tomogram, then those of later steps that nobody has begun with.

        Between one step and the next Scipion waits up to three seconds. In a queue a job takes small ones at once.
        """
        if self.useQueueForSteps():
            self._processAsJob(tsId)
            return
        self._processOne(tsId)
        # not where another thread met a full disk: Scipion shows the protocol as failed, and it may be continued
        while not any(step.isFailed() for step in self._steps) and (taken := self._takeStep()) is not None:
            step, further = taken
            try:
                self._processOne(further)
                step.setFinished()
            except Exception as error:
                step.setFailed(str(error))
                raise
            finally:
                self._takenSteps.append(step)

    def _processAsJob(self, tsId: str) -> None:
        """Process one tomogram by a job, with small ones of later steps: a job waits, and starts an engine."""
        # of what waits, a fair share; the others who work at once take theirs
        waiting = sum(1 for _ in self._waiting())
        share = waiting // max(1, self._stepsExecutor.numberOfProcs)
        voxels = self._voxels(tsId)
        taken: list[tuple[Step, str]] = []
        while len(taken) < share and (further := self._takeStep(MOST_VOXELS - voxels)) is not None:
            taken.append(further)
            voxels += self._voxels(further[1])
        tsIds = [tsId, *(further for _, further in taken)]
        errors = Together(self._submitAll).do([partial(self._processOne, one) for one in tsIds])
        for (step, _), error in zip(taken, errors[1:]):
            if error is None:
                step.setFinished()
            else:
                step.setFailed(str(error))
            self._takenSteps.append(step)
        for error in errors:
            if error is not None:
                raise error

    def _voxels(self, tsId: str) -> int:
        """How many a tomogram has; none if it can't be read."""
        try:
            return math.prod(sizeOf(fileOf(self._tomograms[tsId][0])))
        except Exception:  # it is told when it is worked on
            return 0

    def _takeStep(self, most: float = np.inf) -> tuple[Step, str] | None:
        """A step that may run and does not yet, and its tomogram, of at most so many voxels.

        Scipion's executor then leaves it alone.
        """
        with getattr(threading.current_thread(), "lock", nullcontext()):  # under which the executor starts steps
            for step, tsId in self._waiting():
                if most == np.inf or self._voxels(tsId) <= most:
                    step.setRunning()
                    return step, tsId
        return None

    def _nextWaiting(self, left: Container[str] = ()) -> str | None:
        """The first tomogram that nobody has begun with, of those that are not `left` out."""
        return next((tsId for _, tsId in self._waiting() if tsId not in left), None)

    def _waiting(self) -> Iterator[tuple[Step, str]]:
        """The steps that nobody has begun with, and their tomograms."""
        steps = ((self._steps[index - 1], tsId) for index, tsId in self._processSteps)
        return ((step, tsId) for step, tsId in steps if step.getStatus() == STATUS_NEW)
