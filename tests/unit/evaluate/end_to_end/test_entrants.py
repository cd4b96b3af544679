"""The methods that take part fit each other."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.end_to_end.entrants import ENTRANTS, GREEDY, LEAST_ENERGY, OPTIMUM, PLANNED, TOGETHER, entrant
from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.offload.replay import STRATEGIES


def test_names_are_unique_and_roles_are_methods() -> None:
    names = [one.name for one in ENTRANTS]
    assert len(set(names)) == len(names)
    methods = methods_of(SETTINGS["pose"], 32)
    assert {one.role for one in ENTRANTS} == set(methods)
    assert len({method.name for method in methods.values()}) == len(methods)
    assert {one.strategy for one in ENTRANTS} <= {*STRATEGIES, None}
    assert all(entrant(name).strategy is not None for name in TOGETHER)


@pytest.mark.parametrize("sent", ["raw", "bitstream"])
def test_oracles_are_of_the_methods_that_they_judge(sent: str) -> None:
    own = entrant(f"FluxShard planned, {sent}")
    for label in (GREEDY, OPTIMUM):
        oracle = entrant(f"planned, {sent}: {label}")
        assert (oracle.role, oracle.sent, oracle.rules) == (own.role, own.sent, own.rules)


def test_one_minimizes_energy_and_is_the_same_otherwise() -> None:
    least, own = entrant(LEAST_ENERGY), entrant(PLANNED)
    assert (least.role, least.sent, least.dense, least.plans) == (own.role, own.sent, own.dense, own.plans)
    assert least.strategy == "hedged"  # a server that is kept warm costs energy
    assert [one.name for one in ENTRANTS if one.rules.dispatch.minimize == "energy"] == [LEAST_ENERGY]
