"""`fluxshard token`: lets a client without a certificate open streams for some hours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# heavy imports are inside: this module is imported by `fluxshard --help`


def token(
    secret: Annotated[
        Path, typer.Option(help="The server's secret, which `fluxshard certs` makes.", show_default=False)
    ],
    identity: Annotated[str, typer.Option(help="Name of the client.", show_default=False)],
    prefix: Annotated[
        str,
        typer.Option(
            help="What names of its streams begin with, whole words: cam1 allows cam1/left, not cam10; '' allows all.",
            show_default=False,
        ),
    ],
    hours: Annotated[float, typer.Option(help="What it is valid for.")] = 24.0,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
) -> None:
    """Prints a token for a client; whoever has it is that client."""
    import sys
    import time
    import warnings

    from fluxshard.cloud.security.tokens import issue_token, read_secret
    from fluxshard.errors import OptionError

    if not 0 < hours <= 24 * 3660:
        raise OptionError(f"--hours (={hours:g}) must be above 0 and at most ten years")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        key = read_secret(secret)
    for note in notes:
        print(f"note: {note.message}", file=sys.stderr)
    print(issue_token(key, identity=identity, prefix=prefix, expires=time.time() + 3600 * hours))
