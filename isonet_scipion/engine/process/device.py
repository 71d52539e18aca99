"""Choosing the devices and the number format before Keras is imported."""

from __future__ import annotations

import functools
import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from isonet_scipion.engine.errors import NO_THREAD, EngineError, one_line
from isonet_scipion.engine.process.backend import choose_backend, restore_conventions
from isonet_scipion.engine.process.gpus import CPU, FOR_CPU, NVIDIA_DRIVER, VISIBLE, choose_visible
from isonet_scipion.engine.process.kept_compilations import MOST_BYTES, Compilations, user_folder
from isonet_scipion.engine.process.memory import free_address_space, free_main_memory
from isonet_scipion.engine.process.processor import multiplies_bfloat16
from isonet_scipion.engine.process.threads import network_threads, require_threads
from isonet_scipion.engine.wording import counted

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)
REASONS = re.compile(r"cuda|cudnn|gpu|driver|dlopen", re.IGNORECASE)
# what TensorFlow, JAX, PyTorch, cuDNN, cuBLAS, cuFFT, oneDNN and the system say when memory does not suffice, in small
# letters and with blanks; searches for an algorithm end so where none got its workspace, and libraries' starts where
# there is no room for their handles
OUT_OF_MEMORY = (
    "resourceexhausted", "resource exhausted", "outofmemory", "out of memory", "oom when allocating", "memoryerror",
    "bad alloc", "alloc failed", "allocation failed", "memoryallocation", "failed to allocate", "unable to allocate",
    "cannot allocate memory", "not enough memory", "exceeds the memory limit", NO_THREAD,
    "dst tensor is not initialized", "no algorithm worked", "failed to determine best cudnn convolution algorithm",
    "unable to find a valid cudnn algorithm", "unable to find an engine to execute", "cufft batched plan",
    "cublas status not initialized", "cudnn status not initialized", "could not create a memory object",
    "cudnn status internal error", "all algorithms tried", "autotuning failed",
)  # fmt: skip
Result = TypeVar("Result")
MOST_OF_A_LINE = 200  # characters of an exception in a warning
SHARING = ("tensorflow", "jax")  # backends with which several GPUs train together
KEPT_SECONDS = 0.1  # of a compilation that is worth keeping
LEAST_ADDRESS_SPACE = 3 << 29  # bytes; with less, TensorFlow ends the process while it is imported


@dataclass(frozen=True)
class Devices:
    """What the network runs on."""

    backend: str
    gpus: tuple[str, ...]  # names
    policy: str  # Keras's name of the number format
    replicas: tuple[str, ...] = ("CPU:0",)  # names of the devices that share a batch

    @property
    def count(self) -> int:
        """How many devices share a batch."""
        return len(self.replicas)


def choose_devices(
    gpu_id: str | None = None, precision: str = "float32", fits_float16: bool = False, workers: int = 0
) -> Devices:
    """Make Keras ready; call it before anything imports Keras.

    Parameters
    ----------
    gpu_id : str, optional
        See `gpus.named_gpus`; None: all visible GPUs, and where there is none, the CPU.
    precision : str
        auto, float32, mixed_bfloat16 or mixed_float16. auto: bfloat16 on GPUs and processors that are fast in it,
        float16 on GPUs that are fast in it alone (compute capability 7) if the network allows it, else float32.
    fits_float16 : bool
        Whether the network's numbers are sure to stay within float16's range.
    workers : int
        Threads that will prepare the network's input.

    Raises
    ------
    EngineError
        If the list of GPUs can't be read or names one that is not there, no backend is installed, the processor can't
        compute in the format, or limits on memory or threads would let it end the process.
    """
    named = choose_visible(gpu_id)
    choose_backend()
    # on CPUs with AVX2 only, TensorFlow leaves its fast kernels off by itself
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if "keras" not in sys.modules and free_address_space() < LEAST_ADDRESS_SPACE:
        raise _too_little("too little for TensorFlow")
    if "keras" not in sys.modules:
        require_threads(network_threads(workers))
    try:
        with _quiet():
            import keras
    except Exception as error:  # where memory does not suffice it may be any
        if free_address_space() < math.inf:
            raise _too_little(type(error).__name__) from error
        if not isinstance(error, ImportError):
            raise
        raise EngineError(
            "TensorFlow",
            f"it can't be imported ({error})",
            "Install it again: in Scipion as described in the README, elsewhere pip install 'isonet-scipion[engine]'.",
        ) from error
    restore_conventions()
    backend = keras.backend.backend()
    if backend == "jax":
        _keep_compilations()
    gpus = _gpu_names(backend)
    if gpus and os.environ.get(VISIBLE) != _visible_at_first():
        why = f"this process works on {VISIBLE} '{_visible_at_first()}' already and can't change to '{gpu_id}'"
        raise EngineError("gpuID", why, "Start another process for other GPUs.")
    if len(gpus) < named:
        raise EngineError(
            "gpuID",
            f"'{gpu_id}' names {counted(named, 'GPUs')}, but {backend} finds {len(gpus)}{_reason(backend)}",
            f"Name GPUs that are there, or {FOR_CPU}.",
        )
    if not gpus:
        if os.environ.get(VISIBLE) == CPU:
            log.info("The network runs on the CPU, as chosen.")
        else:
            log.warning("No GPU found%s: the network runs on the CPU, which takes longer.", _reason(backend))
    policy = precision
    if precision == "auto":
        policy = _automatic_policy(backend, fits_float16) if gpus else _cpu_policy(backend)
    elif not gpus and not _cpu_computes_in(backend, precision):
        raise EngineError(
            "precision", f"TensorFlow can't compute in {precision} on this processor", "Give precision auto or float32."
        )
    keras.config.set_dtype_policy(policy)
    replicas = tuple(f"GPU:{number}" for number in range(len(gpus))) or ("CPU:0",)
    return Devices(backend, gpus, policy, replicas if backend in SHARING else replicas[:1])


def _too_little(why: str) -> EngineError:
    left = f"the limit on it leaves {free_address_space() / 2**30:.1f} GiB"
    return EngineError("memory", f"{left} ({why})", "Raise the limit (ulimit -v) to 4 GiB or more.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep TensorFlow's messages about its own start off the screen; errors still come as exceptions."""
    kept = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)


@functools.lru_cache(maxsize=1)
def _keep_compilations() -> None:
    """Have JAX keep what it compiles for the next process; call it before anything is compiled.

    Where the folder can't be used that is said, and all goes on without. JAX's own variables come first: with
    JAX_COMPILATION_CACHE_DIR it keeps all there in its own way, with JAX_ENABLE_COMPILATION_CACHE=0 nothing.
    """
    import jax
    from jax._src import compilation_cache

    config: Any = jax.config  # it has no types
    caches: Any = compilation_cache
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    try:
        folder = user_folder()
    except OSError as error:
        log.info("What JAX compiles is not kept for the next start: %s.", error)
        return
    kept = Compilations(folder)
    # JAX writes its own files in place, so that a full disk or a kill leaves broken ones for good, and bounds them only
    # with a further package and locks, which not all file systems have
    caches.get_file_cache = lambda path: (kept, path)
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", KEPT_SECONDS)
    config.update("jax_persistent_cache_enable_xla_caches", "none")  # they would grow without bounds
    log.info("What JAX compiles is kept for the next start, at most %d MiB in %s", MOST_BYTES >> 20, folder)


@functools.lru_cache(maxsize=1)
def _visible_at_first() -> str | None:
    """The GPUs that the backend of this process took."""
    return os.environ.get(VISIBLE)


def _reason(backend: str) -> str:
    """What a backend itself says of GPUs that it can't use, where there is a driver; for a message."""
    if not os.path.exists(NVIDIA_DRIVER):
        return ""
    # asked in a process of its own: in this one the backend has been told to be quiet
    command = [sys.executable, "-c", f"from {__name__} import _gpu_names; print(_gpu_names({backend!r}))"]
    told = subprocess.run(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}, capture_output=True, text=True)
    lines = [line.strip() for line in told.stderr.splitlines() if REASONS.search(line)]
    return f" ({lines[-1][-300:]})" if lines else ", though there is an NVIDIA driver"


def _gpu_names(backend: str) -> tuple[str, ...]:
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        for device in devices:
            tf.config.experimental.set_memory_growth(device, True)
        return tuple(tf.config.experimental.get_device_details(d).get("device_name", d.name) for d in devices)
    if backend == "jax":
        import jax

        return tuple(device.device_kind for device in jax.devices() if device.platform == "gpu")
    import torch

    return tuple(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))


def _automatic_policy(backend: str, fits_float16: bool) -> str:
    """Keras's name of the number format that suits the GPUs."""
    capability = _compute_capability(backend)
    if capability >= (8,):
        return "mixed_bfloat16"
    if capability >= (7,) and fits_float16:
        return "mixed_float16"
    if capability >= (7,):
        log.info("Number format float32: these GPUs have no bfloat16, and float16's range may not suffice here.")
    return "float32"


def _cpu_policy(backend: str) -> str:
    """Keras's name of the number format that suits the processor."""
    fast = backend == "tensorflow" and multiplies_bfloat16() and _cpu_computes_in(backend, "mixed_bfloat16")
    return "mixed_bfloat16" if fast else "float32"


def _cpu_computes_in(backend: str, policy: str) -> bool:
    """Whether the processor can convolve in a number format: TensorFlow's kernels alone lack some on some."""
    if backend != "tensorflow" or policy == "float32":
        return True
    import tensorflow as tf

    ones = tf.ones((3, 3, 3, 4, 4), policy.replace("mixed_", ""))
    try:
        tf.nn.conv3d(ones, ones, [1] * 5, "SAME")
    except tf.errors.AbortedError:
        return False
    return True


def _compute_capability(backend: str) -> tuple[int, ...]:
    """The least of all GPUs, such as (8, 6)."""
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        return min(tf.config.experimental.get_device_details(d).get("compute_capability", (0, 0)) for d in devices)
    if backend == "jax":
        import jax

        told = [str(getattr(device, "compute_capability", 0)) for device in jax.devices()]
        return min(tuple(map(int, words.split("."))) for words in told)
    import torch

    return min(torch.cuda.get_device_capability(number) for number in range(torch.cuda.device_count()))


def training_scope(devices: Devices) -> AbstractContextManager[Any]:
    """Context in which a network is built, compiled and trained, so that several GPUs share each batch.

    With JAX what a network is trained to is the same for any number of devices, to rounding: its batch normalisation
    and dropout are those of the whole batch. With TensorFlow they are those of each device's share.
    """
    if len(devices.gpus) > devices.count:
        log.warning("%s trains on one GPU, the first of %d.", devices.backend, len(devices.gpus))
    if devices.count == 1:
        return nullcontext()
    if devices.backend == "tensorflow":
        import tensorflow as tf

        return tf.distribute.MirroredStrategy(list(devices.replicas)).scope()
    import keras

    return keras.distribution.DataParallel(devices=[name.lower() for name in devices.replicas]).scope()


def each_own_samples(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors whose first axis counts samples that do not mix, for a `training_scope`.

    JAX alone needs it: where it shares out a batch by itself, all devices compute transforms and loops of all samples.
    """
    import keras

    sharing = keras.distribution.distribution()
    if sharing is None:
        return function
    import jax

    if hasattr(jax, "shard_map"):
        shard_map = jax.shard_map
    else:  # before JAX 0.6
        from jax.experimental.shard_map import shard_map
    spec: Any = jax.sharding.PartitionSpec  # it has no types
    by_sample = spec(sharing.batch_dim_name)
    return shard_map(function, mesh=sharing.device_mesh.backend_mesh, in_specs=by_sample, out_specs=by_sample)


def shared_out(batch: Any) -> Any:
    """A batch, in a `training_scope` of JAX with a share on each device where it can be divided evenly."""
    import keras

    sharing = keras.distribution.distribution()
    if sharing is None or len(batch) % sharing.num_model_replicas:
        return batch
    return keras.distribution.distribute_tensor(batch, sharing.get_data_layout(batch.shape))


def placed(batch: Any) -> Any:
    """A batch of any structure on its way to where it is computed; the copy goes on while other work is done.

    For JAX; TensorFlow makes copies of its own ahead of the training.
    """
    import keras

    if keras.backend.backend() != "jax":
        return batch
    import jax

    several = keras.distribution.distribution() is not None
    return keras.tree.map_structure(shared_out if several else jax.device_put, batch)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of any backend, or one that it came from or holds means that memory did not suffice."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in seen):
            continue
        told = f"{type(one).__name__}: {one}".lower().replace("_", " ")
        # the engine's own may name a file or option of any name
        if not isinstance(one, EngineError) and any(words in told for words in OUT_OF_MEMORY):
            return True
        seen.append(one)
        context = None if one.__suppress_context__ else one.__context__
        waiting += [one.__cause__, context, *getattr(one, "exceptions", ())]  # the last of an ExceptionGroup
    return False


def with_less_memory(attempt: Callable[[], Result], lessen: Callable[[str], None]) -> Result:
    """What a function makes; where memory does not suffice it is called again, with less to do.

    Parameters
    ----------
    attempt : callable
        What is to be done.
    lessen : callable
        Makes the next call need less, and is told what the lack of memory was, in short.

    Raises
    ------
    MemoryError, EngineError
        What `lessen` raises where there is no less.

    Examples
    --------
    >>> sizes = [4]
    >>> def attempt():
    ...     if sizes[-1] > 1:
    ...         raise MemoryError
    ...     return "done"
    >>> with_less_memory(attempt, lambda told: sizes.append(sizes[-1] // 2)), sizes
    ('done', [4, 2, 1])
    """
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            told = in_short(error)
        lessen(told)  # out here, where the error's frames no longer hold the memory


def in_short(error: BaseException) -> str:
    """The first line of an exception, of which backends write many."""
    return one_line((f"{type(error).__name__}: {error}".splitlines() or [""])[0][:MOST_OF_A_LINE])


@functools.lru_cache(maxsize=4)  # a network's parts, and one in training
def on_device(model: keras.Model) -> Callable[[Any], Any]:
    """A network without training, from tensors to tensors that stay on the device, compiled once for each shape."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda tensor: model(tensor, training=False), reduce_retracing=True)
    if backend == "jax":
        import jax

        run = jax.jit(lambda *weights_and_tensor: model.stateless_call(*weights_and_tensor, training=False)[0])

        def apply(tensor: Any) -> Any:
            kinds = model.trainable_variables, model.non_trainable_variables
            return run(*([weight.value for weight in kind] for kind in kinds), tensor)

        return apply
    import torch

    return torch.no_grad()(lambda tensor: model(tensor, training=False))


def free_memory(devices: Devices) -> int:
    """Bytes that a network can use: of the first GPU, else of the main memory."""
    if devices.gpus:
        query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible:
            query.append(f"--id={visible.split(',')[0]}")
        try:
            return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]) << 20
        except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
            log.warning("nvidia-smi does not tell the GPU's free memory; 8 GiB are assumed.")
            return 8 << 30
    return free_main_memory()
