"""Where warnings point to."""

from __future__ import annotations

import sys
import threading
import types
import warnings
from collections.abc import Callable

import pytest

from fluxshard.errors import warn

CODE = """
def issue(message, depth):
    if depth:
        return issue(message, depth - 1)
    warn(message)

def call(function, *args):
    function(*args)
"""


def module(name: str) -> types.ModuleType:
    """A module of this name that warns, after so many calls of itself, and calls other modules."""
    made = types.ModuleType(name)
    vars(made)["warn"] = warn
    exec(compile(CODE, f"/somewhere/{name.replace('.', '/')}.py", "exec"), vars(made))
    return made


def caught(function: Callable[[], object]) -> warnings.WarningMessage:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        function()
    (only,) = seen
    assert only.category is RuntimeWarning and str(only.message) == "slow"
    return only


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_a_warning_points_to_the_caller_of_the_package_from_any_depth(depth: int) -> None:
    inside = module("fluxshard.codegen.somewhere")
    found = caught(lambda: inside.issue("slow", depth))
    assert found.filename == __file__
    assert found.lineno == sys._getframe().f_lineno - 2


def test_modules_whose_names_only_begin_alike_are_callers() -> None:
    inside, user = module("fluxshard.api"), module("fluxshard_examples.walk")
    assert caught(lambda: user.call(inside.issue, "slow", 1)).filename.endswith("fluxshard_examples/walk.py")


def test_the_command_line_is_a_caller() -> None:
    inside, command = module("fluxshard.api"), module("fluxshard.cli.run")
    assert caught(lambda: command.call(inside.issue, "slow", 1)).filename.endswith("fluxshard/cli/run.py")


def test_in_a_thread_of_the_package_it_points_to_where_the_thread_began() -> None:
    inside, started = module("fluxshard.codegen.cache"), module("fluxshard.codegen.workers")

    def run() -> None:
        thread = threading.Thread(target=started.call, args=(inside.issue, "slow", 1))
        thread.start()
        thread.join()

    assert caught(run).filename.endswith("fluxshard/codegen/workers.py")


def test_one_line_warns_once_by_default() -> None:
    inside = module("fluxshard.api")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            inside.issue("slow", 0)
        inside.issue("slow", 0)
    assert len(seen) == 2
