"""The edge's engine in a thread of its own."""

from __future__ import annotations

import threading

import pytest
import torch

from fluxshard.cloud.edge.edge_runner import EdgeRunner
from fluxshard.errors import FluxShardError
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.policies import edge_policy
from fluxshard.runtime.stream import Program
from fluxshard.testing import FakeEngine
from fluxshard.testing.offload.hooked_engine import HookedEngine

SIZE = (16, 24)


def test_runs_in_one_thread_and_wakes() -> None:
    threads: set[int] = set()
    woken: list[int] = []
    engine = HookedEngine(FakeEngine(SIZE), lambda _: threads.add(threading.get_ident()))
    program = Program(engine, lambda leaves: leaves[0])
    policy, runner = edge_policy(program, ReuseOptions()), EdgeRunner(program, lambda: woken.append(1))
    assert not runner.is_running and runner.n_bytes > 0
    for _ in range(3):
        proposal = policy.propose(torch.rand(1, 3, *SIZE), None)
        policy.commit(proposal)
        future = runner.start(proposal)
        assert future.result().outputs.shape == (1, 3, 2, 3)
    runner.wait()
    assert len(threads) == 1 and threading.get_ident() not in threads and len(woken) == 3
    assert runner.work_map().shape == (2, 3)
    runner.close()
    assert not any(thread.name.startswith("fluxshard-edge") for thread in threading.enumerate())


def test_is_running_until_it_is_done_and_closing_waits() -> None:
    release = threading.Event()
    program = Program(HookedEngine(FakeEngine(SIZE), lambda _: release.wait(20)), lambda leaves: leaves[0])
    runner = EdgeRunner(program, lambda: None)
    future = runner.start(edge_policy(program, ReuseOptions()).propose(torch.rand(1, 3, *SIZE), None))
    assert runner.is_running and runner.began > 0
    threading.Timer(0.02, release.set).start()
    runner.close()
    assert future.done() and not runner.is_running


def test_an_error_is_for_whoever_asks() -> None:
    program = Program(FakeEngine(SIZE, fail_at=0), lambda leaves: leaves[0])
    runner = EdgeRunner(program, lambda: None)
    proposal = edge_policy(program, ReuseOptions()).propose(torch.rand(1, 3, *SIZE), None)
    future = runner.start(proposal)
    runner.wait()
    with pytest.raises(FluxShardError, match="fails at call 0"):
        future.result()
    assert runner.start(proposal).result().counts.keyframe
    runner.close()
