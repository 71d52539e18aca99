"""The command line: one command per stage, its options generated from `settings`."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import Field, fields
from importlib import import_module
from typing import Any, get_type_hints

import click

from isonet_scipion import __version__
from isonet_scipion.engine import settings as all_settings
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import alone, discard_temporaries, require_outputs
from isonet_scipion.engine.process.device import is_out_of_memory
from isonet_scipion.engine.process.parent_watch import live_with_parent
from isonet_scipion.engine.process.signals import STATUS, Terminated, ending_on_signals

NAME = "isonet-engine"
# command: its settings, its module in `stages`, its arguments
COMMANDS: dict[str, tuple[type | None, str, tuple[str, ...]]] = {
    "prepare_star": (all_settings.PrepareStarSettings, "prepare", ("FOLDER",)),
    "prepare_subtomo_star": (all_settings.PrepareSubtomoStarSettings, "prepare", ("FOLDER",)),
    "deconv": (all_settings.DeconvSettings, "deconv", ("STAR_FILE",)),
    "make_mask": (all_settings.MakeMaskSettings, "make_mask", ("STAR_FILE",)),
    "extract": (all_settings.ExtractSettings, "extract", ("STAR_FILE",)),
    "refine": (all_settings.RefineSettings, "refine", ("STAR_FILE",)),
    "predict": (all_settings.PredictSettings, "predict", ("STAR_FILE", "MODEL")),
    "report": (all_settings.ReportSettings, "report", ("STAR_FILE", "MODEL")),
    "resize": (all_settings.ResizeSettings, "resize", ("STAR_FILE",)),
    "export_relion": (all_settings.ExportRelionSettings, "export_relion", ("STAR_FILE",)),
    "export_model": (None, "export_model", ("MODEL", "OUTPUT_H5")),
    "check": (None, "check", ()),
}
# command: the argument or option that names what it writes, which one command at a time may do
WRITES = {
    "prepare_star": "output_star",
    "prepare_subtomo_star": "output_star",
    "deconv": "star_file",
    "make_mask": "star_file",
    "extract": "subtomo_star",
    "refine": "result_dir",
    "predict": "star_file",
    "resize": "star_file",
    "export_relion": "output_star",
    "export_model": "output_h5",
}
# arguments and options that name a file, or a folder, to write
FILES = {"output_star", "subtomo_star", "output_h5"}
FOLDERS = {"deconv_folder", "mask_folder", "subtomo_folder", "result_dir", "output_dir", "out_folder"}
# command: what makes it smaller
LESS_MEMORY = {
    "deconv": "Give chunk_size, such as 64, or lower it, or rescale the tomogram (resize).",
    "make_mask": "Make the mask of a rescaled tomogram (resize).",
    "extract": "Lower cube_size and crop_size.",
    "refine": "Lower batch_size, filter_base or cube_size.",
    "predict": "Give cube_size and crop_size, or lower them, or rescale the tomogram (resize).",
    "resize": "Raise apix.",
}
DESCRIPTIONS = {
    "export_model": "Write a model as an .h5 that IsoNet 0.2 reads.",
    "check": "Tell whether the installation works: versions, devices, a tiny training.",
}


class NumberList(click.ParamType):
    """Numbers separated by commas, also in brackets."""

    def __init__(self, kind: type) -> None:
        """Take int or float."""
        self.kind = kind
        self.name = "integers" if kind is int else "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse `0.1,0.2`; a tuple is kept."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(part) for part in value.strip("()[] ").split(",") if part.strip())
        except ValueError:
            numbers = (math.nan,)
        if not all(map(math.isfinite, numbers)):
            self.fail(f"'{value}' is not a list such as 1,2,3", param, ctx)
        return numbers


class FiniteFloat(click.types.FloatParamType):
    """A number that is neither NaN nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"'{value}' is not a finite number", param, ctx)
        return number


class Text(click.types.StringParamType):
    """A name or list, which is not empty."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is empty."""
        if not str(value).strip():
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


def _click_type(hint: Any, field: Field) -> click.ParamType:
    arguments = [argument for argument in getattr(hint, "__args__", ()) if argument is not type(None)]
    if type(None) in getattr(hint, "__args__", ()):
        return _click_type(arguments[0], field)
    if getattr(hint, "__origin__", None) is tuple:
        return NumberList(arguments[0])
    if field.metadata["choices"]:
        return click.Choice(field.metadata["choices"])
    if hint is int and field.metadata["least"] is not None:
        return click.IntRange(min=field.metadata["least"])
    return {int: click.INT, float: FiniteFloat(), bool: click.BOOL, str: Text()}[hint]


def _help(field: Field) -> str:
    if field.default is None:
        return field.metadata["help"]  # it tells what happens then
    shown = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return f"{field.metadata['help']} Default: {shown}."


def _options(kind: type) -> list[click.Option]:
    hints = get_type_hints(kind)
    return [
        click.Option(
            [f"--{field.name}", field.name],
            type=_click_type(hints[field.name], field),
            default=field.default,
            help=_help(field),
        )
        for field in fields(kind)
    ]


def _callback(name: str, kind: type | None, module: str) -> Callable:
    def run(**values: Any) -> None:
        context = click.get_current_context()
        names = {field.name for field in fields(kind)} if kind else set()
        arguments = [value for key, value in values.items() if key not in names]
        if kind:
            arguments.append(kind(**{key: values[key] for key in names}))
        if name == "refine":
            source = click.core.ParameterSource.COMMANDLINE
            arguments.append({key for key in names if context.get_parameter_source(key) is source})
        _set_up_logging(values.get("log_level", "info"))
        stage = getattr(import_module(f"isonet_scipion.engine.stages.{module}"), name)
        require_outputs(*([values[key] for key in sorted(kind_of & values.keys())] for kind_of in (FILES, FOLDERS)))
        with alone(values[WRITES[name]]) if name in WRITES else nullcontext():
            stage(*arguments)

    return run


def _command(name: str) -> click.Command:
    kind, module, arguments = COMMANDS[name]
    description = kind.__doc__ if kind else DESCRIPTIONS[name]
    params: list[click.Parameter] = [
        click.Argument([argument.lower()], type=Text(), metavar=argument) for argument in arguments
    ]
    if kind:
        params += _options(kind)
    return click.Command(name, callback=_callback(name, kind, module), params=params, help=description)


def _set_up_logging(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    for noisy in ("tensorflow", "absl", "jax", "matplotlib", "h5py"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


@click.version_option(__version__, prog_name=NAME)
@click.group(NAME, commands={name: _command(name) for name in COMMANDS}, context_settings={"max_content_width": 110})
def command() -> None:
    """Correct the missing wedge of cryo-electron tomograms, and denoise them, with IsoNet's method.

    The stages in their order: prepare_star, deconv, make_mask, extract, refine, predict, report.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        0 success, 1 the stage failed, 2 wrong usage, 129, 130 or 143 interrupted by SIGHUP, Ctrl-C or SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _open_closed_streams()
    try:
        with ending_on_signals(discard_temporaries):
            live_with_parent()
            command.main(arguments, prog_name=NAME, standalone_mode=False)
        return 0
    except EngineError as error:
        message, status = str(error), 1
    except click.UsageError as error:
        context = error.ctx.command_path if error.ctx else NAME
        message, status = f"{error.format_message().rstrip('.')}. See '{context} --help'.", 2
    except (click.Abort, KeyboardInterrupt):
        message, status = "interrupted; what was finished is kept", 130
    except Terminated as signalled:
        message, status = "terminated; what was finished is kept", STATUS[signalled.args[0]]
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message, status = _out_of_memory(arguments, error), 1
    print(f"{NAME}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _open_closed_streams() -> None:
    """Let standard streams that the caller closed lead nowhere: a file opened next would get their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.fstat(number)
                continue
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _out_of_memory(arguments: Sequence[str], error: Exception) -> str:
    remedy = LESS_MEMORY.get(next(iter(arguments), ""), "Close other programs.")
    return f"memory: it does not suffice ({str(error)[:200] or type(error).__name__}). {remedy}"
