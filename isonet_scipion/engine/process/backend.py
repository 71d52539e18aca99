"""Which of Keras's backends computes, whatever the user's own environment says of Keras."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path

log = logging.getLogger(__name__)
BACKENDS = ("tensorflow", "jax", "torch")
VARIABLE = "KERAS_BACKEND"
FLAGS = "TF_XLA_FLAGS"  # of these, one that TensorFlow does not know ends the process without a word
CHOICE = "isonet-engine-backend"  # in an environment that the plugin made: what was chosen for it


def choose_backend() -> str:
    """Set Keras's backend, before it is imported: KERAS_BACKEND, else the environment's, else one that is installed.

    A keras.json in the user's home does not count: it was written for other work.

    Returns
    -------
    str
        tensorflow, jax or torch.
    """
    if "keras" not in sys.modules and os.environ.pop(FLAGS, ""):
        log.warning("%s, which was set for other programs, is ignored.", FLAGS)
    asked, chosen = os.environ.get(VARIABLE), environment_choice()
    if asked and "keras" not in sys.modules and not (asked in BACKENDS and find_spec(asked)):
        log.warning("%s=%s is not installed here: it is ignored.", VARIABLE, asked)
        asked = None
    installed = [backend for backend in BACKENDS if find_spec(backend)]
    backend = asked or (chosen if chosen in installed else next(iter(installed), BACKENDS[0]))
    os.environ[VARIABLE] = backend
    return backend


def environment_choice(folder: str | os.PathLike[str] = sys.prefix) -> str | None:
    """The backend that was chosen when an environment, by default this one, was made; None where none was."""
    try:
        word = Path(folder, CHOICE).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return word if word in BACKENDS else None


def restore_conventions() -> None:
    """Undo what a keras.json in the user's home changes: channels come last, numbers have single precision."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
