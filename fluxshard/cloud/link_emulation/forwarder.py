"""The program that carries packets: compiled once and kept, started between namespaces."""

from __future__ import annotations

import json
import platform
import selectors
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fluxshard.cloud.link_emulation.emulated_link import LinkStats
from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.codegen.common.cache import SCHEMA, Entry, find_or_build
from fluxshard.codegen.common.toolchain import compile_source, processor_target, with_compiler
from fluxshard.errors import TransportError

_SOURCE = Path(__file__).with_name("forwarder.cpp")
_PROGRAM = "forwarder"
_FLAGS = ("-std=c++17", "-O2")
_START_S, _STOP_S = 10.0, 10.0


def forwarder_program(root: Path | None = None) -> Path:
    """The program, from the kernel cache or compiled into it.

    Args:
      root: of the cache, instead of the usual one.

    Raises:
      ToolchainError: there is no C++ compiler, or it failed.
      MissingKernelError: it is not in the cache and `FLUXSHARD_NO_COMPILE=1`.
    """
    target = replace(with_compiler(processor_target("portable")), flags=_FLAGS)
    text = _SOURCE.read_text(encoding="utf-8")

    def build(folder: Path) -> Mapping[str, object]:
        compile_source(folder / _SOURCE.name, folder / _PROGRAM, target)
        return {"compiler": target.compiler_id}

    def validate(path: Path, _: Mapping[str, object]) -> None:
        if path.read_bytes()[:4] != b"\x7fELF":
            raise ValueError("not a program")

    identity = {
        "schema": SCHEMA,
        "source": text,
        "flags": list(_FLAGS),
        "compiler": target.compiler_id,
        "machine": platform.machine(),
    }
    entry = Entry(
        name="forwarder",
        identity=identity,
        sources={_SOURCE.name: text},
        artefact=_PROGRAM,
        build=build,
        validate=validate,
    )
    return find_or_build(entry, root)


class Forwarder:
    """A running program that carries packets; ends with this process.

    Args:
      options: of the link.
      server, edges: names of network namespaces; in each, an interface `link0` is made.

    Raises:
      TransportError: it did not start.
    """

    def __init__(self, options: LinkOptions, server: str, edges: Sequence[str]) -> None:
        program = forwarder_program()
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as rates:
            rates.write("".join(f"{rate:.9g}\n" for rate in options.rates))
            rates.flush()
            words = (options.delay_up_ms, options.delay_down_ms, options.queue, options.loss, options.seed)
            self._process = subprocess.Popen(
                [str(program), rates.name, *map(str, words), server, *edges],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            if not self._is_ready():
                self._process.kill()
                said = self._process.communicate()[1].strip()[:200]
                raise TransportError(f"the link's forwarder did not start: {said or 'no answer'}")

    def _is_ready(self) -> bool:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return bool(selector.select(_START_S)) and self._process.stdout.readline() == "ready\n"

    def stop(self) -> LinkStats:
        """Ends it; returns what it has carried.

        Raises:
          TransportError: it had failed before.
        """
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
        try:
            self._process.wait(_STOP_S)  # before standard input ends, which means that its owner is gone
        except subprocess.TimeoutExpired:
            self._process.kill()
        out, said = self._process.communicate()
        try:
            seen = json.loads(out)
        except ValueError:
            raise TransportError(
                f"the link's forwarder ended early ({self._process.returncode}): {said.strip()[:200]}"
            ) from None
        seen.pop("strays")
        return LinkStats(**seen)
