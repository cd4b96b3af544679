"""`fluxshard serve`: its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fluxshard.cli.support.extras import needs_extra
from fluxshard.cli.support.option_types import AnyBackend, Debug, Device, DType, Model, Task
from fluxshard.cli.support.starting import imported_for_good

# heavy imports are inside: this module is imported by `fluxshard --help`


def serve(
    model: Model,
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:7788",
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="HEIGHTxWIDTH of images, or their long side; may be given again. Edges must use one of these sizes.",
            show_default="640",
        ),
    ] = None,
    picture: Annotated[
        list[str] | None,
        typer.Option(
            help="HEIGHTxWIDTH of the videos, where --size is a long side; may be given again.",
            show_default="1080x1920",
        ),
    ] = None,
    task: Task = "auto",
    tls_cert: Annotated[Path | None, typer.Option(help="The server's certificate, PEM.", show_default=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", show_default=False)] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(help="Authority of the edges' certificates, PEM: edges need one.", show_default=False),
    ] = None,
    token_secret: Annotated[
        Path | None,
        typer.Option(help="Secret of tokens: edges need one of `fluxshard token`.", show_default=False),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Plaintext without identities; on loopback only.")
    ] = False,
    max_streams: Annotated[int, typer.Option(min=1, help="Streams at the same time; others are refused.")] = 72,
    max_streams_per_client: Annotated[
        int | None,
        typer.Option(min=1, help="Streams of one edge at the same time.", show_default="as many as there are"),
    ] = None,
    cache_gb: Annotated[float, typer.Option(help="Memory for cached features, in GB; idle streams give way.")] = 8.0,
    park: Annotated[
        float,
        typer.Option(help="Seconds without a frame after which a stream's cache is packed until the next; 0: never."),
    ] = 10.0,
    lease: Annotated[float, typer.Option(help="Seconds without a frame after which a stream's cache is freed.")] = 60.0,
    drain: Annotated[float, typer.Option(help="Seconds that streams have to leave when the server is stopped.")] = 10.0,
    device: Device = "cpu",
    dtype: DType = "float32",
    backend: AnyBackend = "auto",
    latency_profile: Annotated[
        list[Path] | None,
        typer.Option(
            help="Latency of this server, as `fluxshard profile` writes it; one for each size.", show_default=False
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="HOST:PORT where Prometheus reads figures, over plain HTTP.", show_default="off"),
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option(help="File that events are appended to.", show_default="standard error")
    ] = None,
    log_format: Annotated[Literal["json", "text"], typer.Option(help="Form of events.")] = "text",
    ready_file: Annotated[
        Path | None,
        typer.Option(help="File that the address is written to once streams are taken.", show_default=False),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Servers that share the streams: a number, or LEAST:MOST by load. --max-streams and --cache-gb are "
            "for each.",
            show_default="this process serves",
        ),
    ] = None,
    cluster: Annotated[
        Literal["processes", "ray"] | None,
        typer.Option(help="What runs workers: processes of this machine, or actors of Ray.", show_default="processes"),
    ] = None,
    worker_host: Annotated[
        str | None,
        typer.Option(help="Host that edges reach workers at.", show_default="that of --listen; with Ray, each node's"),
    ] = None,
    worker_name: Annotated[
        str | None,
        typer.Option(help="Name in the workers' certificate, if not that of their host.", show_default=False),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Address of the Ray cluster, or auto.", show_default="one is started on this machine"),
    ] = None,
    worker_gpus: Annotated[float, typer.Option(min=0, help="GPUs that Ray reserves for each worker.")] = 0.0,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
    control_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    debug: Debug = False,
) -> None:
    """Serves a model to edges: they send frames, or what changed of them, and get what the network finds.

    The first SIGTERM or SIGINT lets streams finish their frames and move on; a second one ends the server at once.
    With --workers, this process tells edges which worker takes their stream, and replaces workers that die.
    """
    with needs_extra("cloud"), imported_for_good():
        from fluxshard.cli.serving.request import ServeRequest
        from fluxshard.cli.serving.serve_command import serve_command

    request = ServeRequest(
        model=model,
        listen=listen,
        sizes=tuple(size or ()),
        pictures=tuple(picture or ()),
        task=task,
        tls_cert=tls_cert,
        tls_key=tls_key,
        client_ca=client_ca,
        token_secret=token_secret,
        insecure=insecure,
        max_streams=max_streams,
        max_streams_per_client=max_streams_per_client or 0,
        cache_gb=cache_gb,
        park_s=park,
        lease_s=lease,
        drain_s=drain,
        device=device,
        dtype=dtype,
        backend=backend,
        latency_profiles=tuple(latency_profile or ()),
        metrics=metrics,
        log_file=log_file,
        log_format=log_format,
        ready_file=ready_file,
        workers=workers,
        cluster=cluster,
        worker_host=worker_host,
        worker_name=worker_name,
        ray_address=ray_address,
        worker_gpus=worker_gpus,
        worker=worker,
        control_fd=control_fd,
    )
    raise typer.Exit(serve_command(request))
