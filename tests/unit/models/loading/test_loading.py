"""Weights files of every kind that users hand in, most of them wrong."""

from __future__ import annotations

import os
import pickle
import warnings

import pytest
import torch
from torch import nn

from fluxshard.errors import ModelError, OptionError
from fluxshard.models.loading import generic, ultralytics
from fluxshard.models.loading.checkpoint import identify
from fluxshard.models.loading.load import load


def small_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))


class Evil:
    """Its pickle creates a directory when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def refused(path, match):
    with pytest.raises(ModelError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_are_no_models(tmp_path):
    refused(tmp_path / "missing.pt", "does not exist")
    refused(tmp_path, "is a directory")
    (tmp_path / "empty.pt").touch()
    refused(tmp_path / "empty.pt", "is empty")
    (tmp_path / "random.pt").write_bytes(os.urandom(4096))
    refused(tmp_path / "random.pt", "not a PyTorch file")
    (tmp_path / "text.pt").write_text("PK is not an archive")
    refused(tmp_path / "text.pt", "is damaged")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    refused(tmp_path / "model.onnx", "ONNX")
    torch.jit.save(torch.jit.trace(small_net(), torch.zeros(1, 3, 8, 8)), tmp_path / "script.pt")
    refused(tmp_path / "script.pt", "TorchScript")


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_alone_are_no_model(tmp_path, legacy):
    path = tmp_path / "state.pt"
    content = {"state_dict": small_net().state_dict(), "epoch": 3, "names": ["a"]}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    refused(path, "state_dict")


def test_truncated_checkpoint(tmp_path):
    path = tmp_path / "cut.pt"
    torch.save(small_net(), path)
    whole = path.read_bytes()
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(path, "is damaged|not a PyTorch file|cannot be read")


def test_unreadable_file(tmp_path):
    path = tmp_path / "closed.pt"
    torch.save(small_net(), path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything")
    refused(path, "cannot be read")


def test_refusing_runs_nothing_of_the_file(tmp_path):
    """Only a file that is accepted as a whole model gets to run its code."""
    marker = tmp_path / "made"
    path = tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps({"weights": Evil(marker)}))
    refused(path, "not a PyTorch file")
    torch.save({"a": torch.zeros(1), "evil": Evil(marker)}, tmp_path / "evil.pt")
    identify(tmp_path / "evil.pt")
    assert not marker.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_whole_module(tmp_path, legacy, wrapped):
    net = small_net().half().train()
    path = tmp_path / "net.pt"
    torch.save({"model": net, "optimizer": {}} if wrapped else net, path, _use_new_zipfile_serialization=not legacy)
    with pytest.warns(UserWarning, match="runs Python code"):
        loaded = load(path)
    assert loaded.task == "raw" and loaded.layout is None and loaded.input_shape is None
    assert not loaded.net.training
    x = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.net(x), net.float().eval()(x))


def test_pickles_of_other_things(tmp_path):
    path = tmp_path / "thing.pt"
    torch.save({"thing": torch.optim.SGD(small_net().parameters(), lr=0.1).__class__}, path)
    with pytest.warns(UserWarning), pytest.raises(ModelError, match=r"not an nn\.Module"):
        load(path)


def test_code_that_is_not_importable(tmp_path, monkeypatch):
    module = type(os)("vanished_package")

    class Net(nn.Module):
        pass

    Net.__module__, Net.__qualname__ = "vanished_package", "Net"
    module.Net = Net
    monkeypatch.setitem(__import__("sys").modules, "vanished_package", module)
    torch.save(Net(), tmp_path / "net.pt")
    monkeypatch.undo()
    with pytest.warns(UserWarning), pytest.raises(ModelError, match="vanished_package"):
        load(tmp_path / "net.pt")


def test_exported_program(tmp_path):
    path = tmp_path / "net.pt2"
    net = small_net().eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 24, 40),)), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # no pickle of code: nothing to warn of
        loaded = load(path)
    assert loaded.input_shape == (24, 40)
    x = torch.rand(1, 3, 24, 40)
    torch.testing.assert_close(loaded.net.module()(x), net(x))


def test_exported_program_of_something_else(tmp_path):
    class Add(nn.Module):
        def forward(self, a, b):
            return a + b

    path = tmp_path / "add.pt2"
    torch.export.save(torch.export.export(Add(), (torch.zeros(2), torch.zeros(2))), path)
    refused(path, "one image")


def test_tasks_of_models_without_a_known_head(tmp_path):
    torch.save(small_net(), tmp_path / "net.pt")
    with pytest.raises(ModelError, match="task 'detect' needs an Ultralytics checkpoint"):
        load(tmp_path / "net.pt", "detect")
    with pytest.raises(OptionError, match="must be one of auto, detect"):
        ultralytics.load(tmp_path / "net.pt", "dance")
    with pytest.raises(ModelError, match="not an Ultralytics checkpoint"):
        ultralytics.load(tmp_path / "net.pt")


def test_missing_library_says_what_to_install(tmp_path, monkeypatch):
    """A checkpoint that names ultralytics, on a machine without it."""
    modules = __import__("sys").modules
    package, tasks = type(os)("ultralytics"), type(os)("ultralytics.tasks_of_test")

    class Net(nn.Module):
        pass

    Net.__module__, Net.__qualname__ = "ultralytics.tasks_of_test", "Net"
    tasks.Net = Net
    with monkeypatch.context() as patch:
        patch.setitem(modules, "ultralytics", package)
        patch.setitem(modules, "ultralytics.tasks_of_test", tasks)
        torch.save({"model": Net()}, tmp_path / "yolo.pt")
    for name in [name for name in modules if name.split(".")[0] == "ultralytics"]:
        monkeypatch.delitem(modules, name)
    monkeypatch.setitem(modules, "ultralytics", None)
    with pytest.warns(UserWarning), pytest.raises(ModelError, match=r"pip install 'fluxshard\[yolo\]'"):
        load(tmp_path / "yolo.pt")
    with pytest.raises(ModelError, match=r"models\.loading\.ultralytics\.load"):
        generic.load(tmp_path / "yolo.pt")
