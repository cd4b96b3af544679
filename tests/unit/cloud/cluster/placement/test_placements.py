"""Who owns which stream: what holds after whatever happens, in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fluxshard.cloud.cluster.placement.placements import Place, Placements
from fluxshard.errors import RefusedError

ROOM = 4
names = st.sampled_from("abcdefgh")
callers = st.sampled_from(["alice", "bob"])


class World(RuleBasedStateMachine):
    """Placements beside workers that are slow to hear of them, freeze and die.

    A worker serves what it was granted until it was told of the end, or is lost; reports of ends may come late.
    """

    def __init__(self) -> None:
        super().__init__()
        self.placements = Placements(max_per_identity=5)
        self.serving: dict[str, dict[str, int]] = {}  # by worker: stream and epoch
        self.late: list[tuple[str, str, int]] = []  # ends that were not reported yet
        self.pending: list[Place] = []  # placed, but the worker was not told
        self.owners: dict[str, str] = {}
        self.epoch, self.joined = 0, 0

    @rule()
    @precondition(lambda self: len(self.serving) < 4)
    def join(self) -> None:
        self.joined += 1
        self.placements.join(f"w{self.joined}", ROOM)
        self.serving[f"w{self.joined}"] = {}

    @rule(data=st.data())
    @precondition(lambda self: self.serving)
    def lose(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.serving)))
        here = self.placements.streams_of(worker)
        lost = self.placements.lose(worker)
        assert {place.stream for place in lost} == here and all(place.worker == worker for place in lost)
        del self.serving[worker]
        self.late = [end for end in self.late if end[0] != worker]

    @rule(data=st.data())
    @precondition(lambda self: self.serving)
    def drain(self, data: st.DataObject) -> None:
        self.placements.set_open(data.draw(st.sampled_from(sorted(self.serving))), data.draw(st.booleans()))

    @rule(stream=names, caller=callers)
    def place(self, stream: str, caller: str) -> None:
        known = self.placements.place_of(stream) is not None or any(
            stream in served for served in self.serving.values()
        )
        try:
            place = self.placements.place(stream, caller)
        except RefusedError as error:
            assert error.reason in ("taken", "full")
            if error.reason == "taken":
                assert self.owners[stream] != caller
            return
        assert not known or self.owners[stream] == caller, "a name was taken from another caller"
        assert place.epoch > self.epoch and self.placements.is_open(place.worker)
        self.epoch, self.owners[stream] = place.epoch, caller
        self.pending.append(place)

    @rule(data=st.data())
    @precondition(lambda self: self.pending)
    def grant(self, data: st.DataObject) -> None:
        place = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        if not self.placements.may_grant(place):
            return
        before = self.serving[place.worker].get(place.stream)
        if before is not None:
            self.late.append((place.worker, place.stream, before))
        self.serving[place.worker][place.stream] = place.epoch

    @rule(data=st.data(), applied=st.booleans())
    @precondition(lambda self: self.pending)
    def grant_without_an_answer(self, data: st.DataObject, applied: bool) -> None:
        place = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        if not self.placements.may_grant(place):
            return
        self.placements.withdraw(place)
        if applied:
            self.serving[place.worker][place.stream] = place.epoch

    @rule(data=st.data())
    @precondition(lambda self: any(self.serving.values()))
    def end(self, data: st.DataObject) -> None:
        """An edge goes, or its stream is ended."""
        worker = data.draw(st.sampled_from(sorted(name for name, served in self.serving.items() if served)))
        stream = data.draw(st.sampled_from(sorted(self.serving[worker])))
        self.late.append((worker, stream, self.serving[worker].pop(stream)))

    @rule(data=st.data())
    @precondition(lambda self: self.late)
    def report(self, data: st.DataObject) -> None:
        worker, stream, epoch = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        self.placements.ended(worker, stream, epoch)

    @rule(stream=names)
    def revoke_fences(self, stream: str) -> None:
        place = self.placements.place_of(stream)
        for fence in () if place is None else self.placements.fences(place):
            if self.serving[fence.worker].get(stream, fence.epoch) <= fence.epoch:
                self.serving[fence.worker].pop(stream, None)
            self.placements.ended(fence.worker, stream, fence.epoch)

    @rule(shares=st.dictionaries(names, st.floats(0, 1)), data=st.data())
    @precondition(lambda self: self.serving)
    def measure(self, shares: dict[str, float], data: st.DataObject) -> None:
        self.placements.measured(data.draw(st.sampled_from(sorted(self.serving))), shares)

    @rule(most=st.integers(0, 5))
    def move(self, most: int) -> None:
        moves = self.placements.moves(most=most, tolerance=0.1)
        assert len({one.place.stream for one in moves}) == len(moves)
        for one in moves:
            assert self.placements.place_of(one.place.stream) == one.place
            assert one.target != one.place.worker and self.placements.is_open(one.target)

    @invariant()
    def nobody_serves_what_another_serves(self) -> None:
        served = [stream for streams in self.serving.values() for stream in streams]
        assert len(served) == len(set(served)), self.serving

    @invariant()
    def every_stream_has_one_place(self) -> None:
        placed = [stream for worker in self.serving for stream in self.placements.streams_of(worker)]
        assert len(placed) == len(set(placed))
        for worker in self.serving:
            for stream in self.placements.streams_of(worker):
                place = self.placements.place_of(stream)
                assert place is not None and place.worker == worker and place.epoch <= self.epoch

    @invariant()
    def nobody_has_more_than_there_is_room_for(self) -> None:
        assert all(len(self.placements.streams_of(worker)) <= ROOM for worker in self.serving)
        assert all(load >= 0 for load in self.placements.workers.values())


World.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestWorld = World.TestCase


def of_three(**options: int) -> Placements:
    placements = Placements(**options)
    for name in ("w1", "w2", "w3"):
        placements.join(name, 100)
    return placements


def counts(placements: Placements) -> list[int]:
    return [len(placements.streams_of(worker)) for worker in placements.workers]


def test_two_hundred_streams_are_spread_evenly() -> None:
    placements = of_three()
    for number in range(200):
        placements.place(f"s{number}", "alice")
    assert sorted(counts(placements)) == [66, 67, 67]


@given(st.lists(st.floats(0.0005, 0.02), min_size=200, max_size=200))
def test_two_hundred_streams_of_any_cost_end_within_ten_percent_of_even_load(costs: list[float]) -> None:
    """Placed before anything of them is known; then measured, and evened out."""
    placements, cost = of_three(), {f"s{number}": value for number, value in enumerate(costs)}
    for name in cost:
        placements.place(name, "alice")
    for worker in placements.workers:
        placements.measured(worker, cost)
    moves = 0
    while found := placements.moves(most=4, tolerance=0.05):
        moves += len(found)
        for one in found:
            place = placements.place(one.place.stream, "alice")
            placements.ended(one.place.worker, one.place.stream, one.place.epoch)
            assert placements.may_grant(place)
        assert moves <= 200
    loads = list(placements.workers.values())
    mean = sum(loads) / 3
    assert all(abs(load - mean) <= 0.1 * mean for load in loads)


def test_work_counts_more_than_numbers() -> None:
    placements = of_three()
    for number in range(3):
        placements.place(f"busy{number}", "alice")
    first = placements.place_of("busy0")
    assert first is not None
    for worker in placements.workers:
        placements.measured(worker, {"busy0": 0.5, "busy1": 0.01, "busy2": 0.01})
    assert {placements.place(f"new{number}", "alice").worker for number in range(2)}.isdisjoint({first.worker})


def test_a_lost_workers_streams_are_spread_over_the_others() -> None:
    placements = of_three()
    for number in range(90):
        placements.place(f"s{number}", "alice")
    lost = placements.lose("w1")
    assert len(lost) == 30 and placements.place_of(lost[0].stream) is None
    for place in lost:
        again = placements.place(place.stream, "alice")
        assert again.epoch > place.epoch and placements.may_grant(again)
    assert counts(placements) == [45, 45]


def test_a_worker_that_may_still_serve_is_a_fence() -> None:
    placements = of_three()
    first = placements.place("door", "alice")
    placements.set_open(first.worker, False)
    second = placements.place("door", "alice")
    assert second.worker != first.worker and placements.fences(second) == (first,) and not placements.may_grant(second)
    placements.ended(first.worker, "door", first.epoch)
    assert placements.may_grant(second) and not placements.may_grant(first)


def test_losing_a_worker_takes_its_fences_down() -> None:
    placements = of_three()
    first = placements.place("door", "alice")
    placements.withdraw(first)
    placements.set_open(first.worker, False)
    second = placements.place("door", "alice")
    assert not placements.may_grant(second)
    placements.lose(first.worker)
    assert placements.may_grant(second)


def test_another_caller_is_refused_while_the_name_is_owned() -> None:
    placements = of_three()
    place = placements.place("door", "alice")
    with pytest.raises(RefusedError, match="another caller") as refused:
        placements.place("door", "bob")
    assert refused.value.reason == "taken" and placements.place_of("door") == place
    placements.ended(place.worker, "door", place.epoch)
    assert placements.place("door", "bob").epoch > place.epoch and len(placements) == 1


def test_late_reports_of_an_older_epoch_change_nothing() -> None:
    placements = Placements()
    placements.join("w1", 2)
    first, second = placements.place("door", "alice"), placements.place("door", "alice")
    placements.ended("w1", "door", first.epoch)
    assert placements.place_of("door") == second and placements.may_grant(second)


def test_room_and_quotas() -> None:
    placements = Placements(max_per_identity=2)
    placements.join("w1", 3)
    for name in ("a", "b"):
        placements.place(name, "alice")
    with pytest.raises(RefusedError) as refused:
        placements.place("c", "alice")
    assert refused.value.reason == "full" and refused.value.retry_after_s is not None
    placements.place("a", "alice")  # what is there is no new stream
    placements.place("c", "bob")
    with pytest.raises(RefusedError):
        placements.place("d", "bob")
    assert len(placements) == 3


def test_workers_that_take_no_streams_are_left_alone() -> None:
    """They may be late with a report; one that leaves has told its streams itself."""
    placements = of_three()
    for number in range(60):
        placements.place(f"s{number}", "alice")
    placements.set_open("w2", False)
    assert placements.moves(most=100, tolerance=0.1) == []
    placements.measured("w1", {stream: 0.05 for stream in placements.streams_of("w1")})
    for worker in ("w2", "w3"):
        placements.measured(worker, {stream: 0.001 for stream in placements.streams_of(worker)})
    moves = placements.moves(most=100, tolerance=0.1)
    assert moves and {(move.place.worker, move.target) for move in moves} == {("w1", "w3")}


def test_nothing_moves_while_loads_are_even_enough_or_pinned() -> None:
    placements = of_three()
    for number in range(30):
        placements.place(f"s{number}", "alice")
    assert placements.moves(most=5, tolerance=0.1) == []
    for worker in placements.workers:
        placements.measured(worker, {f"s{number}": 0.1 if worker == "w1" else 0.01 for number in range(30)})
    busy = placements.streams_of("w1")
    assert placements.moves(most=5, tolerance=0.1) != []
    assert placements.moves(most=5, tolerance=0.1, pinned=busy) == []


def test_a_single_stream_stays_where_it_is() -> None:
    placements = of_three()
    place = placements.place("door", "alice")
    for share in (0.0, 0.3, 0.9):
        assert placements.moves(most=5, tolerance=0.1) == []
        placements.measured(place.worker, {"door": share})


def test_idle_streams_are_not_moved_to_even_out_slots() -> None:
    placements = of_three()
    for number in range(9):
        placements.place(f"s{number}", "alice")
    for stream in sorted(placements.streams_of("w1")):
        placements.ended("w1", stream, 9)
    assert counts(placements) == [0, 3, 3] and placements.moves(most=5, tolerance=0.1) == []


def test_streams_that_stay_idle_count_as_idle() -> None:
    placements = of_three()
    for number in range(6):
        placements.place(f"s{number}", "alice")
    for _ in range(2):
        for worker in placements.workers:
            placements.measured(worker, {"s0": 0.6, "s1": 0.3})
    works = sorted(round(load - 0.02, 3) for load in placements.workers.values())
    assert works == [0.0, 0.3, 0.6], "streams without a frame were taken for the mean of the others"


def test_a_stream_that_comes_back_counts_as_before() -> None:
    placements = of_three()
    first = placements.place("busy", "alice")
    placements.measured(first.worker, {"busy": 0.5})
    for number in range(20):
        quiet = placements.place(f"quiet{number}", "alice")
        placements.measured(quiet.worker, {"busy": 0.5, f"quiet{number}": 0.01})
    placements.ended(first.worker, "busy", first.epoch)
    again = placements.place("busy", "alice")
    assert placements.workers[again.worker] > 0.5
    placements.ended(again.worker, "busy", again.epoch)
    other = placements.place("busy", "bob")
    assert placements.workers[other.worker] < 0.3, "of another caller it is another stream"
