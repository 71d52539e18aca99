"""Correcting a whole tomogram with a network."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.arrays import release_now_and_then
from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.network.grid_filter import grid_filter
from isonet_scipion.engine.network.result import written
from isonet_scipion.engine.network.slabs import in_slabs
from isonet_scipion.engine.network.tiling import BORDER, HALO, LEAST_BORDER, RAMP, Tiling, map_tiles
from isonet_scipion.engine.physics.grey_scale import Shown, measure
from isonet_scipion.engine.physics.smoothing import smooth_planes
from isonet_scipion.engine.process.device import on_device

if TYPE_CHECKING:
    import keras

    from isonet_scipion.engine.arrays import Floats, Reals
    from isonet_scipion.engine.physics.wedge import TiltRange
    from isonet_scipion.engine.physics.wedge_strength import WedgeStrength
    from isonet_scipion.engine.settings.network import NetworkSettings

# deviation of the Gaussian that halves waves of length 1: exp(-2 (pi HALF_WIDTH)^2) = 1/2
HALF_WIDTH = math.sqrt(math.log(2) / 2) / math.pi
REACH_SAMPLE = (32, 32, 128)  # voxels that the reach is measured on, at the most
SEEN = 0.01  # of the result's standard deviation, in the root mean square; less does not show


def correct(
    tomogram: Reals,
    network: Callable[[Floats], Floats],
    tiling: Tiling,
    batch_size: int = 1,
    normalisation: Normalisation = Normalisation.PERCENTILES,
    normalized_output: bool = False,
    progress: Callable[[int], None] = lambda done: None,
    kept_beyond: float | None = None,
) -> Floats:
    """Fill the missing wedge of a tomogram.

    Parameters
    ----------
    tomogram : ndarray
        (z, y, x) of any real type, protein dark.
    network : callable
        From (batch, z, y, x) to the same shape, normalised, protein bright.
    tiling : Tiling
        How the tomogram is cut up.
    batch_size : int
        Tiles per call of the network.
    normalisation : Normalisation
        How to normalise; as in training.
    normalized_output : bool
        True: IsoNet 0.2's grey scale (the negated result is normalised anew). False: the tomogram's.
    progress : callable
        Told how many tiles each call finished.
    kept_beyond : float, optional
        Features of more voxels than this, which the training could not show to the network, stay the tomogram's own.

    Returns
    -------
    ndarray
        (z, y, x) float32, protein dark.

    Examples
    --------
    A network that changes nothing, for the sake of the example; `corrector` makes one of a model.

    >>> from isonet_scipion.engine.network.tiling import isonet_tiling
    >>> tomogram = np.random.default_rng(0).normal(size=(24, 40, 40)).astype(np.float32)
    >>> corrected = correct(tomogram, lambda tiles: tiles, isonet_tiling(32, 56))
    >>> bool(np.allclose(corrected, tomogram, atol=1e-4))
    True
    """
    shown = Shown(tomogram, measure(tomogram, normalisation, negated=True))
    corrected = filled(shown, network, tiling, batch_size, progress, kept_beyond)
    return written(shown, corrected, normalisation if normalized_output else None)


def filled(
    shown: Shown,
    network: Callable[[Floats], Floats],
    tiling: Tiling,
    batch_size: int = 1,
    progress: Callable[[int], None] = lambda done: None,
    kept_beyond: float | None = None,
) -> Floats:
    """As `correct`, on the grey scale that the network sees.

    Parameters
    ----------
    shown : Shown
        The tomogram.
    network, tiling, batch_size, progress, kept_beyond
        As for `correct`.

    Returns
    -------
    ndarray
        (z, y, x) float32, normalised, protein bright.
    """
    corrected = map_tiles(shown.voxels, tiling, lambda tiles: network(shown.show_in_place(tiles)), batch_size, progress)
    if kept_beyond:
        # all are taken before the first one comes back smoothed
        lost = smooth_planes(_taken_away(shown, corrected), corrected.shape, HALF_WIDTH * kept_beyond)
        for plane, smooth in zip(corrected, lost):
            plane += smooth
    return corrected


def _taken_away(shown: Shown, corrected: Floats) -> Iterator[Floats]:
    """What a network has taken away of a tomogram, plane by plane."""
    for z, made in enumerate(corrected):
        yield shown.show(shown.voxels[z]) - made
        release_now_and_then(shown.voxels, z)


def border_of(network: NetworkSettings) -> int:
    """Mirrored voxels beyond a tomogram's faces, over which what is taken out of a tile fades out."""
    return BORDER if network.leaves_grid else LEAST_BORDER


def corrector(
    model: keras.Model,
    network: NetworkSettings,
    tilt: TiltRange,
    strength: WedgeStrength | None = None,
    twice: bool = False,
) -> Callable[[Floats], Floats]:
    """What a model makes of tiles of a tomogram.

    Parameters
    ----------
    model : keras.Model
        The network.
    network : NetworkSettings
        Its shape.
    tilt : TiltRange
        Of the tilt series.
    strength : WedgeStrength, optional
        Of what is filled in; None: all of it.
    twice : bool
        Take the mean of what the network makes of a tile and of the tile after half a turn about the tilt axis, y. That
        leaves the missing wedge where it is; what the network makes by chance differs, and cancels out in part.

    Returns
    -------
    callable
        From (batch, z, y, x), with sides that are multiples of the network's divisor, to the same shape, float32. A
        grid that the network leaves is taken out of what it has changed, before a denoiser.
    """
    from keras import ops

    from isonet_scipion.engine.network.transforms import without

    entry, core, last = _parts(model, network)
    # the last layers are up to three convolutions and an interpolation between the stem's blocks
    slabs = functools.partial(in_slabs, reach=3 * (max(network.kernel) // 2) + network.stem, step=network.stem)

    @functools.lru_cache(maxsize=2)  # on the device, for all tiles of one shape and features of these
    def grid(shape: tuple[int, ...], period: tuple[int, ...]) -> Any:
        # a denoiser works at full resolution: what it is given there is to be as it was, but for what can be learned
        to_nyquist = network.denoiser > 0 and period == network.divisor
        return ops.convert_to_tensor(grid_filter(shape, period, to_nyquist)[None])

    @functools.lru_cache(maxsize=1)
    def lost(shape: tuple[int, ...]) -> Any:
        return ops.convert_to_tensor(1 - strength.transfer(shape, tilt)[None]) if strength else None

    def without_grid(volumes: Any, stem: int = 1) -> Any:
        """Volumes (batch, z, y, x, channel) of the tiles' voxels, or of a stem's blocks."""
        if not network.leaves_grid:
            return volumes
        channels = ops.moveaxis(ops.cast(volumes, "float32"), -1, 1)
        shape = channels.shape[2:]
        period = tuple(side // stem for side in network.divisor)
        kept = without(ops.reshape(channels, (-1, *shape)), grid(tuple(shape), period), max(1, BORDER // stem))
        return ops.moveaxis(ops.reshape(kept, channels.shape), 1, -1)

    def made_of(source: Any) -> Any:
        made = core(source if entry is None else slabs(lambda parts: entry(*parts), [source]))
        if network.denoiser:
            made, features = made
            # a grid goes before this one works: of what it has changed, the noise that it took out would come back
            kept = source + without_grid(made - source)
            made = slabs(last, [source, without_grid(features, network.stem), kept])
        elif last is not None:
            made = slabs(last, [source, made])
        return ops.cast(made, "float32")

    def half_turn(volumes: Any) -> Any:
        return ops.flip(volumes, axis=(1, 3))

    def correct_tiles(tiles: Floats) -> Floats:
        source = ops.convert_to_tensor(np.ascontiguousarray(tiles)[..., None])
        made = made_of(source)
        if twice:
            made = (made + half_turn(made_of(half_turn(source)))) / 2
        if not network.denoiser and network.leaves_grid:
            made = source + without_grid(made - source)
        made = made[..., 0]
        if strength is not None:
            made = without(made, lost(tiles.shape[1:]), border_of(network))
        result = ops.convert_to_numpy(made)
        _require_finite(result)
        return result

    return correct_tiles


@functools.lru_cache(maxsize=1)
def _parts(model: keras.Model, network: NetworkSettings) -> list[Any]:
    """As `unet.split`, on the device, once for all tomograms: new parts would be compiled anew."""
    from isonet_scipion.engine.network.unet import split

    return [part and on_device(part) for part in split(model, network)]


def _require_finite(result: Floats) -> None:
    """Raise an EngineError if a network's result is not finite."""
    # single precision is faster, and may overflow where nothing is wrong
    if np.isfinite(result.sum()) or np.isfinite(result.sum(dtype=np.float64)):
        return
    import keras

    policy = keras.config.dtype_policy().name
    raise EngineError(
        "network",
        f"its result holds NaN or infinite values (number format {policy})",
        "Give precision float32 or mixed_bfloat16: the network's numbers are beyond float16's range."
        if policy == "mixed_float16"
        else "Take another model, or correct the tomogram's grey values.",
    )


def measured_halo(network: Callable[[Floats], Floats], volume: Floats, divisor: tuple[int, int, int]) -> int:
    """Voxels between a tile's core and its edge that this network needs for tiles without seams.

    A piece of a volume is corrected twice, the second time with other voxels in its one half: as far as the result
    differs in the other half, the network shows what is beyond.

    Parameters
    ----------
    network : callable
        From (batch, z, y, x), with sides that are multiples of `divisor`, to the same shape.
    volume : ndarray
        (z, y, x) float32, normalised.
    divisor : tuple of int
        See `NetworkSettings.divisor`.

    Returns
    -------
    int
        At most HALO where the volume is too small to tell.
    """
    sides = [min(length, most) // unit * unit for length, most, unit in zip(volume.shape, REACH_SAMPLE, divisor)]
    half = sides[2] // 2
    if min(sides) == 0 or half < HALO:
        return HALO
    piece = volume[tuple(slice((n - side) // 2, (n - side) // 2 + side) for n, side in zip(volume.shape, sides))]
    other = piece.copy()
    other[:, :, half:] = piece[::-1, ::-1, half:]
    one, two = network(np.stack([piece, other]))
    by_distance = np.sqrt(np.square(one - two)[:, :, :half].mean(axis=(0, 1)))[::-1]
    seen = np.flatnonzero(by_distance > SEEN * one.std())
    return (int(seen[-1]) + 1 if len(seen) else 0) + RAMP // 2
