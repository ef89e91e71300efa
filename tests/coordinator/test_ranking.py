"""What the order of a list is worth to visitors, against a list at random, and who can bend it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import mean, median
from typing import NamedTuple

import pytest

from p2pcdn.coordinator import Candidate, Coordinator, DefaultRanker, Ranker
from p2pcdn.coordinator.quality import Measure, Quality, read_links

from .world import CONTENT, World

pytestmark = pytest.mark.lengthy


class RandomRanker:
    """The baseline: any of those that hold something."""

    def rank(
        self, candidates: Sequence[Candidate], *, limit: int, random: Random
    ) -> Sequence[Candidate]:
        return random.sample(candidates, min(limit, len(candidates)))


DEMAND = 200_000.0
"""Bytes per second of the film."""


class Viewer(NamedTuple):
    id: str
    provider: int
    uplink: float
    """Bytes per second."""
    delay_s: float
    """From its own line alone."""
    line: str = "unknown"


class Outcome(NamedTuple):
    wait_s: float
    """Mean time that a megabyte took from one source."""
    slowest: float
    """Bytes per second; one link in ten gave less."""
    rtt_s: float
    near: float
    """Share of the bytes that stayed with one provider."""
    busiest: float
    """What the source with most links served, over the mean of all that served."""


class Village(World):
    """Viewers who come one after the other, ask whom to fetch from, and link to the first four.

    A link runs at the source's uplink over the links that it serves then. Between providers a
    round trip is 60 ms longer. The coordinator knows nothing but what loaders tell it.
    """

    def __init__(self, ranker: Ranker, seed: int) -> None:
        super().__init__()
        self.core = Coordinator(self.limits, self.admission, ranker=ranker, random=Random(seed))
        self.chance = Random(seed)
        self.viewers: dict[str, Viewer] = {}
        self.serving: dict[str, list[float]] = {}

    def arrive(self, number: int) -> Viewer:
        provider = self.chance.randrange(8)
        # Uplinks of homes: a median of 5 Mbit/s, a tenth of them below 1.5.
        uplink = 625_000 * math.exp(self.chance.gauss(0, 0.95))
        delay = 0.005 + self.chance.expovariate(1 / 0.02)
        viewer = Viewer(f"v{number}", provider, uplink, delay)
        self.viewers[viewer.id] = viewer
        self.serving[viewer.id] = []
        address = f"93.{100 + provider}.{self.chance.randrange(200)}.{1 + number % 250}"
        self.connect(viewer.id, address=address)
        return viewer

    def load(self, id: str) -> int:
        self.serving[id] = [end for end in self.serving[id] if end > self.now]
        return len(self.serving[id])

    def tell(self, viewer: Viewer, links: list[tuple[str, float, float]]) -> None:
        busy = min(1.0, self.load(viewer.id) * DEMAND / viewer.uplink)
        info = {"busy": busy, "links": [[id, rtt * 1000, rate / 1024] for id, rtt, rate in links]}
        self.announce(viewer.id, [[0, 10]], info={**info, "network": viewer.line})

    def evening(self, visitors: int) -> Outcome:
        rates: list[float] = []
        rtts: list[float] = []
        near = total = 0.0
        served: dict[str, int] = {}
        for number in range(visitors):
            self.now += 1.0
            viewer = self.arrive(number)
            # Each stays for two minutes and says every few seconds how it is.
            if number >= 120:
                self.drop(f"v{number - 120}")
            for other in range(max(0, number - 119), number):
                if (other + number) % 3 == 0:
                    self.tell(self.viewers[f"v{other}"], [])
            links = []
            for id in self.ids(viewer.id, limit=12)[:4]:
                source = self.viewers[id]
                self.say(viewer.id, "OFFER", dst=id, payload={})
                self.say(id, "ANSWER", dst=viewer.id, payload={})
                abroad = source.provider != viewer.provider
                rtt = source.delay_s + viewer.delay_s + 0.06 * abroad
                rate = source.uplink / (1 + self.load(id))
                self.serving[id].append(self.now + 15.0)
                served[id] = served.get(id, 0) + 1
                links.append((id, rtt, rate))
                if number >= 60:  # the first ones have no choice
                    rates.append(rate)
                    rtts.append(rtt)
                    near += 0 if abroad else rate
                    total += rate
            self.tell(viewer, links)
        return Outcome(
            mean(1e6 / rate for rate in rates),
            sorted(rates)[len(rates) // 10],
            median(rtts),
            near / total,
            max(served.values()) / mean(served.values()),
        )


class Outskirts(Village):
    """One viewer in five is on a phone's line or one like it, and its browser says so."""

    def arrive(self, number: int) -> Viewer:
        viewer = super().arrive(number)
        if self.chance.random() < 0.2:
            line = self.chance.choice(("cellular", "slow"))
            slower = viewer.uplink / 5, viewer.delay_s + 0.06
            viewer = Viewer(viewer.id, viewer.provider, *slower, line)
            self.viewers[viewer.id] = viewer
        return viewer


def average(ranker: Ranker, where: type[Village] = Village) -> Outcome:
    outcomes = [where(ranker, seed).evening(400) for seed in range(3)]
    return Outcome(*(mean(values) for values in zip(*outcomes, strict=True)))


def test_the_order_gives_viewers_faster_nearer_sources_than_chance_and_wears_nobody_out() -> None:
    ranked, random = average(DefaultRanker()), average(RandomRanker())
    told = f"ranked {ranked}\nrandom {random}"
    assert ranked.wait_s < 0.6 * random.wait_s, told
    assert ranked.slowest > 1.5 * random.slowest, told
    assert ranked.rtt_s < 0.9 * random.rtt_s, told
    assert ranked.near > 2 * random.near, told
    assert ranked.busiest < 1.5 * random.busiest, told


class Blind(DefaultRanker):
    """The same order without what peers measured of each other."""

    @staticmethod
    def score(c: Candidate) -> float:
        return DefaultRanker.score(c._replace(rtt_s=None, rate=None))


def test_what_peers_measure_of_each_other_spares_viewers_the_slow_lines() -> None:
    seeing, blind = average(DefaultRanker()), average(Blind())
    assert seeing.slowest > 1.25 * blind.slowest, f"seeing {seeing}\nblind {blind}"


class Unaware(DefaultRanker):
    """The same order without the kinds of networks."""

    @staticmethod
    def score(c: Candidate) -> float:
        return DefaultRanker.score(c._replace(line="unknown"))


@pytest.mark.parametrize(
    ("said", "worth"),
    [
        ("ethernet", "ethernet"), ("wifi", "wifi"), ("cellular", "cellular"), ("slow", "slow"),
        ("unknown", "unknown"), ("wimax", "unknown"), ("", "unknown"), ("WIFI", "unknown"),
        ("x" * 2000, "unknown"), (None, "wifi"), (7, "wifi"), (["ethernet"], "wifi"), ({}, "wifi"),
    ],
)  # fmt: skip
def test_of_a_network_nothing_is_believed_but_its_kind(said: object, worth: str) -> None:
    seen: list[Candidate] = []

    class Looking(DefaultRanker):
        def rank(
            self, candidates: Sequence[Candidate], *, limit: int, random: Random
        ) -> Sequence[Candidate]:
            seen[:] = candidates
            return candidates

    world = World()
    world.core = Coordinator(world.limits, world.admission, ranker=Looking())
    world.connect("a")
    world.connect("asker")
    world.announce("a", [[0, 10]])
    world.sources("asker")
    assert seen[0].line == "unknown"
    world.announce("a", [], info={"network": "wifi"})
    world.announce("a", [], info={"network": said})
    world.announce("a", [], info={"busy": 0.5})
    listed = world.sources("asker")
    assert seen[0].line == worth
    assert "network" not in listed[0], "who asks learns nothing of it"


def test_a_kind_of_network_is_worth_less_than_a_neighbour_and_less_than_holding_the_film() -> None:
    base = Candidate("base", 1.0, 0.0, 60.0, 0.0, 0.0)
    score = DefaultRanker.score
    order = [score(base._replace(line=line)) for line in ("ethernet", "wifi", "cellular")]
    assert order == sorted(order, reverse=True) and order[1] > order[2]
    assert score(base) == order[1] and score(base._replace(line="slow")) == order[2]
    assert score(base._replace(line="cellular", closeness=0.6)) > order[0]
    assert score(base._replace(line="cellular")) > score(base._replace(line="wifi", overlap=0.5))


def test_what_browsers_say_of_their_networks_spares_viewers_the_slow_ones() -> None:
    aware, unaware = average(DefaultRanker(), Outskirts), average(Unaware(), Outskirts)
    told = f"aware {aware}\nunaware {unaware}"
    assert aware.slowest > 1.15 * unaware.slowest, told
    assert aware.wait_s < 0.95 * unaware.wait_s, told
    assert aware.busiest < 1.3 * unaware.busiest, told


# --- who can bend it ---------------------------------------------------------------------------


def linked(world: World, *pairs: tuple[str, str]) -> None:
    for one, other in pairs:
        world.say(one, "OFFER", dst=other, payload={})
        world.say(other, "ANSWER", dst=one, payload={})


def place(world: World, *, rounds: int = 60) -> float:
    """How often the first of two equal sources is named first."""
    firsts = 0
    for _ in range(rounds):
        world.now += 30  # what was named lately is forgotten
        for id in ("a", "b"):
            world.say(id, "HEARTBEAT")
            world.announce(id, [[0, 10]])
        firsts += world.ids("asker")[0] == "a"
    return firsts / rounds


def village(*more: str) -> World:
    world = World(alive_timeout_s=1e9, silence_timeout_s=1e9)
    for id in ("a", "b", "asker", *more):
        world.connect(id)
    for id in ("a", "b"):
        world.announce(id, [[0, 10]])
    return world


def told(world: World, reporter: str, *links: list[object]) -> None:
    world.announce(reporter, [[0, 1]], content="f" * 32, info={"links": list(links)})


def test_a_source_that_serves_others_well_is_named_first() -> None:
    world = village("x", "y")
    linked(world, ("x", "a"), ("y", "a"), ("x", "b"), ("y", "b"))
    for reporter in ("x", "y"):
        told(world, reporter, ["a", 20, 4000], ["b", 300, 20])
    assert place(world) > 0.9


def test_nobody_praises_itself_or_slanders_whom_it_never_met() -> None:
    world = village("x")
    told(world, "a", ["a", 1, 100_000])
    for _ in range(50):
        told(world, "x", ["a", 1, 100_000], ["b", 9000, 0])
        world.say("x", "REPORT", {"content": CONTENT, "bad": ["b"]})
    assert 0.2 < place(world) < 0.8


def test_one_liar_among_those_that_were_served_moves_nothing() -> None:
    world = village("x", "y", "z")
    for id in "xyz":
        linked(world, (id, "a"), (id, "b"))
        told(world, id, ["a", 20, 2000], ["b", 20, 2000])
    told(world, "z", ["a", 1, 1e9], ["b", 9000, 0])
    assert 0.2 < place(world) < 0.8


def test_who_was_caught_sending_wrong_bytes_comes_last() -> None:
    world = village("x", "y")
    linked(world, ("x", "b"), ("y", "b"))
    for id in ("x", "y"):
        world.say(id, "REPORT", {"content": CONTENT, "bad": ["b", None, 7, "nobody"]})
    assert place(world) == 1.0


def test_measurements_that_are_none_are_left_out() -> None:
    assert read_links([["a", 20, 100], ["b", None, 5], ["c", "fast", True], ["d"], 7, None,
                       [1, 2, 3], ["e", -1, float("inf")], ["f", 1e300, 10**400]]) == [
        ("a", Measure(0.02, 102400.0)),
        ("b", Measure(None, 5120.0)),
        ("f", Measure(10.0, 1e9)),
    ]  # fmt: skip
    for nothing in (None, "x", {}, 1, [[]] * 100):
        assert read_links(nothing) == []


def test_what_is_remembered_of_a_peer_is_bounded() -> None:
    quality = Quality()
    for n in range(1000):
        quality.meet(f"p{n}")
        quality.measured(f"p{n}", Measure(0.1, float(n)))
        quality.blamed(f"p{n}")
    assert quality.blame <= 64
    assert quality.rate is not None and quality.rate > 990
    assert sum(len(getattr(quality, name)) for name in quality.__slots__) <= 64 + 64 + 8
