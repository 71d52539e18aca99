"""The command line: one command per stage, its options generated from `settings`."""

from __future__ import annotations

import io
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from isonet_scipion import __version__
from isonet_scipion.engine.errors import EngineError, one_line, printable, system_error
from isonet_scipion.engine.io.files import alone, discard_temporaries, require_outputs
from isonet_scipion.engine.io.outcome import MOST_WARNINGS, Outcome, reserve_outcome, write_outcome
from isonet_scipion.engine.process.device import is_out_of_memory
from isonet_scipion.engine.process.last_words import leave_last_words
from isonet_scipion.engine.process.libraries import prefer_own_libraries
from isonet_scipion.engine.process.memory import keep_freed_memory
from isonet_scipion.engine.process.open_files import allow_open_files
from isonet_scipion.engine.process.parent_watch import live_with_parent
from isonet_scipion.engine.process.signals import STATUS, Terminated, ending_on_signals, leave
from isonet_scipion.engine.process.threads import array_threads, require_threads
from isonet_scipion.engine.serving import HELP as SERVE_HELP
from isonet_scipion.engine.serving import NAME as SERVE
from isonet_scipion.engine.serving import serve

if TYPE_CHECKING:
    from isonet_scipion.engine.command import Command
    from isonet_scipion.engine.settings.option import Option

NAME = "isonet-engine"
# command: its module in `stages`, which holds its record; read when it is needed, since Keras and others take seconds
MODULES = {
    "prepare_star": "prepare",
    "prepare_subtomo_star": "prepare_subtomograms",
    "deconv": "deconv",
    "make_mask": "make_mask",
    "extract": "extract",
    "refine": "refine",
    "predict": "predict",
    "report": "report",
    "resize": "resize",
    "export_relion": "export_relion",
    "export_model": "export_model",
    "check": "check",
}


class NumberList(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
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
    """A number that is neither NaN nor infinite, nor out of an option's range."""

    def __init__(self, one: Option) -> None:
        """Take the option."""
        self.option = one

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"'{value}' is not a number such as 1.5", param, ctx)
        if not self.option.allows(number):
            self.fail(f"'{value}' is not from {self.option.least} to {self.option.most}", param, ctx)
        return number


class TrueOrFalse(click.types.BoolParamType):
    """True or False, or another word for one of them; an empty one, as of a shell's unset variable, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a word."""
        with suppress(click.BadParameter):
            if str(value).strip():
                return super().convert(value, param, ctx)
        return self.fail(f"'{value}' is neither True nor False", param, ctx)


class Text(click.types.StringParamType):
    """A name or list, which is not empty."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is empty, and what no name of a file can hold."""
        if not str(value).strip():
            self.fail("it is empty", param, ctx)
        if "\0" in str(value):
            self.fail("it holds a character that no name has (NUL)", param, ctx)
        return super().convert(value, param, ctx)


def _click_type(one: Option) -> Any:
    kind = one.value_kind
    if getattr(kind, "__origin__", None) is tuple:
        return NumberList(kind.__args__[0])
    if one.choices:
        return click.Choice(one.choices)
    if kind is int and (one.least, one.most) != (None, None):
        return click.IntRange(one.least, one.most)
    return {int: click.INT, float: FiniteFloat(one), bool: TrueOrFalse(), str: Text()}[kind]


def record_of(name: str) -> Command:
    """What is known of a command; imports its stage."""
    stage = import_module(f"isonet_scipion.engine.stages.{MODULES[name]}")
    return next(record for record in stage.COMMANDS if record.name == name)


def _value_name(argument: str) -> str:
    return argument.strip("[]").lower()


def _run(record: Command, values: Mapping[str, Any]) -> None:
    """Run a command with what was typed and the defaults, by name."""
    context = click.get_current_context()
    arguments = [values[_value_name(argument)] for argument in record.arguments]
    by_hand = click.core.ParameterSource.COMMANDLINE
    typed = {name: values[name] for name in record.options if context.get_parameter_source(name) is by_hand}
    arguments += record.of_options(typed)
    _set_up_logging(values.get("log_level", "info"))
    require_outputs([values[name] for name in record.files], [values[name] for name in record.folders])
    try:
        with alone(record.writes(record.told(values, typed))) if record.writes else nullcontext():
            record.function(*arguments)
    except EngineError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        why = f"there is not enough ({str(error)[:200] or type(error).__name__})"
        raise EngineError("memory", why, record.less_memory) from error


def _command(record: Command) -> click.Command:
    params: list[click.Parameter] = [
        click.Argument([_value_name(argument)], type=Text(), required=argument[0] != "[", metavar=argument)
        for argument in record.arguments
    ]
    params += [
        click.Option([f"--{one.flag}", name], type=_click_type(one), default=one.default, help=one.help)
        for name, one in record.options.items()
    ]
    return click.Command(
        record.name, callback=lambda **values: _run(record, values), params=params, help=record.description
    )


def _refuse_to_serve() -> None:
    raise click.UsageError(f"{SERVE} must be the first word, and can't be served itself")


class _Stages(click.Group):
    """The commands in their order, each made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, None where there is none of this name."""
        if cmd_name == SERVE:  # for its help: `main` runs it
            return click.Command(SERVE, help=SERVE_HELP, callback=_refuse_to_serve)
        if cmd_name not in MODULES:
            return None
        if "numpy" not in sys.modules:  # where it can't start its threads it raises Ctrl-C's signal
            require_threads(array_threads())
        return _command(record_of(cmd_name))


class _OneLine(logging.Formatter):
    """Log lines; names of files may hold a terminal's codes."""

    def format(self, record: logging.LogRecord) -> str:
        """One line for each record, but for a traceback."""
        record.msg, record.args = printable(record.getMessage()), None
        return super().format(record)


def _set_up_logging(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("tensorflow", "absl", "jax", "matplotlib", "h5py"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


class _Job(logging.Handler):
    """What is told of a command at its end."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []
        self.file: str | None = None  # to write it to

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(one_line(record.getMessage()))

    def tell(self, outcome: Outcome) -> int:
        """Show an error, and write the outcome where that was asked for; returns the exit status."""
        if outcome.error:
            print(f"{NAME}: error: {outcome.error}", file=sys.stderr)
        if self.file is not None:
            with suppress(OSError):  # the exit status says whether it went well
                write_outcome(self.file, replace(outcome, warnings=tuple(self.warnings)))
        return outcome.status


@click.version_option(__version__, prog_name=NAME)
@click.group(NAME, cls=_Stages, context_settings={"max_content_width": 110})
@click.option("--outcome", "outcome_file", metavar="FILE", help="Write how the command ended to this file, as JSON.")
@click.pass_obj
def command(job: _Job | None, outcome_file: str | None) -> None:
    """Correct the missing wedge of cryo-electron tomograms, and denoise them, with IsoNet's method.

    The stages in their order: prepare_star, deconv, make_mask, extract, refine, predict, report. Many commands in one
    process: 'isonet-engine serve' (see docs/cluster.md).
    """
    if job is not None and outcome_file is not None:
        reserve_outcome(outcome_file)
        job.file = outcome_file


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
    if arguments is not None:
        _open_closed_streams()
        return _obey(arguments)
    prefer_own_libraries()
    _open_closed_streams()
    keep_freed_memory()
    allow_open_files()
    leave_last_words(NAME)
    _outlive_readers()
    serves = sys.argv[1:2] == [SERVE] and sys.argv[2:] != ["--help"]
    status = serve(_obey) if serves else _obey(sys.argv[1:])
    if status:
        leave(status)  # this process is nothing but the command
    return status


def _obey(arguments: Sequence[str]) -> int:
    job, logger = _Job(), logging.getLogger(__package__)
    logger.addHandler(job)
    try:
        return job.tell(_outcome(arguments, job))
    finally:
        logger.removeHandler(job)


def _outcome(arguments: Sequence[str], job: _Job) -> Outcome:
    try:
        with ending_on_signals(discard_temporaries):
            live_with_parent()
            # newer versions of click take no words at all for an error, whose text is the whole help
            command.main(list(arguments) or ["--help"], prog_name=NAME, standalone_mode=False, obj=job)
        return Outcome(0)
    except EngineError as error:
        return Outcome(1, *error.parts)
    except OSError as error:  # where nobody nearer knew better
        return Outcome(1, *system_error(error).parts)
    except click.UsageError as error:
        context = error.ctx.command_path if error.ctx else NAME
        said = error.format_message().rstrip(".")
        if isinstance(error, click.NoSuchOption) and not error.option_name.startswith("--"):
            said += ": names of options begin with two hyphens, as in --help"
        return Outcome(2, one_line(f"{said}{'' if said.endswith('?') else '.'} See '{context} --help'."))
    except (click.Abort, KeyboardInterrupt):
        return Outcome(130, "interrupted; what was finished is kept")
    except Terminated as signalled:
        return Outcome(STATUS[signalled.args[0]], "terminated; what was finished is kept")


class _Outliving(io.FileIO):
    """A standard stream whose reader may go, or whose disk may be full, without an end of the work."""

    def write(self, data: Any) -> int:
        """Write what can be written, and take the rest as written."""
        try:
            return super().write(data) or 0
        except OSError:
            return len(memoryview(data).cast("B"))


def _outlive_readers() -> None:
    """Let the work, and its exit status, not depend on who reads its words: `isonet-engine ... | head -1`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            raw = _Outliving(stream.fileno(), "wb", closefd=False)
        except (OSError, ValueError, AttributeError):
            continue  # it is no file
        buffer = io.BufferedWriter(raw)
        lasting = io.TextIOWrapper(buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=True)
        setattr(sys, name, lasting)


def _open_closed_streams() -> None:
    """Let standard streams that the caller closed lead nowhere: a file opened next would get their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.fstat(number)
                continue
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
