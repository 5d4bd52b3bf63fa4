"""The ``atomfield`` command: thirteen subcommands, and one line and exit code 2 for whatever the user got wrong."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from atomfield.data.errors import InputError, RunError

from .commands.analyze import analyze
from .commands.evaluate import evaluate
from .commands.export import export
from .commands.finetune import finetune
from .commands.identify import identify
from .commands.inspect import inspect
from .commands.models import models
from .commands.predict import predict
from .commands.prepare import prepare
from .commands.pretrain import pretrain
from .commands.quickstart import quickstart
from .commands.rollout import rollout
from .commands.simulate import simulate

COMMANDS = (
    quickstart,
    prepare,
    inspect,
    models,
    pretrain,
    finetune,
    evaluate,
    predict,
    simulate,
    analyze,
    rollout,
    export,
    identify,
)
EXTRAS = {
    "deepspeed": "train",
    "wandb": "train",
    "netCDF4": "fields",
    "xarray": "fields",
    "meshio": "fields",
    "tblite": "generate",
    "torchdiffeq": "ode",
    "phonopy": "phonons",
    "sklearn": "sklearn",
    "metatomic": "metatomic",
}
"""Optional module -> the extra that installs it."""
STORAGE = {
    errno.ENOSPC: "make room and give the command again",
    errno.EDQUOT: "make room and give the command again",
    errno.EFBIG: "the system allows no larger files here (ulimit -f)",
    errno.EIO: "the disk, or the network before it, failed",
}
"""What ends a run through no mistake in the input, and what to do about it."""
INTERRUPTED = 130
PLACES = (
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
"""What is wrong with the name of a file."""

app = typer.Typer(
    name="atomfield",
    help="One E(3)-equivariant model for atoms and fields: prepare data, pretrain, finetune, evaluate, predict, simulate, "
    "analyze, roll out, export; constants of laws from data.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command(command.__name__)(command)

_ClickException: type[Exception] = typer.BadParameter.__mro__[2]  # typer exports only its leaf


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"atomfield {version('atomfield')}")
        raise typer.Exit


@app.callback()
def _shared(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
    local_rank: Annotated[
        int, typer.Option("--local_rank", hidden=True, help="The deepspeed launcher adds it.")
    ] = 0,
) -> None:
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: ``sys.argv``) and return the exit code: 0, 1 for a run that could not go on, 2 for a mistake
    in the input, 75 for a run that saved itself on a signal, 130 when interrupted. With ``ATOMFIELD_DEBUG=1`` mistakes in the
    input keep their traceback; errors of the program always do. Warnings of libraries are shown on request:
    ``python -W default -m atomfield ...``."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        with warnings.catch_warnings(), _said(given[0]):
            if not sys.warnoptions:
                warnings.simplefilter(
                    "ignore"
                )  # those of libraries; what we have to say goes through logging
            result = typer.main.get_command(app).main(given, prog_name="atomfield", standalone_mode=False)
        if result == INTERRUPTED:  # typer makes Ctrl-C an exit code without a word
            return _tell("interrupted", INTERRUPTED)
        return result if isinstance(result, int) else 0
    except typer.Abort:
        return _tell("interrupted", INTERRUPTED)
    except RunError as error:
        if os.environ.get("ATOMFIELD_DEBUG") == "1":
            raise
        return _tell(str(error), error.code) if str(error) else error.code
    except (InputError, ModuleNotFoundError, OSError, _ClickException) as error:
        line = _one_line(error, given)
        if line is None or os.environ.get("ATOMFIELD_DEBUG") == "1":
            raise
        return _tell(line, 1 if getattr(error, "errno", None) in STORAGE else 2)


@contextmanager
def _said(command: str) -> Iterator[None]:
    """What readers say (units, conventions, what was not read) goes to stderr, without the names of modules; of several ranks
    only the first says what is no warning."""
    logger = logging.getLogger("atomfield")
    before = logger.level
    handler = logging.StreamHandler(sys.stderr)
    if command in ("predict", "simulate", "rollout"):  # which need no labels
        handler.addFilter(
            lambda record: record.levelno > logging.INFO or "--target" not in record.getMessage()
        )
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def _one_line(error: Exception, given: Sequence[str]) -> str | None:
    """What to print, or None for an error that is not the user's."""
    match error:
        case InputError():
            return str(error)
        case OSError() if error.filename and error.errno in PLACES:
            return f"{error.filename}: {(error.strerror or type(error).__name__).lower()}"
        case FileExistsError() if error.filename:
            return f"{error.filename}: is a file, expected a folder or a name that is free"
        case OSError() if error.errno in STORAGE:
            place = f"{error.filename}: " if error.filename else ""
            return f"{place}{os.strerror(error.errno).lower()}; {STORAGE[error.errno]}"
        case ModuleNotFoundError() if (module := (error.name or "").split(".")[0]) in EXTRAS:
            return f"this needs {module}, which is not installed: pip install 'atomfield[{EXTRAS[module]}]'"
        case _ClickException():
            command = next((w for w in given if w in {c.__name__ for c in COMMANDS}), "")
            help_of = f"atomfield {command}".strip()
            return f"{error.format_message().rstrip('.')}; see `{help_of} --help`"  # type: ignore[attr-defined]
        case _:
            return None


def _tell(line: str, code: int) -> int:
    print("atomfield: " + " ".join(line.split()), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
