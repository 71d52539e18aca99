"""What the devices are asked for, and what they say."""

import os
import platform
import subprocess
import sys

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process import device
from isonet_scipion.engine.process.device import (
    Devices,
    choose_devices,
    free_memory,
    is_out_of_memory,
    with_less_memory,
)

GPU = Devices("tensorflow", ("some GPU",), "float32", ("GPU:0",))


@pytest.mark.parametrize("listed", ["first", "0;1", "0,", "-2"])
def test_a_list_that_names_no_gpus_is_refused(listed):
    with pytest.raises(EngineError, match="gpuID"):
        choose_devices(listed)


def test_lists_as_shells_write_them_are_read(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    choose_devices("-1")
    assert device.os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


def _raised_from(first, cause):
    """An error that another one led to, named as its cause or met while that was handled."""
    try:
        try:
            raise first
        except Exception as error:
            if cause:
                raise ValueError("it failed") from error
            raise ValueError("it failed")  # noqa: B904
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("RESOURCE_EXHAUSTED: 12 bytes"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY"), True),
        (RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("Failed to create cuFFT batched plan with scratch allocator"), True),
        (RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("cudaErrorMemoryAllocation"), True),
        (RuntimeError("Could not create cudnn handle: CUDNN_STATUS_INTERNAL_ERROR"), True),
        (RuntimeError("All algorithms tried for convolution %cudnn-conv failed. Falling back to default."), True),
        (RuntimeError("Autotuning failed for HLO: %custom-call with error: no config was profiled"), True),
        (_raised_from(MemoryError(), cause=True), True),
        (_raised_from(MemoryError(), cause=False), True),
        (_raised_from(KeyError(), cause=False), False),
        (type("Group", (RuntimeError,), {"exceptions": (ValueError(), MemoryError())})(), True),
        (RuntimeError("CUDNN_STATUS_BAD_PARAM"), False),
        (ValueError("shapes differ"), False),
    ],
)
def test_errors_of_memory_are_known_in_all_words(error, memory):
    assert is_out_of_memory(error) is memory


def test_free_memory_is_that_of_the_first_chosen_gpu(monkeypatch):
    asked = []

    def answer(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "1024\n")

    monkeypatch.setattr(device.subprocess, "run", answer)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert free_memory(GPU) == 1 << 30
    assert "--id=3" in asked[0]
    monkeypatch.setattr(device.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "no number"))
    assert free_memory(GPU) == 8 << 30


def test_a_backend_that_trains_on_one_gpu_says_so(caplog):
    two = Devices("torch", ("one GPU", "another"), "float32", ("GPU:0",))
    with device.training_scope(two):
        assert two.count == 1 and "torch trains on one GPU, the first of 2" in caplog.text
    caplog.clear()
    with device.training_scope(GPU):
        assert not caplog.text


@pytest.mark.parametrize(("backend", "count"), [("torch", 1), ("jax", 2), ("tensorflow", 2)])
def test_gpus_share_a_batch_where_the_backend_can(monkeypatch, backend, count):
    monkeypatch.setattr(device, "_gpu_names", lambda _: ("one GPU", "another"))
    monkeypatch.setattr(device, "_compute_capability", lambda _: (6, 1))
    monkeypatch.setattr("keras.backend.backend", lambda: backend)
    found = choose_devices()
    assert len(found.gpus) == 2 and found.count == count


@pytest.mark.parametrize(
    ("capability", "fits_float16", "expected", "said"),
    [
        ((9, 0), False, "mixed_bfloat16", False),
        ((8, 0), True, "mixed_bfloat16", False),
        ((7, 5), True, "mixed_float16", False),
        ((7, 0), False, "float32", True),
        ((6, 1), True, "float32", False),
    ],
)
def test_the_number_format_suits_gpu_and_network(monkeypatch, caplog, capability, fits_float16, expected, said):
    monkeypatch.setattr(device, "_gpu_names", lambda _: ("a GPU",))
    monkeypatch.setattr(device, "_compute_capability", lambda _: capability)
    caplog.set_level("INFO")
    try:
        assert choose_devices(None, "auto", fits_float16).policy == expected
        assert ("Number format float32" in caplog.text) == said
        assert choose_devices(None, "mixed_bfloat16", fits_float16).policy == "mixed_bfloat16"  # as it is asked for
    finally:
        choose_devices()


@pytest.mark.parametrize(
    ("fast", "works", "backend", "expected"),
    [
        (True, True, "tensorflow", "mixed_bfloat16"),
        (True, False, "tensorflow", "float32"),
        (False, True, "tensorflow", "float32"),
        (True, True, "jax", "float32"),
    ],
)
def test_bfloat16_is_chosen_on_processors_that_are_faster_in_it(monkeypatch, fast, works, backend, expected):
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: fast)
    monkeypatch.setattr(device, "_cpu_computes_in", lambda *_: works)
    assert device._cpu_policy(backend) == expected


LACKING = "precision: TensorFlow can't compute in mixed_bfloat16 on this processor"


def test_a_number_format_that_the_processor_lacks_is_refused(monkeypatch):
    tf = pytest.importorskip("tensorflow")

    def lacking(*_):
        raise tf.errors.AbortedError(None, None, "could not create a primitive")

    monkeypatch.setattr(tf.nn, "conv3d", lacking)
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: True)
    with pytest.raises(EngineError, match=LACKING):
        choose_devices("-1", "mixed_bfloat16")
    assert choose_devices("-1", "auto").policy == "float32"


@pytest.mark.skipif(platform.machine() != "x86_64" or not sys.platform.startswith("linux"), reason="for Linux on x86")
@pytest.mark.parametrize("precision", ["auto", "mixed_bfloat16", "float32"])
def test_the_processor_computes_in_each_number_format_that_is_not_refused(precision):
    code = f"""
import numpy
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process.device import choose_devices
try:
    chosen = choose_devices("-1", "{precision}").policy
except EngineError as error:
    print(error)
else:
    import keras
    made = keras.layers.Conv3D(4, 3)(numpy.ones((1, 4, 4, 4, 4), "float32"))
    print(chosen, "computes in", made.dtype.name)
"""
    # oneDNN's own variable: on processors with AVX-512 it then lacks bfloat16; on older ones TensorFlow is without it
    without = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "KERAS_BACKEND": "tensorflow"}
    told = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True).stdout
    if precision == "mixed_bfloat16":
        assert LACKING in told or "mixed_bfloat16 computes in bfloat16" in told
    else:
        assert "float32 computes in float32" in told


def test_what_memory_does_not_suffice_for_is_tried_again_with_less_and_other_errors_are_not():
    told = []

    def attempt():
        if len(told) < 2:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: of 4096 bytes")
        if len(told) > 2:
            raise ValueError("wrong shape")
        return "made"

    assert with_less_memory(attempt, told.append) == "made"
    assert told == ["RuntimeError: CUDA_ERROR_OUT_OF_MEMORY: of 4096 bytes"] * 2
    told.append("third")
    with pytest.raises(ValueError, match="wrong shape"):
        with_less_memory(attempt, told.append)
    assert len(told) == 3
