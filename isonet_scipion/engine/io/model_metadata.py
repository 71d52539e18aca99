"""What a model says about itself: made once, when it is trained, and read once, before anything is done with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from isonet_scipion.engine.conventions import PHASE_FLIPPED, RAW, SIMULATED_SIZES
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.json_types import kinds_of, require_kinds
from isonet_scipion.engine.physics.ctf import POSSIBLE
from isonet_scipion.engine.physics.wedge import TILT_TOLERANCE
from isonet_scipion.engine.settings.network import NetworkSettings


def fact(default: Any = None, least: float = -math.inf, most: float = math.inf) -> Any:
    """A field whose value, where there is one, is a number from `least` to `most`."""
    return dataclasses.field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True)
class ModelMetadata:
    """Facts of a model; None where they are not known, as of IsoNet 0.2's models."""

    network: NetworkSettings
    voxel_size: Optional[float] = fact(least=1e-3, most=1e6)  # A, of what it was trained on
    tilt_min: Optional[float] = fact(least=-90, most=90)  # degrees, of the widest tilt range
    tilt_max: Optional[float] = fact(least=-90, most=90)
    normalize_percentile: Optional[bool] = None  # how its input is normalised
    deconvolved: Optional[bool] = None  # whether it was trained on deconvolved tomograms
    cube_size: Optional[int] = fact(least=1, most=1 << 16)  # voxels, that it was trained on
    iteration: Optional[int] = fact(least=0, most=1 << 40)
    halves: bool = False  # whether it was trained on halves
    corrects_mean: bool = False  # of halves; without it each is corrected, and the corrections' mean counts
    kept_beyond: Optional[int] = fact(least=1, most=1 << 16)  # waves longer than so many voxels are the tomogram's own
    ctf_aware: bool = False  # whether it undoes the CTF
    # given for a CTF-aware training instead of the table's
    voltage: Optional[float] = fact(None, *POSSIBLE["voltage"])  # kV
    cs: Optional[float] = fact(None, *POSSIBLE["cs"])  # mm
    simulated: bool = False  # whether it was trained on simulated tomograms
    ctf_state: Optional[str] = None  # given for a CTF-aware training instead of the table's
    bfactor: Optional[float] = fact(least=0)  # A^2, of a CTF-aware training's envelope; None: it had none
    narrowest_min: Optional[float] = fact(least=-90, most=90)  # degrees, of the narrowest tilt range
    narrowest_max: Optional[float] = fact(least=-90, most=90)

    @property
    def by_halves(self) -> bool:
        """Whether it corrects each half, and the mean of what it makes of them counts."""
        return self.halves and not self.corrects_mean

    @property
    def knows_noise(self) -> bool:
        """Whether noise of the tomograms that it learned from was its target: of whole ones, not simulated."""
        return not (self.halves or self.simulated)

    @property
    def of_one_pass(self) -> bool:
        """Whether it is of a one-pass training, or the builtin one; else of an iterative one, or IsoNet 0.2's."""
        return self.kept_beyond is not None or self.simulated

    @property
    def untrained(self) -> str:
        """Of what it is a copy, in words, if its training has not changed it yet; empty elsewhere."""
        if self.iteration != 0:
            return ""
        return "a copy of the builtin model" if self.simulated else "a copy of the model that its training started from"

    @property
    def tilts_in_words(self) -> str:
        """The tilt ranges that it was trained for; empty where they are not known."""
        return " to ".join(dict.fromkeys(f"{low:g}..{high:g}" for low, high in self.tilt_ranges))

    @property
    def tilt_ranges(self) -> list[tuple[float, float]]:
        """The widest and the narrowest tilt range that it was trained for, in degrees; none where not known."""
        ends = ((self.tilt_min, self.tilt_max), self._narrowest)
        known = [(low, high) for low, high in ends if low is not None and high is not None]
        return known if len(known) == len(ends) else []

    @property
    def _narrowest(self) -> tuple[Optional[float], Optional[float]]:
        """The narrowest tilt range; models of earlier versions tell one range alone."""
        return (
            self.tilt_min if self.narrowest_min is None else self.narrowest_min,
            self.tilt_max if self.narrowest_max is None else self.narrowest_max,
        )

    def knows_tilts(self, minimum: float, maximum: float) -> bool:
        """Whether each end of a tilt range (degrees) is among those trained for; also where these are not known."""
        for end, widest, narrowest in zip((minimum, maximum), (self.tilt_min, self.tilt_max), self._narrowest):
            if widest is not None and narrowest is not None:
                low, high = sorted((widest, narrowest))
                if not low - TILT_TOLERANCE <= end <= high + TILT_TOLERANCE:
                    return False
        return True

    def knows_voxel_size(self, size: float) -> bool:
        """Whether a voxel size (A) is among those that the builtin model learned from; of other models always."""
        return not self.simulated or SIMULATED_SIZES[0] <= size <= SIMULATED_SIZES[1]

    @property
    def learned_from(self) -> dict[str, Any]:
        """What is known of the tomograms that it learned from, by the fields' names."""
        names = ("voxel_size", "tilt_min", "tilt_max", "deconvolved", "simulated")
        known = {name: getattr(self, name) for name in names}
        known.update(zip(("narrowest_min", "narrowest_max"), self._narrowest))
        return {name: value for name, value in known.items() if value is not None}

    @classmethod
    def out_of(cls, values: Mapping[str, Any]) -> ModelMetadata:
        """Take it out of a JSON text's values, the network's among them; names that it does not know are left.

        Raises
        ------
        ValueError
            If one is of a wrong kind, out of range, or the network impossible.
        """
        own = {field.name: field for field in dataclasses.fields(cls) if field.name != "network"}
        known = {name: value for name, value in values.items() if name in own}
        require_kinds({**values}, {**kinds_of(NetworkSettings), **kinds_of(cls)})
        for name, value in known.items():
            least, most = (own[name].metadata.get(end) for end in ("least", "most"))
            if least is not None and value is not None and not least <= value <= most:
                raise ValueError(f"its {name} is {value}")
        made = cls(NetworkSettings(), **known)
        if made.ctf_state not in (None, RAW, PHASE_FLIPPED):
            raise ValueError(f"its ctf_state is {made.ctf_state!r}")
        if made.tilt_min is not None and made.tilt_max is not None and made.tilt_min >= made.tilt_max:
            raise ValueError(f"its tilt range is {made.tilt_min}..{made.tilt_max} degrees")
        try:
            return dataclasses.replace(made, network=NetworkSettings.among(values))
        except EngineError as error:
            raise ValueError(str(error)) from error

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is known, with the network's options."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "network"]
        known = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {**known, **self.network.as_dict()}
