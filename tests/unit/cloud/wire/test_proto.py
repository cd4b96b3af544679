"""The protocol's code is what protoc makes of its schema."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fluxshard.cloud.wire.proto
from fluxshard.cloud.wire.proto import offload_pb2 as pb

FOLDER = Path(fluxshard.cloud.wire.proto.__file__).parent


def test_generated_code_is_that_of_the_schema(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed: pip install grpcio-tools")
    command = [
        sys.executable, "-m", "grpc_tools.protoc", "-I", str(FOLDER), f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}", "offload.proto",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    for made in tmp_path.iterdir():
        assert made.read_text() == (FOLDER / made.name).read_text(), f"{made.name} is old: see {FOLDER / '__init__.py'}"


def test_every_message_of_a_stream_has_a_kind() -> None:
    for message, kinds in ((pb.Up(), 5), (pb.Down(), 8)):
        (kind,) = message.DESCRIPTOR.oneofs
        assert len(kind.fields) == kinds and message.WhichOneof("kind") is None
