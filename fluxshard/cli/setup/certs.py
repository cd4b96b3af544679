"""`fluxshard certs`: an authority, a server's certificate and one for each edge, and a secret for tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fluxshard.cli.support.extras import needs_extra

# heavy imports are inside: this module is imported by `fluxshard --help`


def certs(
    out: Annotated[Path, typer.Option(help="Directory for the files; created.", show_default=False)],
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name or IP address that edges reach the server at; may be given again. Loopback is always in.",
            show_default=False,
        ),
    ] = None,
    client: Annotated[
        list[str] | None, typer.Option(help="Name of an edge; may be given again.", show_default="edge")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long certificates are valid.")] = 365,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Make all anew: certificates and tokens of before are worth nothing then."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
) -> None:
    """Makes certificates for a server and its edges, and a secret for tokens; prints how they are used.

    An authority, a server's certificate and a secret that are there already are kept: edges can be added later.
    """
    from shlex import quote

    with needs_extra("cloud"):
        from fluxshard.cloud.security.site import make_site

    site = make_site(out, hosts=host or (), clients=client or (), days=days, overwrite=overwrite)
    for path in site.made:
        print(f"made {path}")
    authority, secret = quote(str(site.authority.certificate)), quote(str(site.secret))
    print(
        f"fluxshard serve ... --tls-cert {quote(str(site.server.certificate))} "
        f"--tls-key {quote(str(site.server.key))} --client-ca {authority}"
    )
    for pair in site.clients.values():
        print(
            f"fluxshard edge ... --server HOST:PORT --ca {authority} --cert {quote(str(pair.certificate))} "
            f"--key {quote(str(pair.key))}"
        )
    print(f"fluxshard token --secret {secret} --identity NAME --prefix STREAMS --hours 24  # without --client-ca")
    print(f"{site.authority.key} is only needed to add edges: keep it away from the server")
