"""All files that a server and its edges need, in one directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxshard.cloud.security.certificates import AUTHORITY, LEAF_DAYS, CertificateFiles, issue, make_authority
from fluxshard.cloud.security.identity import NAME_RULE, is_name
from fluxshard.cloud.security.tokens import make_secret
from fluxshard.errors import OptionError, SecurityError

LOOPBACK = ("localhost", "127.0.0.1", "::1")  # a server is asked from its own machine as well
SERVER, SECRET = "server", "secret"
DEFAULT_CLIENT = "edge"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFiles:
    """What is in the directory of a site.

    Attributes:
      authority, server: certificates and keys.
      clients: those that were asked for, by name.
      secret: for tokens.
      made: files that are new, in the order in which they were written.
    """

    authority: CertificateFiles
    server: CertificateFiles
    clients: dict[str, CertificateFiles]
    secret: Path
    made: tuple[Path, ...]


def make_site(
    directory: Path,
    *,
    hosts: Sequence[str] = (),
    clients: Sequence[str] = (),
    days: int = LEAF_DAYS,
    overwrite: bool = False,
) -> SiteFiles:
    """Makes what is missing: an authority, a server's certificate, one for each client, and a secret.

    An authority, a server's certificate and a secret that are there are kept, so that clients can be added later.

    Args:
      directory: created, for its owner only, if it does not exist.
      hosts: names and addresses that the server is reached at, besides loopback.
      clients: their names; one, `DEFAULT_CLIENT`, where there are none and the authority is new.
      days: that certificates are valid for.
      overwrite: make all anew; certificates and tokens of before are worth nothing then.

    Raises:
      OptionError: a name, a host or a number of days that is not allowed.
      SecurityError: a file is in the way, or the authority cannot sign.
      OSError: a file cannot be written.
    """
    authority, server = CertificateFiles.named(directory, AUTHORITY), CertificateFiles.named(directory, SERVER)
    new = overwrite or not authority.exist()
    pairs = {name: CertificateFiles.named(directory, name) for name in clients or ([DEFAULT_CLIENT] if new else [])}
    for name in pairs:
        if not is_name(name) or name in (AUTHORITY, SERVER):
            raise OptionError(f"a client cannot be named {name!r}: {NAME_RULE}, and neither {AUTHORITY} nor {SERVER}")
    if not overwrite:
        _check_free(new, server, hosts, pairs)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[Path] = []
    if new:
        make_authority(directory, overwrite=overwrite)
        made += [authority.certificate, authority.key]
    if overwrite or not server.exist():
        names = list(dict.fromkeys([*hosts, *LOOPBACK]))
        issue(directory, SERVER, kind="server", hosts=names, days=days, overwrite=overwrite)
        made += [server.certificate, server.key]
    for name, pair in pairs.items():
        issue(directory, name, kind="client", days=days, overwrite=overwrite)
        made += [pair.certificate, pair.key]
    secret = directory / SECRET
    if overwrite or not secret.exists():
        make_secret(secret)
        made.append(secret)
    return SiteFiles(authority=authority, server=server, clients=pairs, secret=secret, made=tuple(made))


def _check_free(new: bool, server: CertificateFiles, hosts: Sequence[str], pairs: dict[str, CertificateFiles]) -> None:
    """Raises SecurityError, before anything is written, if a file that has to be made exists."""
    if server.exist() and (hosts or new):
        reason = "hosts were given" if hosts else "its authority is gone"
        raise SecurityError(
            f"{server.certificate} or its key exists, and {reason}: delete both, or make all anew (--overwrite)"
        )
    for pair in pairs.values():
        if pair.exist():
            raise SecurityError(
                f"{pair.certificate} or its key exists: delete both, choose another name, or make all anew "
                "(--overwrite)"
            )
