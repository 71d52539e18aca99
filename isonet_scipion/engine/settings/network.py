"""The shape of the network, as options of a training and as facts of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Tuple

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.settings.option import option

# of a network: least and most of its numbers, far beyond what any machine can train
NETWORK_RANGES = {
    "filter_base": (1, 4096),
    "unet_depth": (1, 10),
    "convs_per_depth": (2, 64),
    "stem": (1, 16),
    "fine": (0, 1024),
    "denoiser": (0, 1024),
}
MOST_KERNEL = 64


@dataclass(frozen=True)
class NetworkSettings:
    """The shape of the U-Net."""

    filter_base: int = option(64, "Channels at the first level; each deeper level has twice as many.")
    unet_depth: int = option(3, "Number of levels of the U-Net.")
    convs_per_depth: int = option(3, "Convolutions at each level of the U-Net.")
    kernel: Tuple[int, int, int] = option((3, 3, 3), "Side of the convolution kernel in z,y,x.")
    pool: Optional[Tuple[int, int, int]] = option(
        None, "Max pooling z,y,x instead of strided convolution, such as 2,2,2. Default: none."
    )
    drop_out: float = option(0.3, "Fraction of the features that dropout switches off in training.")
    batch_normalization: bool = option(True, "Normalise the features over each batch.")
    stem: int = option(
        1,
        "Downsampling factor at the network's entry. 2 treats blocks of 2x2x2 voxels as one, which costs an eighth per "
        "channel.",
    )
    fine: int = option(
        0,
        "Channels of layers at full resolution around all others, which then upsample by interpolation: this removes "
        "noise better. 0: none.",
    )
    denoiser: int = option(
        0,
        "Channels of layers at full resolution that remove noise after all others. One-pass trains them in the last "
        "30 % of its run, and before that the others alone; they need half tomograms. 0: none.",
    )

    def __post_init__(self) -> None:
        for name in ("kernel", "pool"):
            value = getattr(self, name)
            if value is not None:
                if len(value) != 3 or min(value) < 1 or max(value) > MOST_KERNEL:
                    why = f"{value} is not three sizes of 1 to {MOST_KERNEL}"
                    raise EngineError(name, why, "Write it as z,y,x such as 3,3,3.")
                object.__setattr__(self, name, tuple(int(v) for v in value))
        for name, (least, most) in NETWORK_RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                # cut, as a text of so many digits is refused by Python itself
                why = f"{value} is too small" if value < least else f"{min(value, 10**20)} is too much"
                raise EngineError(name, why, f"Give {least} to {most}.")
        if not 0 <= self.drop_out < 1:
            raise EngineError("drop_out", f"{self.drop_out} is not a fraction of the features", "Give 0 to 0.9.")
        if self.fine and self.denoiser:
            raise EngineError("denoiser", "layers around all others (fine) remove noise, too", "Give one of the two.")

    @classmethod
    def among(cls, values: Mapping[str, Any]) -> NetworkSettings:
        """The shape out of a mapping that holds these names among others; what it lacks is the default."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What each side (z, y, x) of the network's input must be a multiple of."""
        z, y, x = (self.stem * step**self.unet_depth for step in self.pool or (2, 2, 2))
        return z, y, x

    @property
    def leaves_grid(self) -> bool:
        """Whether it leaves a grid of its steps, the sides of `divisor`; with a denoiser, before that."""
        return self.stem > 1 and not self.fine

    @property
    def keeps_noise(self) -> bool:
        """Whether it takes noise, but less at the frequencies of its steps, the sides of `divisor`."""
        return self.stem > 1 and self.full_resolution > 0

    @property
    def normalised(self) -> bool:
        """Whether all blocks of convolutions are normalised: numbers then stay small while a new network is trained."""
        return self.batch_normalization and not self.full_resolution

    @property
    def full_resolution(self) -> int:
        """Channels of its layers at full resolution beside a stem."""
        return self.fine or self.denoiser

    @property
    def in_slabs(self) -> bool:
        """Whether its layers at full resolution can work on one slab of a volume after another, see `unet.split`."""
        return self.denoiser > 0 or (self.fine > 0 and self.stem > 1)

    @property
    def is_unjoined(self) -> bool:
        """Whether it can do without its widest tensor, what is joined at the first level; see `unet.split`."""
        return not self.full_resolution

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)
