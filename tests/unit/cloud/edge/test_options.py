"""Options of a session in two places."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import fluxshard
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.errors import OptionError
from fluxshard.options import ReuseOptions


def test_defaults_name_this_machine_and_hide_the_token() -> None:
    options = OffloadOptions(token="secret")
    assert options.stream.endswith("/0") and len(options.stream) <= 128
    assert "secret" not in repr(options)


def test_the_options_of_the_first_example_are_options() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "offload.md").read_text(encoding="utf-8")
    part = page.split("## Quick start")[1].split("\n## ")[0]
    (code,) = re.findall(r"^```py\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    program = ast.parse(code)
    program.body = [line for line in program.body if not isinstance(line, ast.With)]  # which needs files and a server
    names: dict[str, Any] = {"fluxshard": fluxshard}
    exec(compile(program, "docs/offload.md", "exec"), names)
    options = names["options"]
    assert isinstance(options, OffloadOptions) and isinstance(options.tls, ClientTls)
    assert (options.payload, options.tls.authority) == ("bitstream", "site/ca.pem")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"payload": "png"}, "payload"),
        ({"answer": "pictures"}, "answer"),
        ({"hedge_share": -0.1}, "hedge_share"),
        ({"hedge_share": 1.1}, "hedge_share"),
        ({"hedge_share": float("nan")}, "hedge_share"),
        ({"stream": ""}, "stream"),
        ({"server_work": "both"}, "server_work"),
        ({"server_work": "server", "payload": "packed"}, "payload='bitstream'"),
    ],
)
def test_values_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        OffloadOptions(**given)


def test_the_server_plans_where_it_can() -> None:
    planned, propagated = ReuseOptions(policy="planned"), ReuseOptions()
    assert OffloadOptions(payload="bitstream").server_plans(planned)
    assert OffloadOptions(payload="bitstream", server_work="server").server_plans(planned)
    assert not OffloadOptions(payload="bitstream", server_work="edge").server_plans(planned)
    assert not OffloadOptions(payload="bitstream").server_plans(propagated)
    assert not OffloadOptions(payload="packed").server_plans(planned)
