"""IsoNet 0.2's model files: whole models of Keras 2 in HDF5, read and written without Keras's own loader."""

from __future__ import annotations

import io
import json
import os
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_file, write_whole
from isonet_scipion.engine.network.stored_weights import require_plain
from isonet_scipion.engine.network.unet import weighted_layers
from isonet_scipion.engine.settings.network import NetworkSettings

if TYPE_CHECKING:
    import keras

MODEL_REMEDY = "Give a model_iterNN.keras of this program or a model_iterNN.h5 of IsoNet 0.2."
_KERAS_2 = "2.15.0"
# what a file that is not as it should be ends in
UNREADABLE = (
    *(OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError),
    EngineError,  # of a network that can't be
)
MAKER = "made_by"  # attribute of the files that are written here
# what Keras 2 knows of each layer's settings
_KERAS_2_SETTINGS = {
    "InputLayer": (),
    "Conv3D": (
        "filters",
        "kernel_size",
        "strides",
        "padding",
        "data_format",
        "dilation_rate",
        "activation",
        "use_bias",
    ),
    "Conv3DTranspose": ("filters", "kernel_size", "strides", "padding", "data_format", "activation", "use_bias"),
    "BatchNormalization": ("momentum", "epsilon", "center", "scale"),
    "Dropout": ("rate",),
    "LeakyReLU": (),
    "MaxPooling3D": ("pool_size", "strides", "padding", "data_format"),
    "UpSampling3D": ("size", "data_format"),
    "Concatenate": ("axis",),
    "Add": (),
}


def legacy_network(path: str | os.PathLike[str]) -> NetworkSettings:
    """The network's shape, read from the layers' names and sizes in the file.

    Raises
    ------
    EngineError
        If the file is no HDF5 model, or not IsoNet's U-Net.
    """
    if not h5py.is_hdf5(path):
        if str(path).endswith(".star"):
            raise EngineError(str(path), "it is a table, not a model", "Name the table first, then the model.")
        raise EngineError(str(path), "it is not a model, or damaged", MODEL_REMEDY)
    try:
        with h5py.File(path, "r", locking=False) as file:
            layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        named = {layer["config"]["name"]: layer["config"] for layer in layers}
        classes = [layer["class_name"] for layer in layers]
        down = [match for match in (re.fullmatch(r"down_level_(\d+)_no_(\d+)", name) for name in named) if match]
        pools = [layer["config"]["pool_size"] for layer in layers if layer["class_name"] == "MaxPooling3D"]
        rates = [layer["config"]["rate"] for layer in layers if layer["class_name"] == "Dropout"]
        first = named["down_level_0_no_0"]
        return NetworkSettings(
            filter_base=int(first["filters"]),
            unet_depth=1 + max(int(match[1]) for match in down),
            convs_per_depth=1 + max(int(match[2]) for match in down),
            kernel=tuple(first["kernel_size"]),
            pool=tuple(pools[0]) if pools else None,
            drop_out=float(rates[0]) if rates else 0.0,
            batch_normalization="BatchNormalization" in classes,
            stem=int(named["stem"]["strides"][0]) if "stem" in named else 1,
        )
    except UNREADABLE as error:
        raise EngineError(str(path), f"it is not a model of IsoNet 0.2 ({error})", MODEL_REMEDY) from error


def load_legacy_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Fill a network of `legacy_network`'s shape with the file's weights.

    Raises
    ------
    EngineError
        If they are damaged or another network's.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            group = file["model_weights"]
            stored = [
                [group[name][weight] for weight in group[name].attrs["weight_names"]]
                for name in group.attrs["layer_names"]
                if len(group[name].attrs["weight_names"])
            ]
            # what lies in another file of the user's would go into the models that they give away
            for dataset in chain(*stored):
                if dataset.file.filename != file.filename:
                    raise ValueError(f"{dataset.name} lies in other files")
                require_plain(dataset, dataset.name)
            layers = weighted_layers(model)
            shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in layers]
            # compared before they are read: a small file can claim terabytes
            if [[dataset.shape for dataset in datasets] for datasets in stored] != shapes:
                raise ValueError("its layers have other shapes than the network")
            for layer, datasets in zip(layers, stored):
                layer.set_weights([np.asarray(dataset, np.float32) for dataset in datasets])
    except UNREADABLE as error:
        raise EngineError(str(path), f"its weights can't be read ({error})", MODEL_REMEDY) from error


def require_own_legacy(path: str | os.PathLike[str]) -> None:
    """Raise an EngineError if a file is there that `save_legacy` did not write, which would be replaced."""
    if not os.path.lexists(path):
        return
    try:
        with h5py.File(require_file(path, "model"), "r", locking=False) as file:
            is_ours = MAKER in file.attrs
    except (EngineError, OSError, RuntimeError):
        is_ours = False
    if not is_ours:
        raise EngineError(
            str(path), "it is there already, and not exported by this program", "Give another name, or delete it."
        )


def save_legacy(path: str | os.PathLike[str], model: keras.Model, learning_rate: float) -> None:
    """Write a model that IsoNet 0.2 (Keras 2) loads, predicts with and trains on.

    Parameters
    ----------
    path : path
        Ends in .h5.
    model : keras.Model
        Of `unet.build_unet`.
    learning_rate : float
        That IsoNet 0.2 goes on with.

    Raises
    ------
    EngineError
        If it has layers that IsoNet 0.2 does not know.
    """
    if not {type(layer).__name__ for layer in model.layers} <= set(_KERAS_2_SETTINGS):
        raise EngineError(
            str(path),
            "the model's layers at full resolution (fine, denoiser) are unknown to IsoNet 0.2",
            "Export a model that was trained with fine 0 and denoiser 0, not from the builtin model.",
        )
    made = io.BytesIO()  # HDF5 itself tells only some of the failures of writing to a disk
    with h5py.File(made, "w") as file:
        file.attrs["keras_version"] = _KERAS_2
        file.attrs[MAKER] = "isonet_scipion"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(_keras_2_config(model))
        file.attrs["training_config"] = json.dumps(_training_config(learning_rate))
        group = file.create_group("model_weights")
        group.attrs["keras_version"] = _KERAS_2
        group.attrs["backend"] = "tensorflow"
        group.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        weighted = weighted_layers(model)
        for layer in model.layers:
            own = group.create_group(layer.name)
            variables = layer.weights if layer in weighted else []
            names = [f"{layer.name}/{variable.name}:0" for variable in variables]
            own.attrs["weight_names"] = [name.encode() for name in names]
            for name, values in zip(names, layer.get_weights()):
                own.create_dataset(name, data=values)
    write_whole(path, made.getvalue())


def _keras_2_config(model: keras.Model) -> dict[str, Any]:
    layers = []
    for layer in model.get_config()["layers"]:
        kind, settings = layer["class_name"], layer["config"]
        kept = {name: settings[name] for name in _KERAS_2_SETTINGS[kind]}
        config = {"name": settings["name"], "trainable": True, "dtype": "float32", **kept}
        if kind == "InputLayer":
            config = {"name": settings["name"], "dtype": "float32", "batch_input_shape": settings["batch_shape"]}
        elif kind == "LeakyReLU":
            config["alpha"] = settings["negative_slope"]
        elif kind == "BatchNormalization":
            config["axis"] = [4]
        inbound = [_tensor_origins(node) for node in layer["inbound_nodes"]]
        layers.append({"class_name": kind, "name": settings["name"], "config": config, "inbound_nodes": inbound})
    ends = [[layers[0]["name"], 0, 0]], [[layers[-1]["name"], 0, 0]]
    config = {"name": "isonet", "trainable": True, "layers": layers, "input_layers": ends[0], "output_layers": ends[1]}
    return {"class_name": "Functional", "config": config}


def _tensor_origins(node: dict[str, Any]) -> list[Any]:
    tensors = node["args"][0] if isinstance(node["args"][0], (list, tuple)) else node["args"]
    return [[*tensor["config"]["keras_history"], {}] for tensor in tensors]


def _training_config(learning_rate: float) -> dict[str, Any]:
    metrics = [
        {"class_name": "MeanMetricWrapper", "config": {"name": name, "dtype": "float32", "fn": function}}
        for name, function in (("mse", "mean_squared_error"), ("mae", "mean_absolute_error"))
    ]
    return {
        "loss": "mae",
        "metrics": [metrics],
        "weighted_metrics": None,
        "loss_weights": None,
        "optimizer_config": {"class_name": "Custom>Adam", "config": {"name": "Adam", "learning_rate": learning_rate}},
    }
