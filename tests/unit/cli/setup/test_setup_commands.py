"""`fluxshard certs`, `token` and `doctor`: what they print, and users' mistakes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxshard.cli import main
from fluxshard.cloud.security.tokens import check_token, make_secret, read_secret
from fluxshard.diagnostics import examine as examine_module
from fluxshard.diagnostics.check import Check


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_certs_prints_how_its_files_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[cloud]'")
    out = tmp_path / "my site"
    code, said, error = call(capsys, "certs", "--out", out, "--host", "cloud.example", "--client", "cam1")
    assert (code, error) == (0, "")
    lines = said.splitlines()
    assert {line.removeprefix("made ") for line in lines if line.startswith("made ")} == set(map(str, out.iterdir()))
    serve = shlex.split(next(line for line in lines if line.startswith("fluxshard serve")))
    for option, name in (("--tls-cert", "server.pem"), ("--tls-key", "server.key"), ("--client-ca", "ca.pem")):
        assert serve[serve.index(option) + 1] == str(out / name)
    edge = shlex.split(next(line for line in lines if line.startswith("fluxshard edge")))
    for option, name in (("--ca", "ca.pem"), ("--cert", "cam1.pem"), ("--key", "cam1.key")):
        assert edge[edge.index(option) + 1] == str(out / name)
    code, _, error = call(capsys, "certs", "--out", out, "--client", "cam1")
    assert code == 1 and error.count("\n") == 1 and "exists" in error


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--client", "../x"], "cannot be named"),
        (["--host", "a b"], "neither a host name"),
        (["--days", "0"], "--days"),
        (["--days", "99999"], "--days"),
    ],
)
def test_certs_that_are_wrong_usage(arguments, word, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[cloud]'")
    code, _, error = call(capsys, "certs", "--out", tmp_path / "site", *arguments)
    assert code == 2 and error.count("\n") == 1 and word in error


def test_certs_without_its_extra_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("fluxshard.cloud.security")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    code, _, error = call(capsys, "certs", "--out", tmp_path / "site")
    assert code == 1 and error.count("\n") == 1 and "pip install 'fluxshard[cloud]'" in error


def test_a_token_is_one_word_that_the_server_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret"
    make_secret(secret)
    code, said, error = call(
        capsys, "token", "--secret", secret, "--identity", "cam1", "--prefix", "cam1", "--hours", "0.5"
    )
    assert (code, error, len(said.split())) == (0, "", 1)
    found = check_token(read_secret(secret), said.strip(), stream="cam1/left", now=time.time())
    assert found.name == "cam1" and found.expires is not None and 1700 < found.expires - time.time() <= 1800
    secret.chmod(0o644)
    code, _, error = call(capsys, "token", "--secret", secret, "--identity", "cam1", "--prefix", "")
    assert code == 0 and error.startswith("note: every user") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--identity", "a b", "--prefix", ""], 2, "identity"),
        (["--identity", "a", "--prefix", "\n"], 2, "prefix"),
        (["--identity", "a", "--prefix", "", "--hours", "0"], 2, "--hours"),
        (["--identity", "a", "--prefix", "", "--hours", "nan"], 2, "--hours"),
        (["--identity", "a"], 2, "--prefix"),
        (["--identity", "a", "--prefix", "", "--secret", "no-such-file"], 1, "No such file"),
    ],
)
def test_tokens_that_cannot_be_made(arguments, code, word, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_secret(tmp_path / "secret")
    found, _, error = call(capsys, "token", "--secret", tmp_path / "secret", *arguments)
    assert found == code and error.count("\n") == 1 and word in error


def test_doctor_prints_a_line_for_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, error = call(capsys, "doctor")
    assert (code, error) == (0, "")
    lines = said.splitlines()
    assert len(lines) > 15 and all(line.startswith(("ok ", "warn ", "missing ")) for line in lines)


def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = call(capsys, "doctor", "--json")
    facts = json.loads(said)
    assert code == 0 and facts["ok"] is True
    assert set(facts["checks"][0]) == {"name", "status", "seen", "advice", "required"}
    assert "slow_start_after_idle" in facts["tcp"]


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_doctor_fails_where_something_required_is_missing(
    json_flag: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Check(name="torch", status="missing", seen="gone", required=True)
    monkeypatch.setattr(examine_module, "examine", lambda: iter([broken]))
    code, said, _ = call(capsys, "doctor", *json_flag)
    assert code == 1
    if json_flag:
        assert json.loads(said)["ok"] is False
    else:
        assert said.splitlines()[-1] == "required and missing: torch"


def test_help_does_not_wait_for_torch_or_cryptography() -> None:
    code = (
        "import sys\nfrom fluxshard.cli import main\n"
        "try: main(['doctor', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'cryptography', 'grpc', 'av', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.stderr == "[]\n"
