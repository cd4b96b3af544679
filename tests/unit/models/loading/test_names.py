"""Names of classes from files."""

from __future__ import annotations

import pytest
import torch

from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.names import read_names, with_names

LOADED = LoadedModel(torch.nn.Identity(), "semantic")


def test_a_line_is_a_name(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffroad\r\n\r\nstraße \r\n\r\n".encode())
    assert read_names(path) == ("road", "", "straße")
    assert with_names(LOADED, path).names == ("road", "", "straße") and with_names(LOADED, None) is LOADED


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "has 0 names"), (b"\n\n", "has 0 names"), (b"\xff\xfe\x00", "no UTF-8"), (None, "No such")],
)
def test_what_is_no_list_of_names_is_refused(tmp_path, content, words):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OptionError, match=rf"--names \(=.*names.txt'\) .*{words}"):
        read_names(path)
