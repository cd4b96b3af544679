"""The laws of reuse on a GPU: reuse is exact, free where nothing changed, deterministic and isolated."""

from __future__ import annotations

import pytest
import torch

from fluxshard.options import DType, Rfap
from fluxshard.testing.moving_frames import KINDS
from tests.gpu import laws
from tests.gpu.place import CUDA, DTYPES, Place
from tests.laws import level_motions, proposals
from tests.laws.planned import SETTINGS

SEEDS = tuple(range(300, 308))
INTEGER_SEEDS = tuple(range(400, 406))
RFAPS: tuple[Rfap, ...] = ("compact", "per_layer", "off")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [11, 12])
def test_exact_at_zero_thresholds(seed: int, kind: str, content: int) -> None:
    laws.exact(CUDA, seed, kind, content)


@pytest.mark.parametrize("seed", SEEDS[:4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["blocks", "garbage", "cut"])
def test_exact_over_long_sequences(place: Place, seed: int, dtype: DType, kind: str) -> None:
    laws.exact(place, seed, kind, seed, 40, dtype)


@pytest.mark.parametrize("seed", SEEDS[:4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_incremental_bits_are_those_of_all_work(place: Place, seed: int, dtype: DType) -> None:
    laws.incremental_bits(place, seed, dtype)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rfap", "remap"), [("compact", True), ("per_layer", False), ("off", True)])
def test_all_work_is_dense(place: Place, seed: int, rfap: Rfap, remap: bool) -> None:
    laws.all_work(place, seed, "float32", rfap=rfap, remap=remap)


@pytest.mark.parametrize("seed", SEEDS[:4])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_all_work_is_dense_in_halves(place: Place, seed: int, dtype: DType) -> None:
    laws.all_work(place, seed, dtype, rfap="compact", remap=True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rfap", RFAPS)
def test_no_work_changes_no_bit_and_executes_nothing(place: Place, seed: int, rfap: Rfap) -> None:
    laws.no_work(place, seed, "float32", rfap)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_no_work_in_halves(place: Place, seed: int) -> None:
    laws.no_work(place, seed, "float16", "compact")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", range(len(SETTINGS)))
def test_planned_work_is_executed_work(place: Place, seed: int, kind: str, which: int) -> None:
    laws.planned_reuse(place, seed, kind, seed, which)


@pytest.mark.parametrize("seed", SEEDS[:3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", proposals.REUSES)
def test_proposals_are_what_runs(seed: int, kind: str, name: str) -> None:
    laws.proposals_are_what_runs(CUDA, seed, name, kind, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_planned_edges(place: Place, seed: int) -> None:
    laws.planned_edges(place, seed)


@pytest.mark.parametrize("seed", INTEGER_SEEDS)
@pytest.mark.parametrize(("kind", "which"), [("blocks", 1), ("blocks", 2), ("blocks", 3), ("pan", 1)])
def test_planned_decisions_are_those_of_the_reference(place: Place, seed: int, kind: str, which: int) -> None:
    laws.planned_decisions(place, seed, kind, which)


@pytest.mark.parametrize("seed", INTEGER_SEEDS)
@pytest.mark.parametrize("work", level_motions.WORK)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_levels_move_as_in_the_reference(place: Place, seed: int, work: level_motions.Work, dtype: DType) -> None:
    laws.level_motion(place, seed, work, dtype)


@pytest.mark.parametrize("seed", INTEGER_SEEDS)
@pytest.mark.parametrize("rfap", RFAPS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_decisions_are_those_of_the_reference(place: Place, seed: int, rfap: Rfap, dtype: DType) -> None:
    laws.same_decisions(place, seed, rfap, dtype)


@pytest.mark.parametrize("seed", INTEGER_SEEDS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_given_work_is_that_of_the_reference(place: Place, seed: int, dtype: DType) -> None:
    laws.same_given_work(place, seed, dtype)


@pytest.mark.parametrize("seed", SEEDS[:6])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_deterministic(place: Place, seed: int, dtype: DType) -> None:
    laws.deterministic(place, seed, dtype)


@pytest.mark.parametrize("seed", SEEDS)
def test_isolated_in_threads_on_streams_of_their_own(place: Place, seed: int) -> None:
    own = tuple(torch.cuda.stream(torch.cuda.Stream()) for _ in range(3))
    laws.isolated(place, seed, 12, own)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_isolated_in_threads_on_one_stream(place: Place, seed: int) -> None:
    laws.isolated(place, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_outputs_alias_nothing(place: Place, seed: int) -> None:
    laws.outputs_alias_nothing(place, seed)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_nan_and_infinity_pass_through_and_leave(place: Place, seed: int) -> None:
    laws.not_a_number_leaves(place, seed)
