"""The backend and Keras's conventions, whatever the user's home and environment hold."""

import json
import os
import subprocess
import sys

import pytest

from isonet_scipion.engine.process.backend import CHOICE, environment_choice

SHOW = (
    "from isonet_scipion.engine.process.device import choose_devices; choose_devices('-1'); import keras; "
    "print(keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format(), "
    "keras.config.dtype_policy().name)"
)


def conventions(tmp_path, settings=None, **variables):
    """What Keras is told to do in a process with such a keras.json and environment variables; and its messages."""
    if settings:
        (tmp_path / "keras.json").write_text(json.dumps(settings))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS")}
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        env={**kept, "KERAS_HOME": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1], done.stderr


def test_a_keras_json_for_other_work_changes_nothing(tmp_path):
    settings = {"backend": "torch", "floatx": "float16", "image_data_format": "channels_first", "epsilon": 1e-3}
    assert conventions(tmp_path, settings)[0] == "tensorflow float32 channels_last float32"


def test_a_backend_that_is_not_there_is_ignored_with_a_word(tmp_path):
    shown, log = conventions(tmp_path, KERAS_BACKEND="theano")
    assert shown.startswith("tensorflow") and "KERAS_BACKEND=theano" in log


def test_flags_that_tensorflow_does_not_know_do_not_end_it(tmp_path):
    shown, log = conventions(tmp_path, TF_XLA_FLAGS="--no_such_flag=1")
    assert shown.startswith("tensorflow") and "TF_XLA_FLAGS, which was set for other programs, is ignored" in log


def test_a_backend_that_is_there_is_taken(tmp_path):
    pytest.importorskip("jax")
    assert conventions(tmp_path, KERAS_BACKEND="jax")[0].startswith("jax")


@pytest.mark.parametrize(("text", "expected"), [("jax\n", "jax"), ("", None), ("numpy", None), (None, None)])
def test_the_choice_of_an_environment(tmp_path, text, expected):
    if text is not None:
        (tmp_path / CHOICE).write_text(text)
    assert environment_choice(tmp_path) == expected
