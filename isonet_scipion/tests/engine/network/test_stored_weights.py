"""A stranger's model file gives nothing of the user's away and takes no more memory than its network."""

import io
import resource
import zipfile

import h5py
import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.learning.epoch import compile_model
from isonet_scipion.engine.network.isonet_h5 import save_legacy
from isonet_scipion.engine.network.model_file import load_model, load_weights, save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.engine.settings.network import NetworkSettings

choose_devices()
TINY = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
KERNEL = "layers/conv3d/vars/0"
PLACE = "/model_weights/down_level_0_no_0/down_level_0_no_0/kernel:0"
MOST_GROWTH = 200  # MiB


def edited(folder, edit, place=KERNEL):
    """A model of ours, in which `edit` replaced one weight."""
    model = build_unet(TINY)
    save_model(folder / "good.keras", model, ModelMetadata(TINY))
    save_legacy(folder / "good.h5", model, 4e-4)
    (folder / "secret.bin").write_bytes(b"SECRET-TOKEN" * 100)
    with zipfile.ZipFile(folder / "good.keras") as old, zipfile.ZipFile(folder / "edited.keras", "w") as new:
        for member in old.namelist():
            data = io.BytesIO(old.read(member))
            if member == "model.weights.h5":
                with h5py.File(data, "r+") as file:
                    shape = file[place].shape
                    del file[place]
                    edit(file, shape, folder)
            new.writestr(member, data.getvalue())
    return folder / "edited.keras"


def external(file, shape, folder):
    file.create_dataset(KERNEL, shape, "f4", external=[(str(folder / "secret.bin"), 0, h5py.h5f.UNLIMITED)])


def external_link(file, shape, folder):
    file[KERNEL] = h5py.ExternalLink(str(folder / "good.h5"), PLACE)


def soft_link(file, shape, folder):
    file[KERNEL] = h5py.SoftLink("/layers/conv3d_1/vars/0")


def second_name(file, shape, folder):
    file[KERNEL] = file["layers/conv3d_1/vars/0"]


def loop(file, shape, folder):
    file["layers/conv3d/vars/again"] = file["layers"]


def virtual(file, shape, folder):
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource(str(folder / "good.h5"), PLACE, shape)
    file.create_virtual_dataset(KERNEL, layout)


def claims_much(file, shape, folder):
    size = (3, 3, 3, 1, 10**7)
    file.create_dataset(KERNEL, size, "f4", chunks=(3, 3, 3, 1, 10**5), compression="gzip", fillvalue=0)


def packed(file, shape, folder):
    file.create_dataset(KERNEL, shape, "f4", data=np.zeros(shape), chunks=shape, compression="gzip")


def never_written(file, shape, folder):
    file.create_dataset(KERNEL, shape, "f4", fillvalue=1)


def strings(file, shape, folder):
    file.create_dataset(KERNEL, shape, h5py.string_dtype(), data=np.full(shape, "x" * 10_000, object))


def compound(file, shape, folder):
    file.create_dataset(KERNEL, shape, [("a", "f4"), ("b", "f8")])


def one_more(file, shape, folder):
    file.create_dataset(KERNEL, data=np.zeros(shape, "f4"))
    file.create_dataset("layers/more/vars/0", data=np.zeros(10, "f4"))


def wide_optimizer(file, shape, folder):
    file.create_dataset(KERNEL, data=np.zeros(shape, "f4"))
    file.create_dataset("optimizer/vars/9", data=np.zeros(1000, "f4"))


EDITS = (external, external_link, soft_link, second_name, loop, virtual, claims_much, packed, never_written, strings,
         compound, one_more, wide_optimizer)  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_weights_that_are_no_plain_numbers_of_the_file_are_refused(tmp_path, edit):
    path = edited(tmp_path, edit)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EngineError, match=r"edited\.keras: its weights can't be read"):
        load_model(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < MOST_GROWTH


def test_an_unchanged_copy_is_read(tmp_path):
    path = edited(tmp_path, lambda file, shape, folder: file.create_dataset(KERNEL, data=np.full(shape, 0.5, "f4")))
    np.testing.assert_array_equal(load_model(path)[0].get_weights()[0], 0.5)


def test_a_packed_archive_is_refused(tmp_path):
    path = edited(tmp_path, one_more)
    with zipfile.ZipFile(tmp_path / "good.keras") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    with pytest.raises(EngineError, match="packed"):
        load_model(path)


def test_a_training_state_with_dropout_and_optimizer_is_read(tmp_path):
    settings = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2, drop_out=0.5)
    model = build_unet(settings)
    compile_model(model, 4e-4)
    cubes = np.random.default_rng(0).random((1, 8, 8, 8, 1), dtype=np.float32)
    model.train_on_batch(cubes, cubes)
    save_model(tmp_path / "state.keras", model, ModelMetadata(settings))
    other = build_unet(settings)
    compile_model(other, 4e-4)
    load_weights(other, tmp_path / "state.keras")
    for ours, theirs in zip(other.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert int(other.optimizer.iterations) == 1


@pytest.mark.parametrize("kind", ["packed", "strings"])
def test_an_h5_of_no_plain_numbers_is_refused(tmp_path, kind):
    save_legacy(tmp_path / "m.h5", build_unet(TINY), 4e-4)
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        shape = file[PLACE].shape
        del file[PLACE]
        if kind == "packed":
            file.create_dataset(PLACE, shape, "f4", data=np.zeros(shape), chunks=shape, compression="gzip")
        else:
            file.create_dataset(PLACE, shape, h5py.string_dtype(), data=np.full(shape, "1", object))
    with pytest.raises(EngineError, match=r"m\.h5: its weights can't be read"):
        load_model(tmp_path / "m.h5")


def test_the_state_of_a_training_in_float16_with_averaged_weights_is_taken(tmp_path):
    import keras

    from isonet_scipion.engine.network.stored_weights import require_weights

    model = build_unet(NetworkSettings(filter_base=4, unet_depth=1, convs_per_depth=2))
    optimiser = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.001, use_ema=True))
    model.compile(optimiser)
    optimiser.build(model.trainable_variables)
    model.save(tmp_path / "state.keras")
    require_weights(tmp_path / "state.keras", [weights.shape for weights in model.get_weights()])
