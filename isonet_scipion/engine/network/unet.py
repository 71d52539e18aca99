"""The 3D U-Net, in Keras 3."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process.device import on_device, shared_out
from isonet_scipion.engine.settings.network import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import keras

    from isonet_scipion.engine.arrays import Floats

LEAK = 0.05
WEIGHT_DEVIATION = 0.02
UNDENOISED = "add"  # the layer that ends the network before its denoiser
DENOISER = "denoiser"  # the names of its layers begin so
FEATURES, TAKEN = f"{DENOISER}_up", f"{DENOISER}_out"  # its layers that give it features, and its last
STEM, FINE_FEATURES = "stem", "fine_up"  # what leaves full resolution, and what gives its layers features of a stem


def cube_size_warning(cube_size: int) -> str | None:
    """Which networks take cubes of a side in voxels, where the default one does not.

    Raises
    ------
    EngineError
        If none does: each level halves the cubes.
    """
    divisor = max(NetworkSettings().divisor)
    if cube_size % divisor == 0:
        return None
    below = cube_size // divisor * divisor
    fitting = " or ".join(str(size) for size in (below, below + divisor) if size)
    if cube_size % 2:
        raise EngineError(
            "cube_size",
            f"{cube_size} is odd, and each level of a network halves it: the default one takes multiples of {divisor}",
            f"Give {fitting}.",
        )
    depth = (cube_size & -cube_size).bit_length() - 1
    return f"{cube_size} is for networks of unet_depth up to {depth}; for the default one give {fitting}."


def build_unet(settings: NetworkSettings) -> keras.Model:
    """Build the network with new weights.

    Parameters
    ----------
    settings : NetworkSettings
        The shape.

    Returns
    -------
    keras.Model
        From (batch, z, y, x, 1) to the same shape: the input plus what the U-Net adds to it, and what a denoiser adds
        to that.
    """
    from keras import Input, Model, backend, initializers, layers

    def weights() -> dict[str, Any]:
        # IsoNet 0.2's network starts from small weights; ours from He's, and altogether as the identity
        small = initializers.RandomNormal(stddev=WEIGHT_DEVIATION)
        return {"kernel_initializer": initializers.HeNormal() if settings.stem > 1 or settings.fine else small}

    def convolution(tensor: Any, filters: int, name: str, **more: Any) -> Any:
        return layers.Conv3D(filters, settings.kernel, padding="same", name=name, **weights(), **more)(tensor)

    def interpolated(tensor: Any, filters: int, factors: Sequence[int], name: str, **more: Any) -> Any:
        return interpolation(factors)(layers.Conv3D(filters, 1, name=name, **weights(), **more)(tensor))

    def block(tensor: Any, level: int, direction: str) -> Any:
        for number in range(settings.convs_per_depth):
            name = f"{direction}_level_{level}_no_{number}"
            tensor = convolution(tensor, settings.filter_base * 2**level, name)
            if settings.batch_normalization:
                tensor = layers.BatchNormalization(name=f"{name}_normalization")(tensor)
            if settings.drop_out > 0:
                tensor = layers.Dropout(settings.drop_out, name=f"{name}_dropout")(tensor)
            tensor = layers.LeakyReLU(negative_slope=LEAK, name=f"{name}_relu")(tensor)
        return tensor

    def relu(tensor: Any) -> Any:
        return layers.LeakyReLU(negative_slope=LEAK)(tensor)

    source = Input((None, None, None, 1))
    tensor, skips = source, []
    if settings.fine:
        tensor = fine = relu(convolution(tensor, settings.fine, "fine_first"))
    if settings.stem > 1:
        tensor = layers.Conv3D(settings.filter_base, settings.stem, settings.stem, name=STEM, **weights())(tensor)
    for level in range(settings.unet_depth):
        tensor = block(tensor, level, "down")
        skips.append(tensor)
        if settings.pool:
            tensor = layers.MaxPooling3D(settings.pool)(tensor)
        else:
            filters = settings.filter_base * 2**level
            strided = layers.Conv3D(filters, settings.kernel, 2, "same", name=f"down_{level}", **weights())
            tensor = relu(strided(tensor))
    for number in range(settings.convs_per_depth - 2):
        tensor = relu(convolution(tensor, settings.filter_base * 2**settings.unet_depth, f"bottleneck_no_{number}"))
    tensor = convolution(tensor, settings.filter_base * 2 ** (settings.unet_depth - 1), "bottleneck_last")
    for level in reversed(range(settings.unet_depth)):
        filters = settings.filter_base * 2**level
        if settings.fine:
            tensor = interpolated(tensor, filters, settings.pool or (2, 2, 2), f"up_{level}")
        elif settings.pool:
            tensor = layers.UpSampling3D(settings.pool)(tensor)
        else:
            tensor = layers.Conv3DTranspose(filters, settings.kernel, 2, "same", name=f"up_{level}", **weights())(
                tensor
            )
        tensor = layers.Concatenate()([tensor, skips[level]])
        if not settings.pool:
            tensor = relu(tensor)
        tensor = block(tensor, level, "up")
    features = tensor
    # the last layers stay in single precision: mixed formats would round the output
    name, single = "fullconv_out", {"dtype": "float32"}
    if settings.fine:
        if settings.stem > 1:
            tensor = interpolated(tensor, settings.fine, (settings.stem,) * 3, FINE_FEATURES)
        tensor = relu(convolution(layers.Concatenate()([tensor, fine]), settings.fine, "fine_last"))
        last = layers.Conv3D(1, settings.kernel, padding="same", name=name, kernel_initializer="zeros", **single)
    elif settings.stem > 1:
        last = layers.Conv3DTranspose(1, settings.stem, settings.stem, name=name, kernel_initializer="zeros", **single)
    else:
        last = layers.Conv3D(1, 1, name=name, **single, **weights())
    made = layers.Add(name=UNDENOISED, dtype="float32")([last(tensor), source])
    if settings.denoiser:
        # with a bias TensorFlow 2.21 fuses convolution, sum and LeakyReLU on CPUs, and takes 0.2 for this one's slope
        both, plain = layers.Concatenate()([source, made]), {"use_bias": False}
        fine = convolution(both, settings.denoiser, f"{DENOISER}_first", **plain)
        coarse = interpolated(features, settings.denoiser, (settings.stem,) * 3, FEATURES, **plain)
        tensor = relu(layers.Add(name=f"{DENOISER}_in")([fine, coarse]))
        tensor = relu(convolution(tensor, settings.denoiser, f"{DENOISER}_last"))
        zeros = {"kernel_initializer": "zeros", "dtype": "float32"}  # at first it adds nothing
        taken = layers.Conv3D(1, settings.kernel, padding="same", name=TAKEN, **zeros)(tensor)
        made = layers.Add(name="denoised", dtype="float32")([made, taken])
    model = Model(source, made)
    if backend.backend() == "tensorflow":
        model.jit_compile = False  # XLA takes 12 times oneDNN's CPU time for a training step
    return model


def undenoised(model: keras.Model) -> keras.Model:
    """The part of a network before its denoiser, which shares its layers.

    Parameters
    ----------
    model : keras.Model
        Of `build_unet`.

    Returns
    -------
    keras.Model
        From and to what `model` takes and gives; `model` itself if it has no denoiser.
    """
    from keras import Model

    if not _has_denoiser(model):
        return model
    return Model(model.input, model.get_layer(UNDENOISED).output)


def split(model: keras.Model, network: NetworkSettings) -> tuple[keras.Model | None, keras.Model, keras.Model | None]:
    """A network in parts, which share its layers, such that the widest tensors need not be there as a whole.

    Parameters
    ----------
    model : keras.Model
        Of `build_unet`.
    network : NetworkSettings
        Its shape.

    Returns
    -------
    tuple of keras.Model or None
        Of a network with layers at full resolution that can work slab by slab, with a denoiser: None; from what `model`
        takes to what it makes before its denoiser and features of this; and from these three, features second, to what
        `model` gives. With layers around a stem: from what `model` takes to what the stem makes of it; from there to
        features; and from what `model` takes and these to what it gives. Of all others: None; from what `model` takes
        to what it gives, without joining the first level's skip connection where that is its widest tensor; None.
    """
    from keras import Model

    if network.denoiser:
        made, features = (model.get_layer(name).output for name in (UNDENOISED, FEATURES))
        return None, Model(model.input, [made, features]), Model([model.input, features, made], model.output)
    if network.in_slabs:
        stem, features = model.get_layer(STEM).output, model.get_layer(FINE_FEATURES).output
        return Model(model.input, stem), Model(stem, features), Model([model.input, features], model.output)
    return None, _unjoined(model) if network.is_unjoined else model, None


def _unjoined(model: keras.Model) -> keras.Model:
    """A network whose last convolution of joined tensors is the sum of one of each: as they are, they take half."""
    import keras
    from keras import ops

    class SumOfConvolutions(keras.Layer):  # type: ignore[misc]
        def __init__(self, joined: keras.layers.Conv3D) -> None:
            super().__init__(dtype=joined.dtype_policy)
            self.joined = joined

        def compute_output_shape(self, shapes: list[tuple[Any, ...]]) -> tuple[Any, ...]:
            return (*shapes[0][:-1], self.joined.filters)

        def call(self, tensors: list[Any]) -> Any:
            kernel, bias = (ops.cast(weight, self.compute_dtype) for weight in (self.joined.kernel, self.joined.bias))
            first = tensors[0].shape[-1]
            one, other = (
                ops.conv(tensor, part, padding="same")
                for tensor, part in zip(tensors, (kernel[..., :first, :], kernel[..., first:, :]))
            )
            return one + other + bias

    at = max(number for number, layer in enumerate(model.layers) if isinstance(layer, keras.layers.Concatenate))
    tensors, after = model.layers[at].input, model.layers[at + 1 :]
    while not isinstance(after[0], keras.layers.Conv3D):
        tensors, after = [after[0](tensor) for tensor in tensors], after[1:]
    joined, *chain, add = after
    made = SumOfConvolutions(joined)(tensors)
    for layer in chain:
        made = layer(made)
    return keras.Model(model.input, add([made, model.input]))


def denoises(model: keras.Model) -> bool:
    """Whether a network of `build_unet` has a denoiser that was trained: a new one adds nothing."""
    return _has_denoiser(model) and any(np.any(weight) for weight in model.get_layer(TAKEN).get_weights())


def _has_denoiser(model: keras.Model) -> bool:
    return any(layer.name == TAKEN for layer in model.layers)


def interpolation(factors: Sequence[int]) -> keras.Layer:
    """A layer that samples volumes (batch, z, y, x, channel) `factors` times as finely, by linear interpolation.

    Unlike a transposed convolution it makes a constant of a constant, so that no grid of its steps can show.
    """
    import keras
    from keras import ops

    @keras.saving.register_keras_serializable("isonet_scipion")
    class Interpolation(keras.Layer):  # type: ignore[misc]
        def __init__(self, factors: Sequence[int], **more: Any) -> None:
            super().__init__(**more)
            self.factors = tuple(factors)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "factors": self.factors}

        def compute_output_shape(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
            sides = (None if side is None else side * factor for side, factor in zip(shape[1:4], self.factors))
            return (shape[0], *sides, shape[4])

        def call(self, volumes: Any) -> Any:
            for axis, factor in enumerate(self.factors, 1):
                if factor > 1:
                    volumes = finer(volumes, axis, factor)
            return volumes

    def finer(volumes: Any, axis: int, factor: int) -> Any:
        # as a product of matrices, which takes a third of the time of sums of shifted copies
        shape = list(ops.shape(volumes))
        coarse, after = shape[axis], math.prod(shape[axis + 1 :])
        fine = ops.cast(ops.arange(coarse * factor), "float32")
        places = ops.clip((fine + 0.5) / factor - 0.5, 0, ops.cast(coarse - 1, "float32"))
        distance = ops.abs(places[:, None] - ops.cast(ops.arange(coarse), "float32"))
        weights = ops.cast(ops.relu(1 - distance), volumes.dtype)
        made = ops.matmul(weights, ops.reshape(volumes, (-1, coarse, after)))
        return ops.reshape(made, (-1, *shape[1:axis], coarse * factor, *shape[axis + 1 :]))

    return Interpolation(factors)


def weighted_layers(model: keras.Model) -> list[Any]:
    """The layers that hold weights, from input to output (they form a chain)."""
    return [layer for layer in model.layers if layer.weights and "seed_generator" not in layer.weights[0].path]


def run_network(model: keras.Model, batch: Floats) -> Floats:
    """Apply a network to volumes.

    Parameters
    ----------
    model : keras.Model
        Of `build_unet`.
    batch : ndarray
        (batch, z, y, x) float32; the sides are multiples of the network's divisor.

    Returns
    -------
    ndarray
        Same shape, float32.
    """
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is not None and strategy.num_replicas_in_sync > 1:
        # predict_on_batch would give each device the whole batch, and return all their results
        return np.asarray(model(batch[..., None], training=False), np.float32)[..., 0]
    return np.asarray(model.predict_on_batch(shared_out(batch[..., None])), np.float32)[..., 0]


def aside(model: keras.Model) -> Callable[[Floats], Floats]:
    """As `run_network`, of a network in training: it leaves nothing that the training's own calls would find."""
    from keras import ops

    strategy = getattr(model, "distribute_strategy", None)
    if strategy is not None and strategy.num_replicas_in_sync > 1:
        return lambda batch: run_network(model, batch)
    run = on_device(model)

    def apply(batch: Floats) -> Floats:
        made = run(ops.convert_to_tensor(np.ascontiguousarray(batch)[..., None]))
        return np.asarray(ops.convert_to_numpy(made), np.float32)[..., 0]

    return apply
