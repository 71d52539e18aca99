"""refine_iterNN.json, from which another run can go on after an iteration."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing, require_file
from isonet_scipion.engine.io.json_types import require_kinds
from isonet_scipion.engine.settings.training import training_options

MODEL_SUFFIXES = ("keras", "h5")  # of ours, of IsoNet 0.2
GENERATED_NOISE = "training_noise"  # folder in IsoNet 0.2's result_dir: noise that it made itself
CHOSEN = "chosen_iteration"  # whose model is to be taken, so far, in refine_iterNN.json
OF_ITERATION = re.compile(r"(?:model|refine)_iter(\d{2,9})\.(?:keras|json)")


def model_name(iteration: int) -> str:
    """Name of an iteration's model, without suffix."""
    return f"model_iter{iteration:02d}"


def iteration_of(name: str) -> int | None:
    """The iteration that a file of a training is of, by its name: its model or its json; None for other names."""
    match = OF_ITERATION.fullmatch(name)
    return int(match[1]) if match else None


def write_refine_json(folder: Path, iteration: int, options: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write the options of a run, and other facts, after an iteration."""
    content = {**options, "iter_count": iteration, **facts}
    with replacing(folder / f"refine_iter{iteration:02d}.json") as temporary:
        temporary.write_text(json.dumps(content, indent=4, sort_keys=True))


@dataclass(frozen=True)
class RefineJson:
    """What such a file says."""

    path: Path
    iteration: int  # that was finished
    options: dict[str, Any]  # of the run, by name
    gpus: str | None = None  # that the run was given, perhaps of another machine

    def model(self) -> Path:
        """The iteration's model; raises an EngineError where it is not beside the file."""
        name = model_name(self.iteration)
        for suffix in MODEL_SUFFIXES:
            model = self.path.parent / f"{name}.{suffix}"
            if model.exists():
                return model
        raise EngineError(str(self.path), f"{name} is not beside it", "Keep models and json files together.")


def chosen_model(folder: str | os.PathLike[str]) -> Path | None:
    """The model of a training's folder to correct with: that which its last record names, else the last.

    Returns
    -------
    Path or None
        None where there is no model, in a folder of IsoNet 0.2 too.
    """
    found = [path for suffix in reversed(MODEL_SUFFIXES) for path in Path(folder).glob(f"model_iter*.{suffix}")]
    models = {int(match[1]): path for path in found if (match := re.search(r"_iter(\d+)$", path.stem))}
    for iteration in sorted(models, reverse=True):
        path = Path(folder) / f"refine_iter{iteration:02d}.json"
        if path.exists():  # not yet, while a model is being written
            try:
                said = json.loads(require_file(path, "record of a training").read_text()).get(CHOSEN)
            except (EngineError, ValueError, AttributeError, RecursionError):
                said = None
            return models[said if type(said) is int and said in models else iteration]
    return models[max(models)] if models else None


def read_refine_json(path: str) -> RefineJson:
    """Read one, of IsoNet 0.2 too.

    Raises
    ------
    EngineError
        If it is not one, or holds a value of a wrong kind.
    """
    file = require_file(path, "file to continue from")
    known = training_options()
    # where to write is for the user to say, not for a file that may be a stranger's; the GPUs may be another machine's
    del known["continue_from"], known["result_dir"], known["gpuID"]
    try:
        stored = json.loads(file.read_text())
        restored = {
            name: tuple(value) if isinstance(value, list) else value for name, value in stored.items() if name in known
        }
        if restored.get("noise_dir") == f"{stored.get('result_dir')}/{GENERATED_NOISE}":
            del restored["noise_dir"]  # nobody gave it
        iteration = stored.get("iter_count", 0)
        kinds = {name: one.kind for name, one in known.items()}
        require_kinds({**restored, "iter_count": iteration}, {**kinds, "iter_count": int})
        for name, value in restored.items():
            if not known[name].allows(value):
                raise ValueError(f"its {name} is {value!r}")
        if iteration < 0:
            raise ValueError(f"its iter_count is {iteration}")
        gpus = stored.get("gpuID")
        are_numbers = isinstance(gpus, str) and re.fullmatch(r"[-0-9, ]{1,80}", gpus)
        return RefineJson(file, iteration, restored, gpus if are_numbers else None)
    except (ValueError, AttributeError, RecursionError) as error:
        raise EngineError(str(file), f"it is not a refine_iterNN.json ({error})", "Give one of the run.") from error
