"""The tuner of the CPU: the rule's tile unless another is clearly faster; a processor is measured once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from fluxshard.codegen.cpp.lowering import describe
from fluxshard.codegen.cpp.render import render
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.codegen.cpp.tuning.bench import processor_facts
from fluxshard.codegen.cpp.tuning.problem import Problem, candidates, problems_of, tiles_of
from fluxshard.codegen.cpp.tuning.tune import MARGIN, best, tune
from fluxshard.ir.plan import Plan
from fluxshard.testing.plan_builder import PlanBuilder
from tests.unit.codegen.targets import AVX512, PORTABLE

RULE, OTHER, THIRD = Tile(10, 2), Tile(8, 1), Tile(5, 2)


def plan() -> Plan:
    b = PlanBuilder(3, 16, 24)
    x = b.conv("image", 24, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), act=("silu",))
    y = b.conv(x, 24, (3, 3), padding=((1, 1), (1, 1)))
    b.conv(b.conv(x, 24, (3, 3), padding=((1, 1), (1, 1))), 24, (1, 1), y)
    return b.finish()


class Timer:
    """Answers with what the test says; without a wish, all tiles take as long."""

    def __init__(self, wanted: dict[Problem, Tile] | None = None) -> None:
        self.wanted = wanted or {}
        self.seen: list[Problem] = []

    def measure(self, problem: Problem, tiles: Sequence[Tile], shares: Sequence[float]) -> list[list[float]]:
        self.seen.append(problem)
        return [[5.0 if tile == self.wanted.get(problem) else 10.0 for _ in shares] for tile in tiles]


def test_another_tile_has_to_be_clearly_faster() -> None:
    def chosen(other: tuple[float, float]) -> Tile:
        return best((RULE, OTHER), ((100.0, 10.0), other))

    assert chosen((100.0, 10.0)) == RULE, "a tie is the rule's"
    assert chosen((100 * (1 - MARGIN / 2), 10 * (1 - MARGIN / 2))) == RULE, "and so is what noise may be"
    assert chosen((90.0, 9.0)) == OTHER
    assert chosen((50.0, 10.2)) == RULE, "whoever is slower at one share is not taken, however fast at another"
    assert best((RULE, OTHER, THIRD), ((100.0, 10.0), (90.0, 9.0), (80.0, 8.0))) == THIRD


def test_candidates_start_with_the_rules_and_pad_no_more() -> None:
    axis = next(iter(problems_of(describe(plan(), AVX512)).values())).y
    for target in (AVX512, PORTABLE):
        for channels in (8, 16, 24, 48, 80, 144, 512):
            problem = Problem(((16, 1, 1),), axis, axis, channels)
            found = candidates(problem, target)
            assert found[0] == Tile.of(channels, target)
            assert set(found) <= set(tiles_of(target)), "the program that times them has all"
            assert len(set(found)) == len(found) > 1
            for tile in found:
                assert tile.cells * tile.vectors + tile.vectors + 1 <= target.registers
                width = tile.vectors * target.vector_floats
                assert -(-channels // width) * width <= -(-channels // (found[0].vectors * target.vector_floats)) * (
                    found[0].vectors * target.vector_floats
                )


def test_the_fastest_is_taken_and_a_processor_is_measured_once(tmp_path: Path) -> None:
    problems = problems_of(describe(plan(), AVX512))
    assert problems["conv2d_1"] == problems["conv2d_2"], "layers alike are one problem"
    wanted = {problem: candidates(problem, AVX512)[-1] for problem in set(problems.values())}
    timer, told = Timer(wanted), []
    found = tune(plan(), AVX512, lambda: timer, "here", tmp_path, lambda *n: told.append(n))
    assert found == {name: wanted[problem] for name, problem in problems.items()}
    assert told == [(1, 3), (2, 3), (3, 3)] and len(timer.seen) == 3
    assert timer.seen == sorted(timer.seen, key=lambda problem: -problem.macs), "what takes longest is measured first"

    def nobody() -> Timer:
        raise AssertionError("it was measured before")

    assert tune(plan(), AVX512, nobody, "here", tmp_path) == found
    elsewhere = Timer()
    assert tune(plan(), AVX512, lambda: elsewhere, "elsewhere", tmp_path) == {}, "ties are the rule's"
    assert len(elsewhere.seen) == 3, "another processor is measured, too"
    assert tune(plan(), AVX512, nobody, "elsewhere", tmp_path) == {}, "and that the rule was best is kept"


@pytest.mark.parametrize("damage", ["{broken", "[]", '{"identity": "here"}', '{"identity": "other", "tiles": {}}'])
def test_a_bad_file_is_a_miss(damage: str, tmp_path: Path) -> None:
    tune(plan(), AVX512, Timer, "here", tmp_path)
    (kept,) = tmp_path.glob("cpu-tiles-*.json")
    kept.write_text(damage)
    timer = Timer()
    tune(plan(), AVX512, lambda: timer, "here", tmp_path)
    assert len(timer.seen) == 3
    assert len(json.loads(kept.read_text())["tiles"]) == 3


@pytest.mark.parametrize("entry", [[1000, 2], [0, 1], ["10", 2], [10], None, [10.0, 2], [True, True]])
def test_a_bad_entry_is_a_miss(entry: object, tmp_path: Path) -> None:
    tune(plan(), AVX512, Timer, "here", tmp_path)
    (kept,) = tmp_path.glob("cpu-tiles-*.json")
    content = json.loads(kept.read_text())
    content["tiles"][next(iter(content["tiles"]))] = entry
    kept.write_text(json.dumps(content))
    timer = Timer()
    tune(plan(), AVX512, lambda: timer, "here", tmp_path)
    assert len(timer.seen) == 1


def test_time_is_bounded_and_what_was_not_measured_is_measured_later(tmp_path: Path) -> None:
    problems = problems_of(describe(plan(), AVX512))
    wanted = {problem: candidates(problem, AVX512)[-1] for problem in set(problems.values())}
    now = iter((0.0, 0.0, 100.0))
    first, second = Timer(wanted), Timer(wanted)
    found = tune(plan(), AVX512, lambda: first, "here", tmp_path, budget_s=10.0, clock=lambda: next(now))
    assert len(first.seen) == 1 and set(found) == {name for name, p in problems.items() if p == first.seen[0]}
    assert len(tune(plan(), AVX512, lambda: second, "here", tmp_path)) == len(problems)
    assert len(second.seen) == 2 and first.seen[0] not in second.seen


def test_a_cache_that_cannot_be_written_costs_a_measurement_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    timer = Timer()
    for _ in range(2):
        tune(plan(), AVX512, lambda: timer, "here", tmp_path / "file" / "below")
    assert len(timer.seen) == 6


def test_tiles_are_in_the_text_of_their_layers_alone() -> None:
    rule = render(plan(), AVX512)[0]
    assert render(plan(), AVX512, {})[0] == rule
    tuned = render(plan(), AVX512, {"conv2d_3": Tile(5, 1)})[0]
    changed = [(a.strip(), b.strip()) for a, b in zip(rule.splitlines(), tuned.splitlines(), strict=True) if a != b]
    assert [b for _, b in changed if "conv<" in b] == [b for _, b in changed if "conv<5, 1>" in b] != []
    assert sum("conv<" in b for _, b in changed) == 1


def test_a_processor_is_told_by_its_names_and_instructions(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    text = "processor\t: {}\nmodel name\t: Fast  One\ncpu MHz\t\t: {}\nflags\t\t: fpu avx2\n\n"
    info.write_text(text.format(0, 3000.1) + text.format(1, 2000.2))
    first = processor_facts(info)
    assert first == "model name Fast One, flags fpu avx2"
    info.write_text(text.format(0, 1234.5))
    assert processor_facts(info) == first, "its clock is no matter"
    info.write_text(text.format(0, 1.0).replace("avx2", "avx2 avx512f"))
    assert processor_facts(info) != first
    assert processor_facts(tmp_path / "nothing")
