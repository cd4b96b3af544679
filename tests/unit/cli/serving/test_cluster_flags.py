"""Flags about several workers: what they mean, and what is said of those that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

from fluxshard.cli.serving.cluster_flags import check_cluster, is_cluster, worker_command, worker_host
from fluxshard.cli.serving.request import ServeRequest
from fluxshard.errors import OptionError

MODEL = Path("model.pt")


def request(**changes: object) -> ServeRequest:
    return ServeRequest(model=MODEL, **{"insecure": True, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "least", "most"), [("1", 1, 1), ("3", 3, 3), ("2:8", 2, 8), ("5:5", 5, 5)])
def test_numbers_of_workers(text: str, least: int, most: int) -> None:
    scale = check_cluster(request(workers=text))
    assert (scale.least, scale.most) == (least, most) and is_cluster(request(workers=text))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"workers": text}, "--workers") for text in ("0", "-1", "x", "3:2", "1:", ":4", "1001", "1:2:3", "")),
        ({"worker_host": "h"}, "--worker-host is for several servers"),
        ({"worker_name": "h"}, "--worker-name is for several servers"),
        ({"ray_address": "auto"}, "--ray-address is for several servers"),
        ({"workers": "2", "ray_address": "auto"}, "give --cluster ray"),
        ({"workers": "2", "worker_gpus": 1.0}, "give --cluster ray"),
    ],
)
def test_flags_that_make_no_sense(changes: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        check_cluster(request(**changes))


def test_where_edges_reach_workers() -> None:
    assert not is_cluster(request())
    assert worker_host(request(listen="127.0.0.1:7788")) == "127.0.0.1"
    assert worker_host(request(listen="[::1]:7788")) == "::1"
    assert worker_host(request(listen="cloud.example:7788")) == "cloud.example"
    assert worker_host(request(listen="0.0.0.0:7788", worker_host="cloud.example")) == "cloud.example"
    for everywhere in ("0.0.0.0:7788", "[::]:7788"):
        with pytest.raises(OptionError, match="--worker-host is missing"):
            worker_host(request(listen=everywhere))
    with pytest.raises(OptionError):
        worker_host(request(worker_host="a b"))


def test_a_workers_command_line_says_all_that_the_whole_was_told(tmp_path: Path) -> None:
    asked = ServeRequest(
        model=Path("m.pt"), sizes=("32x48", "640"), pictures=("720x1280",), tls_cert=Path("c"), tls_key=Path("k"),
        token_secret=Path("s"), max_streams=5, cache_gb=2.5, park_s=0.0, lease_s=7.0, drain_s=3.0, device="cuda:1",
        dtype="float16", backend="cuda", latency_profiles=(Path("p"),), log_file=Path("l"), log_format="json",
        workers="3", task="detect", max_streams_per_client=2,
    )  # fmt: skip
    line = worker_command(asked, "w7", "0.0.0.0:0", "cloud.example")
    assert line[3] == "serve" and line[-1] == "--control-fd" and "--insecure" not in line
    flags = list(zip(line[4:-1:2], line[5:-1:2], strict=True))
    for flag, value in (
        ("--model", str(Path("m.pt").resolve())), ("--listen", "0.0.0.0:0"), ("--worker-host", "cloud.example"),
        ("--size", "32x48"), ("--size", "640"), ("--picture", "720x1280"), ("--tls-cert", str(Path("c").resolve())),
        ("--token-secret", str(Path("s").resolve())), ("--max-streams", "5"), ("--cache-gb", "2.5"), ("--park", "0.0"),
        ("--lease", "7.0"), ("--drain", "3.0"), ("--device", "cuda:1"), ("--dtype", "float16"), ("--backend", "cuda"),
        ("--log-file", str(Path("l").resolve())), ("--log-format", "json"), ("--worker", "w7"), ("--task", "detect"),
    ):  # fmt: skip
        assert (flag, value) in flags
    assert not {"--workers", "--max-streams-per-client", "--client-ca", "--metrics"} & {flag for flag, _ in flags}
    assert "--insecure" in worker_command(request(), "w1", "127.0.0.1:0", None)
