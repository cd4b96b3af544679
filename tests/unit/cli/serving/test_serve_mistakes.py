"""`fluxshard serve` with users' mistakes: one line, an exit status, and nothing slow before it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

from fluxshard.cli import main
from fluxshard.cloud.security.site import make_site
from fluxshard.testing.offload.serve_process import write_small_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("weights") / "small.pt")


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certs")
    make_site(directory)
    return directory


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit status and the line that users see."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", *map(str, arguments)])
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == "" and lines[-1].startswith("fluxshard: error: ") and "Traceback" not in said.err
    assert all(line.startswith("note: ") for line in lines[:-1])
    return int(ended.value.code or 0), lines[-1]


def test_a_port_that_is_taken(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, line = mistake(capsys, "--model", weights, "--insecure", "--listen", address)
        assert code == 1 and f"cannot listen on {address} (address already in use)" in line
        code, line = mistake(capsys, "--model", weights, "--insecure", "--listen", "127.0.0.1:0", "--metrics", address)
        assert code == 1 and f"cannot listen on {address} for metrics" in line


def test_files_that_cannot_be_used(weights: Path, certs: Path, tmp_path: Path, capsys) -> None:
    tls = ["--tls-cert", certs / "server.pem", "--tls-key", certs / "server.key", "--client-ca", certs / "ca.pem"]
    free = ["--listen", "127.0.0.1:0", "--model", weights]
    code, line = mistake(capsys, *free, *tls[:3], certs / "edge.key", *tls[4:])
    assert code == 1 and "is not the key of" in line
    code, line = mistake(capsys, *free, "--tls-cert", certs / "edge.pem", "--tls-key", certs / "edge.key", *tls[4:])
    assert code == 1 and "is not made for a server" in line
    code, line = mistake(capsys, *free, *tls[:1], tmp_path / "none.pem", *tls[2:])
    assert code == 1 and "No such file" in line
    code, line = mistake(capsys, *free, *tls[:4], "--token-secret", certs / "none")
    assert code == 1 and "No such file" in line
    code, line = mistake(capsys, "--listen", "127.0.0.1:0", "--model", tmp_path / "none.pt", *tls)
    assert code == 1 and "none.pt" in line
    (tmp_path / "damaged.pt").write_bytes(b"no model")
    code, line = mistake(capsys, "--listen", "127.0.0.1:0", "--model", tmp_path / "damaged.pt", *tls)
    assert code == 1 and "damaged.pt" in line
    code, line = mistake(capsys, *free, "--insecure", "--latency-profile", tmp_path / "none.json")
    assert code == 1 and "none.json" in line
    code, line = mistake(capsys, *free, "--insecure", "--log-file", tmp_path / "none" / "log")
    assert code == 2 and "--log-file" in line


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--tls-cert and --tls-key"),
        (["--insecure", "--listen", "0.0.0.0:0"], 1, "loopback only"),
        (["--insecure", "--listen", "7788"], 2, "is not an address"),
        (["--insecure", "--tls-cert", "c", "--tls-key", "k"], 2, "--insecure takes neither"),
        (["--tls-cert", "c"], 2, "go together"),
        (["--client-ca", "c"], 2, "needs the server's own certificate"),
        (["--tls-cert", "c", "--tls-key", "k"], 2, "--client-ca and --token-secret"),
        (["--insecure", "--size", "0x7"], 2, "--size"),
        (["--insecure", "--size", "50x48", "--size", "x"], 2, "--size"),
        (["--insecure", "--picture", "1080"], 2, "HEIGHTxWIDTH of the videos"),
        (["--insecure", "--cache-gb", "0"], 2, "--cache-gb"),
        (["--insecure", "--lease", "nan"], 2, "--lease"),
        (["--insecure", "--park", "nan"], 2, "--park"),
        (["--insecure", "--park", "-1"], 2, "--park"),
        (["--insecure", "--drain", "-1"], 2, "--drain"),
        (["--insecure", "--max-streams", "0"], 2, "--max-streams"),
        (["--insecure", "--device", "tpu"], 2, "--device"),
        (["--insecure", "--dtype", "float16"], 2, "--dtype"),
        (["--insecure", "--task", "detect"], 2, "--task detect"),
        (["--insecure", "--metrics", "9000"], 2, "is not an address"),
        (["--insecure", "--size", "32x48", "--backend", "reference", "--cache-gb", "2e-5"], 2, "one stream"),
    ],
)
def test_flags_that_do_not_go_together(arguments, code, words, weights: Path, capsys) -> None:
    listen = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
    assert (found := mistake(capsys, "--model", weights, *listen, *arguments))[0] == code and words in found[1]


def test_without_its_extra_it_says_what_to_install(weights: Path) -> None:
    # in a process of its own: modules that are imported a second time here would be others than those of other tests
    code = "import sys; sys.modules['structlog'] = None; from fluxshard.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "serve", "--model", str(weights), "--insecure"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "structlog is not installed; run: pip install 'fluxshard[cloud]'" in done.stderr
