"""One training step of the one-pass refinement, in keras.ops: estimate, rotate, hide, restore, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import scipy.fft
from keras import ops

from isonet_scipion.engine.network.transforms import transferred
from isonet_scipion.engine.network.unet import DENOISER, undenoised
from isonet_scipion.engine.physics.wedge import TiltRange, wedge_filter
from isonet_scipion.engine.process.device import each_own_samples

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Floats

COARSE = 0.1  # cycles per voxel
VIEWS = 2  # rotated copies of each crop in a step; of halves, each side of their mean is the input once
# of halves' difference from their mean, in the input: 1 shows a half and compares with the other. Measured in
# benchmarks/RESTORATION.md
PART = 1.0


class OnePassModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A U-Net with what it is trained by.

    The estimate of each crop's missing wedge is made within the step, by a copy of the network without gradient:
    its weights are those of the epoch's start.
    """

    def __init__(self, network: keras.Model, estimator: keras.Model, cube_size: int, interpolate: bool) -> None:
        """Train `network`.

        Parameters
        ----------
        network, estimator : keras.Model
            Of `unet.build_unet`, of one shape.
        cube_size : int
            Side in voxels of the cube, in the middle of the rotated crop, that the network is trained on.
        interpolate : bool
            Whether there are rotations that need interpolation.
        """
        super().__init__(dtype="float32")  # the network alone may work in a mixed format: transforms take no other
        self.network, self.estimator = network, estimator
        self.undenoised, self.undenoised_estimator = undenoised(network), undenoised(estimator)
        self.is_whole = True  # else the network's denoiser is left out
        estimator.trainable = self.undenoised_estimator.trainable = False
        self.cube_size, self.order = cube_size, int(interpolate)

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Restored minus target, (b, VIEWS, cube, cube, cube).

        `inputs` has crops (b, halves, s, s, s), noise (b, VIEWS, cube, cube, cube), filter (b, s, s) and
        rotated_filter (b, g, g) over kz and kx, and matrices (b, VIEWS, 3, 3); see `one_pass_batches`. Where it has
        crop_transfer and cube_transfer of `Transfer.filter`, the network makes the density: what a tomogram shows of it
        is compared.
        """
        # one for both halves, of their mean, which has less noise and is what the network is for
        mean = ops.mean(inputs["crops"], axis=1)[..., None]
        estimator, network = (
            (self.estimator, self.network) if self.is_whole else (self.undenoised_estimator, self.undenoised)
        )
        estimates = ops.stop_gradient(estimator(mean, training=False)[..., 0])
        seen, target = each_own_samples(self._pairs)(inputs, estimates)
        cubes = ops.reshape(seen, (-1, *seen.shape[2:]))
        restored = network(cubes[..., None], training=training)[..., 0]
        if not self.is_whole:
            # a gradient for each weight, as an optimiser asks for: 0
            idle = [weight for weight in self.network.trainable_weights if DENOISER in weight.path]
            restored = restored + 0.0 * sum(ops.sum(weight) for weight in idle)
        if "cube_transfer" in inputs:
            # radial, so that it is the same for each rotation
            filters = ops.repeat(inputs["cube_transfer"], VIEWS, axis=0)
            restored = each_own_samples(transferred)(restored, filters)
        return ops.reshape(restored, ops.shape(target)) - target

    def _pairs(self, inputs: dict[str, Any], estimates: Any) -> tuple[Any, Any]:
        """What the network is shown, and its targets, each (b, VIEWS, cube, cube, cube), of crops with estimates."""
        crops = inputs["crops"]
        side, halves = crops.shape[-1], crops.shape[1]
        if "crop_transfer" in inputs:
            estimates = transferred(estimates, inputs["crop_transfer"])
        missing = ops.reshape(crops - estimates[:, None], (-1, side, side, side))
        measured = in_wedge_planes(missing, ops.repeat(inputs["filter"], halves, axis=0))
        filled = estimates[:, None] + ops.reshape(measured, ops.shape(crops))
        grid = inputs["rotated_filter"].shape[-1]
        seen, target = [], []
        for view in range(VIEWS):
            turned = ops.map(lambda pair: self._turned(pair[0], pair[1], grid), (filled, inputs["matrices"][:, view]))
            shown, compared = shown_and_target(turned, view, inputs["rotated_filter"])
            seen.append(self._centre(shown) + inputs["noise"][:, view])
            target.append(self._centre(compared))
        return ops.stack(seen, axis=1), ops.stack(target, axis=1)

    def _turned(self, volumes: Any, matrix: Any, grid: int) -> Any:
        """Volumes (halves, s, s, s) sampled at matrix @ p for all points p of a grid around their centre."""
        side = volumes.shape[-1]
        axis = ops.arange(grid, dtype="float32") - (grid - 1) / 2
        points = ops.stack([ops.reshape(part, (-1,)) for part in ops.meshgrid(axis, axis, axis, indexing="ij")])
        places = ops.reshape(ops.matmul(matrix, points) + (side - 1) / 2, (3, grid, grid, grid))
        return ops.stack(
            [
                ops.image.map_coordinates(volumes[half], places, order=self.order, fill_mode="nearest")
                for half in range(volumes.shape[0])
            ]
        )

    def _centre(self, volumes: Any) -> Any:
        start = (volumes.shape[-1] - self.cube_size) // 2
        inside = slice(start, start + self.cube_size)
        return volumes[:, inside, inside, inside]


def shown_and_target(parts: Any, view: int, filters: Any, part: float = PART) -> tuple[Any, Any]:
    """What a network is shown of a volume, and what its output is compared with.

    With the mean m of two halves and half their difference d, shown is W (m + part d), and for every other view
    W (m - part d), W the wedge filter; what that shows is compared with m -+ d / part, what it hides with m. The
    halves' noise is independent and alike, so that of m is independent of that of d and as strong: what is shown and
    what it is compared with have independent noise, whatever `part` is.

    Parameters
    ----------
    parts : tensor
        (b, halves, z, y, x): a volume alone, shown and compared as it is, or its two halves.
    view : int
        Its parity decides the side.
    filters : tensor
        (b, kz, kx), see `plane_filter`.
    part : float
        Above 0. Less shows less noise, and compares with more.

    Returns
    -------
    shown, target : tensor
        (b, z, y, x).
    """
    mean = ops.mean(parts, axis=1)
    if parts.shape[1] == 1:
        return in_wedge_planes(mean, filters), mean
    difference = (parts[:, view % 2] - parts[:, (view + 1) % 2]) / 2
    of_mean, of_difference = in_wedge_planes(mean, filters), in_wedge_planes(difference, filters)
    return of_mean + part * of_difference, mean - of_difference / part


def weighted_error(weights: Any, errors: Any) -> Any:
    """The loss: squared error, each frequency with its weight.

    Parameters
    ----------
    weights : tensor
        (b, VIEWS, n, n, n) of `error_weight`.
    errors : tensor
        (b, VIEWS, n, n, n) of `OnePassModel`.

    Returns
    -------
    tensor
        (b, VIEWS).
    """
    return each_own_samples(_weighted_error)(weights, errors)


def _weighted_error(weights: Any, errors: Any) -> Any:
    plane = ops.fft2((errors, ops.zeros_like(errors)))
    real, imaginary = ops.fft(tuple(ops.transpose(part, (0, 1, 3, 4, 2)) for part in plane))
    # sums to the mean square; the divisor as a float, for JAX's integers have 32 bits
    power = (ops.square(real) + ops.square(imaginary)) / float(errors.shape[-1]) ** 6
    return ops.sum(power * weights, axis=(2, 3, 4))


def in_wedge_planes(volumes: Any, filters: Any) -> Any:
    """Filter volumes (b, z, y, x) in their xz-planes with filters (b, kz, kx), laid out as fftfreq."""
    planes = ops.transpose(volumes, (0, 2, 1, 3))
    real, imaginary = ops.fft2((planes, ops.zeros_like(planes)))
    kept = filters[:, None]
    return ops.transpose(ops.ifft2((real * kept, imaginary * kept))[0], (0, 2, 1, 3))


def plane_filter(size: int, tilt: TiltRange) -> Floats:
    """The wedge filter M over kz and kx, (size, size) float32, laid out as fftfreq."""
    k = scipy.fft.fftfreq(size, 1 / size)
    return wedge_filter(k[:, None], k, size / 2, tilt)


def error_weight(size: int, matrix: Doubles, tilt: TiltRange, filled_weight: float, shown_weight: float) -> Floats:
    """Weight of the error by frequency, for a volume that was sampled at matrix @ p before its wedge was cut.

    Parameters
    ----------
    size : int
        Side of the cube in voxels.
    matrix : ndarray
        (3, 3), on points (z, y, x).
    tilt : TiltRange
        Of the tilt series.
    filled_weight : float
        Of frequencies whose target is an estimate, against 1 where it was measured.
    shown_weight : float
        Of fine frequencies that the network's input shows, against 1 where they are hidden from it. Coarse ones, which
        have little noise, come near to 1: within COARSE cycles per voxel, as a Gaussian.

    Returns
    -------
    ndarray
        (ky, kx, kz) each of `size`, float32, the order that `weighted_error` transforms in.
    """
    by_target: Floats = filled_weight + (1 - filled_weight) * rotated_mask(size, matrix, tilt)
    squares = scipy.fft.fftfreq(size).astype(np.float32) ** 2
    radius2 = squares[:, None, None] + squares[:, None] + squares
    fine = 1 - np.exp(-radius2 / COARSE**2)
    return by_target * (1 + (shown_weight - 1) * fine * rotated_mask(size, np.eye(3), tilt))


def rotated_mask(size: int, matrix: Doubles, tilt: TiltRange) -> Floats:
    """Where a volume that was sampled at matrix @ p holds what was measured: M(matrix @ k).

    Returns
    -------
    ndarray
        (ky, kx, kz) each of `size`, float32.
    """
    k = scipy.fft.fftfreq(size, 1 / size).astype(np.float32)
    y, x, z = k[:, None, None], k[None, :, None], k[None, None, :]
    kz, kx = (matrix[row, 0] * z + matrix[row, 1] * y + matrix[row, 2] * x for row in (0, 2))
    return wedge_filter(kz, kx, size / 2, tilt)
