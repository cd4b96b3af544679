"""`fluxshard doctor`: what this machine has and lacks, one line each."""

from __future__ import annotations

from typing import Annotated

import typer

# heavy imports are inside: this module is imported by `fluxshard --help`


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Checks what this machine has, and says what to do; exit status 1 if something required is missing."""
    import json
    from dataclasses import asdict

    import fluxshard
    from fluxshard.cloud.tcp_settings import tcp_settings
    from fluxshard.diagnostics.examine import examine

    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            print(check.line(), flush=True)
    fatal = [check.name for check in checks if check.fatal]
    if as_json:
        facts = {
            "version": fluxshard.__version__,
            "ok": not fatal,
            "checks": [asdict(check) for check in checks],
            "tcp": asdict(tcp_settings()),
        }
        print(json.dumps(facts, indent=2))
    elif fatal:
        print(f"required and missing: {', '.join(fatal)}")
    if fatal:
        raise typer.Exit(1)
