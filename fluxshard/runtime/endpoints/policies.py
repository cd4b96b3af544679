"""The policies of both endpoints of a stream, for one program."""

from __future__ import annotations

from dataclasses import replace

from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.quad_policy import QuadPolicy
from fluxshard.runtime.planned.policy import PlannedPolicy
from fluxshard.runtime.reuse.policy import WorkPolicy
from fluxshard.runtime.reuse.propagated import PropagatedPolicy
from fluxshard.runtime.reuse.thresholds import tau_per_layer
from fluxshard.runtime.stream import Program


def edge_policy(program: Program, reuse: ReuseOptions) -> WorkPolicy:
    """What decides the work of the edge: the policy of a session in one place."""
    plan, make_cache = program.engine.plan, program.engine.new_input_cache
    if reuse.policy == "planned":
        return PlannedPolicy(plan, reuse, program.make_test, make_cache)
    return PropagatedPolicy(plan, reuse, tau_per_layer(plan, reuse.tau), make_cache)


def cloud_policy(program: Program, reuse: ReuseOptions, *, sparse_image: bool) -> WorkPolicy:
    """What decides, on the edge, the work of the server.

    Args:
      program: of the edge; its engine never runs these proposals.
      reuse: options of the stream.
      sparse_image: the server is sent the pixels of S_0 only.
    """
    plan, make_cache = program.engine.plan, program.engine.new_input_cache
    if reuse.policy == "planned":
        # pixels that the server assembles decide nothing: the test keeps what its shards were computed from
        return PlannedPolicy(plan, replace(reuse, input="fresh"), program.make_test, make_cache)
    told = replace(reuse, input="assembled") if sparse_image else reuse
    return QuadPolicy(PropagatedPolicy(plan, told, tau_per_layer(plan, reuse.tau), make_cache))
