"""Commands, and what users see when something is wrong: one line and an exit status.

Exit status: 0 done; 1 something failed; 2 wrong usage; 130 and 143 interrupted and terminated, with partial results.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from fluxshard.cli.calibrate import calibrate
from fluxshard.cli.edge.command import edge
from fluxshard.cli.evaluate import app as evaluate_app
from fluxshard.cli.explain import explain
from fluxshard.cli.export import export
from fluxshard.cli.profile.command import profile
from fluxshard.cli.run.command import run
from fluxshard.cli.serving.command import serve
from fluxshard.cli.setup.certs import certs
from fluxshard.cli.setup.doctor_command import doctor
from fluxshard.cli.setup.token import token
from fluxshard.errors import DamageError, FluxShardError, OptionError

# only what parsing needs is imported above: `fluxshard --help` must not wait for torch

# the base of what typer raises for wrong usage has no public name
UsageError: type[Exception] = typer.BadParameter.__mro__[2]
FAILED, MISUSED, INTERRUPTED = 1, 2, 128 + signal.SIGINT

app = typer.Typer(
    name="fluxshard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Runs a CNN incrementally over video: cached features follow the motion, only what changed is recomputed.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("fluxshard")
        except PackageNotFoundError:  # run from a source tree
            from fluxshard import __version__ as number
        print(f"fluxshard {number}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Runs a CNN incrementally over video: cached features follow the motion, only what changed is recomputed."""


app.command()(run)
app.command()(serve)
app.command()(edge)
app.command()(explain)
app.command()(export)
app.command()(calibrate)
app.command()(profile)

app.command()(certs)
app.command()(token)
app.command()(doctor)
app.add_typer(evaluate_app, name="evaluate")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits; `sys.argv[1:]` unless arguments are given."""
    # Torch's threads that wait must sleep: decoders, encoders and generated code want the cores that they would spin
    # on, and a spinning pool makes a frame take ten times as long. OpenMP reads it when torch loads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    # C-core's notes on failed handshakes and lost links are for its developers; it reads this when it is loaded
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = app(given, standalone_mode=False)
    except UsageError as error:
        message = getattr(error, "format_message", error.__str__)()
        code = _fail(message, MISUSED) if message.strip() else MISUSED  # without arguments the help is shown already
    except OptionError as error:
        if debug:
            raise
        code = _fail(str(error), MISUSED)
    except DamageError as error:  # its advice is for callers from Python
        if debug:
            raise
        code = _fail(error.seen, FAILED)
    except (FluxShardError, OSError, MemoryError) as error:
        if debug:
            raise
        code = _fail(str(error) or type(error).__name__, FAILED)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted before the first frame; nothing was written", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> int:
    print(f"fluxshard: error: {' '.join(message.split())}", file=sys.stderr)
    return code
