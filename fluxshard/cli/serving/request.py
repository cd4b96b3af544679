"""What `fluxshard serve` was asked for, and what of it can be checked before anything slow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fluxshard.cli.support.network_flags import NetworkFlags
from fluxshard.cloud.monitoring.event_log import LogFormat
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.security.tls import ServerTls
from fluxshard.cloud.security.tokens import read_secret
from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.errors import OptionError
from fluxshard.models.loading.sizes import parse_size
from fluxshard.options import AnyDType, Backend

DEFAULT_PICTURE = (1080, 1920)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeRequest:
    """The options of `fluxshard serve`, as given; see its help."""

    model: Path
    listen: str = "127.0.0.1:7788"
    sizes: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    task: str = "auto"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    token_secret: Path | None = None
    insecure: bool = False
    max_streams: int = 72
    max_streams_per_client: int = 0
    cache_gb: float = 8.0
    park_s: float = 10.0
    lease_s: float = 60.0
    drain_s: float = 10.0
    device: str = "cpu"
    dtype: AnyDType = "float32"
    backend: Backend = "auto"
    latency_profiles: tuple[Path, ...] = ()
    metrics: str | None = None
    log_file: Path | None = None
    log_format: LogFormat = "text"
    ready_file: Path | None = None
    workers: str | None = None
    cluster: Literal["processes", "ray"] | None = None
    worker_host: str | None = None
    worker_name: str | None = None
    ray_address: str | None = None
    worker_gpus: float = 0.0
    worker: str | None = None
    control_fd: int | None = None

    @property
    def network(self) -> NetworkFlags:
        """The flags about the network."""
        return NetworkFlags(
            model=self.model, task=self.task, device=self.device, dtype=self.dtype, backend=self.backend
        )

    def limits(self) -> ServerLimits:
        """Limits of the server.

        Raises:
          OptionError: a value that is not allowed.
        """
        for name, value in (("cache-gb", self.cache_gb), ("lease", self.lease_s), ("drain", self.drain_s)):
            if not (math.isfinite(value) and 1e-6 <= value <= 1e6):
                raise OptionError(f"--{name} (={value:g}) must be above 0, and at most a million")
        if not 0 <= self.park_s <= 1e6:
            raise OptionError(f"--park (={self.park_s:g}) must be 0, which is never, or seconds up to a million")
        return ServerLimits(
            max_streams=self.max_streams,
            max_streams_per_identity=self.max_streams_per_client,
            cache_bytes=round(1e9 * self.cache_gb),
            park_s=self.park_s,
            lease_s=self.lease_s,
        )

    def access(self) -> ServerAccess:
        """Who may open streams. Reads the secret of tokens; certificates are read when the server is made.

        Raises:
          OptionError: flags that do not go together.
          SecurityError: a secret that cannot be used.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise OptionError("--tls-cert and --tls-key go together: give both, or none")
        tls = None
        if self.tls_cert is not None and self.tls_key is not None:
            tls = ServerTls(certificate=self.tls_cert, key=self.tls_key, client_authority=self.client_ca)
        elif self.client_ca is not None:
            raise OptionError("--client-ca needs the server's own certificate: give --tls-cert and --tls-key")
        secret = None if self.token_secret is None else read_secret(self.token_secret)
        return ServerAccess(tls=tls, secret=secret, insecure=self.insecure)

    def picture_sizes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) of the videos.

        Raises:
          OptionError: a text that is no such size.
        """
        found = []
        for text in self.pictures:
            try:
                size = parse_size(text)
            except OptionError:
                size = 0
            if isinstance(size, int):
                raise OptionError(f"--picture (={text!r}) must be HEIGHTxWIDTH of the videos, such as 1080x1920")
            found.append(size)
        return tuple(found) or (DEFAULT_PICTURE,)
