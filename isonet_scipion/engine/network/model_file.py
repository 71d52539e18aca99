"""Model files: ours (.keras) and IsoNet 0.2's (.h5). Reading one never runs code from it.

Only numbers are taken from a file: the network is built from its settings, and its weights are filled in.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing, require_file
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.network.isonet_h5 import MODEL_REMEDY, legacy_network, load_legacy_weights
from isonet_scipion.engine.network.stored_weights import WEIGHTS, require_weights
from isonet_scipion.engine.network.unet import build_unet, weighted_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras

    from isonet_scipion.engine.settings.network import NetworkSettings

STATE_FILE = "training_state.keras"  # in a refinement's folder: the model, its optimiser and how far it has come
STATE_REMEDY = (
    "Delete it, and give the last refine_iterNN.json beside it, if any, as continue_from; or give another result_dir."
)
METADATA = "isonet.json"  # member of a .keras archive
MOST_METADATA = 64 << 20  # bytes of it; a refinement's history is a few MB at most
MOST_COMPRESSION = 8  # Keras stores weights as they are
BYTES_PER_LAYER = 400  # of a file, beside the weights
# what reading a damaged or hostile archive can raise
DAMAGED: Any = (
    *(ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
LISTS = ("kernel", "pool")  # tuples, that JSON makes lists
BUILTIN = "builtin"  # what a user gives instead of a file's name
BUILTIN_FILE = Path(__file__).parent.parent / "builtin" / "model.keras"


def model_path(name: str | os.PathLike[str]) -> Path:
    """The file of a model: the builtin one's for its name, else the path itself."""
    return BUILTIN_FILE if os.fspath(name) == BUILTIN else Path(name)


def save_model(
    path: str | os.PathLike[str], model: keras.Model, metadata: ModelMetadata, more: Mapping[str, Any] | None = None
) -> None:
    """Write a model in Keras's own format, with what predict needs to know inside.

    Parameters
    ----------
    path : path
        Ends in .keras.
    model : keras.Model
        With its optimiser's state, if it is compiled.
    metadata : ModelMetadata
        Of it.
    more : mapping, optional
        What else is to be kept in the file; see `read_facts`.
    """
    with replacing(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            # what zipfile can't read it takes for no archive, and begins a new one
            if WEIGHTS not in archive.namelist():
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            archive.writestr(METADATA, json.dumps({**metadata.as_dict(), **(more or {})}, indent=1))


def halve(model_file: Path) -> None:
    """Store the kernels of a model in half precision; its norms, which may be large, stay as they are."""
    import h5py

    def halved(stored: bytes) -> bytes:
        made = io.BytesIO()
        with h5py.File(io.BytesIO(stored)) as weights, h5py.File(made, "w") as smaller:

            def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
                if isinstance(item, h5py.Group):
                    target = smaller.require_group(name)
                else:
                    values = item[()]
                    target = smaller.create_dataset(name, data=values.astype(np.float16) if values.ndim > 1 else values)
                target.attrs.update(item.attrs)

            weights.visititems(copy)
            smaller.attrs.update(weights.attrs)
        return made.getvalue()

    with zipfile.ZipFile(model_file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(model_file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, halved(data) if name.endswith(".h5") else data)


def read_metadata(path: str | os.PathLike[str]) -> ModelMetadata:
    """What a model file, or `builtin`, says about itself; the network's settings for a .h5 of IsoNet 0.2.

    Raises
    ------
    EngineError
        If the file is no model, another network's, or says what can't be.
    """
    file = require_file(model_path(path), "model")
    if not zipfile.is_zipfile(file):
        return ModelMetadata(legacy_network(file))
    try:
        return ModelMetadata.out_of(read_facts(file))
    except ValueError as error:
        raise EngineError(str(path), f"it is not a model of isonet_scipion ({error})", MODEL_REMEDY) from error


def read_facts(file: Path, remedy: str = MODEL_REMEDY) -> dict[str, Any]:
    """All that one of our files was made with, unchecked.

    Parameters
    ----------
    file : Path
        It.
    remedy : str
        What to do where it is not one.

    Raises
    ------
    EngineError
        If it is not one.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MOST_COMPRESSION * file.stat().st_size or archive.getinfo(METADATA).file_size > MOST_METADATA:
                raise ValueError(f"its {unpacked >> 20} MiB are more than a model's")
            facts = json.loads(archive.read(METADATA))
        lists = {key: tuple(facts[key]) for key in LISTS if isinstance(facts.get(key), list)}
        return {**facts, **lists}
    except DAMAGED as error:
        raise EngineError(str(file), f"it is not a model of isonet_scipion ({error})", remedy) from error


def load_model(path: str | os.PathLike[str]) -> tuple[keras.Model, ModelMetadata]:
    """Read a model.

    Parameters
    ----------
    path : path
        A .keras of ours, a .h5 of IsoNet 0.2, or `builtin`.

    Returns
    -------
    model : keras.Model
        Not compiled.
    metadata : ModelMetadata
        See `read_metadata`.

    Raises
    ------
    EngineError
        If the file is no model, another network's, or damaged.

    Examples
    --------
    >>> model, metadata = load_model("builtin")
    >>> model.output_shape  # batch, z, y, x, channels
    (None, None, None, None, 1)
    """
    path = model_path(path)
    metadata = read_metadata(path)
    _require_room(Path(path), metadata.network)
    model = build_unet(metadata.network)
    if zipfile.is_zipfile(path):
        load_weights(model, path)
    else:
        load_legacy_weights(model, path)
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise EngineError(str(path), "its weights hold NaN or infinite values", MODEL_REMEDY)
    return model, metadata


def require_shape(path: str | os.PathLike[str], shape: NetworkSettings, network: NetworkSettings) -> None:
    """Raise an EngineError if a model file's `shape` is not that of a run's `network`, but for dropout."""
    ours, theirs = network.as_dict(), shape.as_dict()
    unlike = [f"{name} {theirs[name]} (the run's: {ours[name]})" for name in ours if ours[name] != theirs[name]]
    unlike = [words for words in unlike if not words.startswith("drop_out")]
    if unlike:
        why = f"its network has another shape: {', '.join(unlike)}"
        raise EngineError(str(path), why, "Leave these options out: the model's shape is then taken.")


def copy_weights(model: keras.Model, network: NetworkSettings, path: str | os.PathLike[str]) -> None:
    """Give a network, of the shape `network`, the weights of a model file; dropout need not be the same.

    Raises
    ------
    EngineError
        If the file is no model, or of another shape.
    """
    other, metadata = load_model(path)
    require_shape(path, metadata.network, network)
    for ours, theirs in zip(weighted_layers(model), weighted_layers(other)):
        ours.set_weights(theirs.get_weights())


def _require_room(file: Path, network: NetworkSettings) -> None:
    """Raise an EngineError unless the file can hold the weights of the network: it may claim any size."""
    widest = network.filter_base * 2 ** (min(network.unet_depth, 32) - 1)
    least = 4 * math.prod(network.kernel) * widest**2 + BYTES_PER_LAYER * network.unet_depth * network.convs_per_depth
    least += 8 * network.filter_base * network.stem**3
    if least > file.stat().st_size:
        why = f"it is not a model of isonet_scipion (it is too small for a network of {network})"
        raise EngineError(str(file), why, MODEL_REMEDY)


def load_weights(model: keras.Model, path: str | os.PathLike[str], remedy: str = MODEL_REMEDY) -> None:
    """Fill in the weights, and the optimiser's state where both sides have one.

    Parameters
    ----------
    model : keras.Model
        To fill in.
    path : path
        A .keras of ours.
    remedy : str
        What to do where it can't be read.

    Raises
    ------
    EngineError
        If the file does not hold this network's weights.
    """
    if Path(path).suffix != ".keras":  # by which Keras chooses how to read it
        why = "it is a .keras model of this program under another name"
        raise EngineError(str(path), why, "Rename it, so that it ends in .keras.")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # Keras reads on where a checksum is wrong
                raise ValueError("a checksum is wrong")
        require_weights(path, [weight.shape for weight in model.weights])
        with warnings.catch_warnings():
            # Keras only warns where it leaves weights as they are: that would be a wrong result
            warnings.simplefilter("error", UserWarning)
            model.load_weights(os.fspath(path))
    except (*DAMAGED, UserWarning) as error:
        raise EngineError(str(path), f"its weights can't be read ({error})", remedy) from error
