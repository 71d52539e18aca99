"""What the one-pass refinement draws from the tomograms, step by step."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import keras
import numpy as np
from scipy.spatial.transform import Rotation

from isonet_scipion.engine.arrays import (
    Doubles,
    Floats,
    Integers,
    Mean,
    Reals,
    fingerprint,
    release,
    scratch_array,
    size_in_words,
)
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.shown import (
    away_from_spikes,
    border_of,
    open_mask,
    readable,
    require_axes,
    require_halves,
    spikes_in,
)
from isonet_scipion.engine.io.volume import naming
from isonet_scipion.engine.io.voxel_size import require_same_grid
from isonet_scipion.engine.learning.data_identity import PLACES, checksum_in_words, tilt_in_words
from isonet_scipion.engine.learning.epoch import VALIDATION_SHARE
from isonet_scipion.engine.learning.one_pass_step import VIEWS, error_weight, plane_filter
from isonet_scipion.engine.learning.withheld_test import Box
from isonet_scipion.engine.physics.cube_rotations import TRAINING_ROTATIONS
from isonet_scipion.engine.physics.grey_scale import GreyScale, Shown, measure_mean, sample
from isonet_scipion.engine.physics.withheld_tilts import narrowed, withhold
from isonet_scipion.engine.sampling.crops import crop, planes_around, random_centres
from isonet_scipion.engine.sampling.training_positions import MARGIN

if TYPE_CHECKING:
    from isonet_scipion.engine.conventions import Normalisation
    from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
    from isonet_scipion.engine.io.volume import Volume
    from isonet_scipion.engine.physics.back_projected_noise import Noise
    from isonet_scipion.engine.physics.transfer import Transfer
    from isonet_scipion.engine.physics.wedge import TiltRange

log = logging.getLogger(__name__)
SHOWN_WEIGHT = 0.1  # of fine detail that the input shows, without halves: its own noise would be the target
CENTRES = 4000  # places drawn in each tomogram


@dataclass(frozen=True)
class TomogramSource:
    """A tomogram, or its two halves, and where crops may be taken."""

    name: str
    volumes: tuple[Floats, ...]  # memory maps, as in the file or phase-flipped where there is a transfer
    grey_scale: GreyScale  # of the voxels with protein bright; of halves, their mean's
    centres: Integers  # (n, 3) z, y, x in random order
    tilt: TiltRange
    transfer: Transfer | None = None  # in a CTF-aware training
    inverted: bool = False  # protein is bright in `volumes`
    facts: Mapping[str, str] = field(default_factory=dict)  # what a training depends on, in words

    def crops(self, centre: Integers, size: int, as_mean: bool = False) -> Floats:
        """(halves, size, size, size) float32, or `as_mean` (1, size, ...), normalised, protein bright."""
        shown = Shown(self.volumes[0], self.grey_scale, self.inverted)
        crops = np.stack([shown.show(crop(volume, centre, size)) for volume in self.volumes])
        return crops.mean(axis=0, keepdims=True) if as_mean else crops

    def mean(self, part: tuple[slice, ...]) -> Floats:
        """A part of it, of halves of their mean: (z, y, x) float32, normalised, protein bright."""
        mean = Mean(self.volumes)[part]
        self.release()
        return Shown(self.volumes[0], self.grey_scale, self.inverted).show_in_place(mean)

    def release(self) -> None:
        """Give the memory maps' pages back to the system."""
        for volume in self.volumes:
            release(volume)

    def split(self) -> tuple[Integers, Integers]:
        """Centres for training, and a tenth for validation."""
        few = max(1, round(VALIDATION_SHARE * len(self.centres)))
        return self.centres[few:], self.centres[:few]


def read_source(
    entry: TomogramEntry,
    side: int,
    normalisation: Normalisation,
    tilt: TiltRange,
    seed: int,
    transfer: Transfer | None,
    scratch_folder: str,
    check_axes: bool = True,
) -> TomogramSource:
    """Open a tomogram, or its halves where the table names them, for crops of `side`^3 voxels.

    With a transfer they are phase-flipped, into files without a name in `scratch_folder`.

    Raises
    ------
    EngineError
        If a file can't be read, halves differ in shape, only the whole is deconvolved, or it has no room for a crop.
        With `check_axes`, if its tilt axis or beam lies along another axis.
    """
    paths = entry.fitting_halves() or (entry.source_path,)
    volumes = [open_volume(path) for path in paths]
    border = border_of(volumes[0])
    shape = volumes[0].shape if border is None else border.inner_shape
    if min(shape) < side:
        raise EngineError(
            volumes[0].path,
            f"its shortest side has {min(shape)} voxels, but the crops for training {side}",
            "Lower cube_size, leave out any_angle, or take this tomogram out of the table.",
        )
    require_axes(volumes[0], border, check_axes, entry.inverted, tilt)
    for other in volumes[1:]:
        require_same_grid(other, volumes[0], entry.voxel_size)
        require_halves(volumes, entry.whole_of(volumes[0]))
    path = entry.text("rlnMaskName")
    mask = None if path is None else open_mask(path, volumes[0], entry.voxel_size)
    rng = np.random.default_rng([seed, int(entry.number("rlnIndex", 0))])
    with naming(volumes[0], path):
        centres = random_centres(volumes[0].shape, mask, side, CENTRES, rng, border)
    facts = _facts(entry, volumes, tilt, centres, transfer)
    if border is not None:
        centres = centres - [axis.start for axis in border.box]
    maps = []
    for volume in volumes:
        voxels = readable(volume, transfer, border)
        is_copy = transfer is not None or (border is not None and border.empty is not None)
        maps.append(_stored(voxels, scratch_folder) if is_copy else voxels)
    centres = away_from_spikes(volumes[0].path, spikes_in(Mean(maps)), centres, side)
    scale = measure_mean(maps, normalisation, negated=not entry.inverted)
    return TomogramSource(entry.name, tuple(maps), scale, centres, tilt, transfer, entry.inverted, facts)


def _facts(
    entry: TomogramEntry, volumes: Sequence[Volume], tilt: TiltRange, centres: Integers, transfer: Transfer | None
) -> dict[str, str]:
    """What a training on a tomogram, or its halves, depends on; see `data_identity`."""
    voxels = []
    for volume in volumes:
        voxels.append(fingerprint(sample(volume.data)))
        release(volume.data)
    facts = {
        "tilt range": tilt_in_words(tilt),
        "size": size_in_words(volumes[0].shape),
        "contrast": "protein bright" if entry.inverted else "protein dark",
        "voxels": checksum_in_words(*voxels),
        PLACES: checksum_in_words(fingerprint(centres)),
    }
    if transfer is not None:
        ctf, flipped = transfer.ctf_parameters, "phase-flipped" if transfer.comes_flipped else "raw"
        facts["CTF"] = f"{ctf}, amplitude contrast {ctf.amplitude_contrast:g}, {flipped}"
    return facts


def _stored(data: Reals, folder: str) -> Floats:
    """A memory map of a copy."""
    stored = scratch_array(data.shape, data.dtype, folder)
    stored[:] = data
    release(stored)
    return stored


def scratch_bytes(
    entries: Sequence[TomogramEntry], extents: Sequence[tuple[tuple[int, ...], bool]], flipped: bool
) -> int:
    """Most disk space that the files without a name of all tomograms take at once.

    Parameters
    ----------
    entries : sequence of TomogramEntry
        The tomograms that are first all read by `read_source`, then one by one replaced by `withhold_from_tomogram`.
    extents : sequence
        What `data_shape` says of each.
    flipped : bool
        Whether there are transfers.
    """
    now = most = 0
    sizes = []  # of each: what reading and what withholding makes
    for entry, (shape, lacks_some) in zip(entries, extents):
        seen = math.prod(shape) * np.dtype(np.float32).itemsize * (2 if entry.fitting_halves() else 1)
        sizes.append((seen if flipped or lacks_some else 0, seen))
        now += sizes[-1][0]
    for read, seen in sizes:
        most = max(most, now + seen)
        now += seen - read
    return most


def withhold_from_tomogram(
    source: TomogramSource, voxels: int, scratch_folder: str
) -> tuple[TomogramSource, Box | None]:
    """What a training may see of a tomogram, in files without a name, and a box of it for the test.

    Parameters
    ----------
    source : TomogramSource
        The tomogram, or its halves.
    voxels : int
        Of the box, as `planes_around` takes it; 0: none is tested.
    scratch_folder : str
        Of the files.

    Raises
    ------
    EngineError
        If the folder has no room.
    """
    shape = source.volumes[0].shape
    part = planes_around(shape, np.median(source.centres, axis=0), voxels) if voxels else None
    maps, withheld = [], np.zeros((), np.float32)
    for volume in source.volumes:
        seen = scratch_array(shape, np.float32, scratch_folder)
        withhold(volume, source.tilt, seen)
        if part is not None:
            withheld = withheld + (np.array(volume[part], np.float32) - seen[part])
            release(volume)
        maps.append(seen)
    trained = dataclasses.replace(source, volumes=tuple(maps), tilt=narrowed(source.tilt))
    if part is None:
        return trained, None
    withheld /= np.float32(len(maps) * source.grey_scale.scale * (1 if source.inverted else -1))
    what = f"tomogram {source.name}"
    if withheld.shape != shape:
        sides = " x ".join(map(str, withheld.shape))
        what = f"a part (z, y, x: {sides} voxels) of {what}"
    return trained, Box(what, lambda: trained.mean(part), lambda: withheld, source.tilt)


class CropBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Inputs of `OnePassModel` and weights of its errors for each step, made by threads ahead of the training."""

    def __init__(
        self,
        sources: Sequence[TomogramSource],
        cube_size: int,
        side: int,
        any_angle: float,
        filled_weight: float,
        batch_size: int,
        steps: int,
        seed: Sequence[int],
        threads: int,
        noise: Sequence[Noise] = (),
        noise_level: float = 0.0,
        as_mean: bool = False,
    ) -> None:
        """Draw `batch_size` pairs a step, a multiple of VIEWS.

        Parameters
        ----------
        sources : sequence of TomogramSource
            What to draw from, all alike.
        cube_size : int
            Side in voxels of the cube that the network is trained on.
        side : int
            Of the crops in voxels; see `training_positions.crop_side`.
        any_angle : float
            Share of the rotations that are by any angle; the others are rotations of the cube.
        filled_weight : float
            See `error_weight`.
        batch_size, steps : int
            Pairs in a step, steps in an epoch.
        seed : sequence of int
            Decides everything drawn; its last number is the epoch, negative for validation.
        threads : int
            That prepare steps.
        noise : sequence of Noise
            One per tomogram; empty: none is added.
        noise_level : float
            Standard deviation of what is added.
        as_mean : bool
            Halves are drawn as their mean.
        """
        super().__init__(workers=threads, use_multiprocessing=False, max_queue_size=2 * threads + 2)
        self.sources, self.cube_size, self.side, self.any_angle = sources, cube_size, side, any_angle
        self.filled_weight = filled_weight
        self.crops, self.steps, self.seed = batch_size // VIEWS, steps, [int(n) % 2**32 for n in seed]
        self.centres = [unseen if seed[-1] < 0 else seen for seen, unseen in (one.split() for one in sources)]
        self.noise, self.noise_level, self.as_mean = noise, noise_level, as_mean

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[dict[str, Reals], Reals]:
        rng = np.random.default_rng([*self.seed, step])
        grid, drawn = self.cube_size + 2 * MARGIN, []
        for _ in range(self.crops):
            number = int(rng.integers(len(self.sources)))
            source = self.sources[number]
            centres = self.centres[number]
            matrices = np.stack([self._matrix(rng) for _ in range(VIEWS)])
            drawn.append(
                {
                    "crops": source.crops(centres[rng.integers(len(centres))], self.side, self.as_mean),
                    "filter": plane_filter(self.side, source.tilt),
                    "rotated_filter": plane_filter(grid, source.tilt),
                    "matrices": matrices.astype(np.float32),
                    "weight": np.stack([self._weight(source, turn) for turn in matrices]),
                    "noise": np.stack([self._noise(number, rng) for _ in range(VIEWS)]),
                }
            )
            if source.transfer is not None:
                drawn[-1]["crop_transfer"] = source.transfer.filter(self.side)
                drawn[-1]["cube_transfer"] = source.transfer.filter(self.cube_size)
        for source in self.sources:
            source.release()
        inputs = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
        return inputs, inputs.pop("weight")

    def _weight(self, source: TomogramSource, matrix: Doubles) -> Floats:
        shown = 1.0 if len(source.volumes) == 2 and not self.as_mean else SHOWN_WEIGHT
        return error_weight(self.cube_size, matrix, source.tilt, self.filled_weight, shown)

    def _matrix(self, rng: np.random.Generator) -> Doubles:
        """A rotation that moves the wedge, on points (z, y, x)."""
        if rng.uniform() < self.any_angle:
            return Rotation.random(random_state=np.random.RandomState(rng.integers(2**31))).as_matrix()
        turn = TRAINING_ROTATIONS[rng.integers(len(TRAINING_ROTATIONS))]
        matrix = np.zeros((3, 3))
        for axis, (source, sign) in enumerate(zip(turn.axes, turn.signs)):
            matrix[source, axis] = sign
        return matrix

    def _noise(self, number: int, rng: np.random.Generator) -> Floats:
        if not self.noise:
            return np.zeros((self.cube_size,) * 3, np.float32)
        return np.float32(self.noise_level) * self.noise[number].draw(self.cube_size, rng)
