"""Clients, an agent, the server, its store, the clock and the network in one thread, from a seed.

    SEED=123 pytest tests/simulation        one seed again, with all that happened in it

``scripts/prove.py`` plays 100,000 seeds. The planted defects show that the promises are really looked at.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from satchel.catalog import idempotency, retention
from satchel.objects.ids import Lineage, ObjectId
from satchel.objects.listing import Tree
from satchel.sync import attempts, merge, naming, pull, session, texts
from satchel.sync.commit import Committer
from satchel.sync.merge import Clean, Outcome
from satchel.sync.plan import Plan, plan
from satchel.upkeep import purge, recovery
from satchel.worktree.base import Base, save_base
from satchel.worktree.undo import UndoStore
from tests.simulation import actors, world
from tests.simulation.ledger import Broken
from tests.simulation.one_thread import Processes, one_thread
from tests.simulation.service import Installation
from tests.simulation.world import World

pytestmark = [
    pytest.mark.promise("P3"),
    pytest.mark.promise("P4"),
    pytest.mark.promise("P7"),
    # Who is killed closes no file.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ALL = bool(os.environ.get("PROVE"))
SEED = os.environ.get("SEED")
SEEDS, PARTS = (100_000, 400) if ALL else (1_000, 20)
ANOTHER = 1_000_000
"""The first of the seeds that other tests play."""
SEEDS_IN_ONE = 1_000
"""Simulations over one installation: a catalog that has seen more is slower."""
MEMORY = Path("/dev/shm")  # a folder of one's own is made in it


class Stage:
    """Plays one seed after another, each once over one installation."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder, self.processes = folder, processes
        self.opened = self.played = 0
        self.house = self._open()

    def _open(self) -> Installation:
        self.opened += 1
        (inside := self.folder / f"installation-{self.opened}").mkdir()
        return Installation.open(inside)

    def renew(self) -> None:
        self.house.close()
        self.house = self._open()

    def play(self, seed: int) -> World:
        self.played += 1
        if self.played % SEEDS_IN_ONE == 0:
            self.renew()
        made = World(self.house, seed, self.folder / str(seed), self.processes)
        made.play()
        return made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    within = MEMORY if os.access(MEMORY, os.W_OK) else tmp_path_factory.mktemp("simulation")
    with tempfile.TemporaryDirectory(dir=within, prefix="satchel-simulation-") as folder:
        processes = Processes()
        with one_thread(processes):
            made = Stage(Path(folder), processes)
            yield made
            made.house.close()


@pytest.mark.parametrize("part", range(1 if SEED else PARTS))
def test_from_whatever_seed_nothing_is_lost_and_all_come_in_step(stage: Stage, part: int) -> None:
    _play_all(stage, [int(SEED)] if SEED else range(part, SEEDS, PARTS))


@pytest.mark.parametrize("seed", [53_600, 55_689, 59_585, 66_822, 67_593])
def test_seeds_in_which_names_were_lost_once_lose_none(stage: Stage, seed: int) -> None:
    stage.play(
        seed
    )  # renamed and edited before a pull that breaks off; a chain of renames; one to where a file was in conflict


def test_a_seed_plays_the_same_again_whatever_was_played_before(stage: Stage) -> None:
    seeds = range(ANOTHER, ANOTHER + 6)
    first = {seed: stage.play(seed).trace for seed in seeds}
    stage.renew()
    assert {seed: stage.play(seed).trace for seed in reversed(seeds)} == first


# Planted defects ------------------------------------------------------------------------------------------------------

ENOUGH = 400
"""Seeds within which a planted defect has to show itself, if it does not in the one that is tried first."""


def base_says_in_step_before_it_is(patch: pytest.MonkeyPatch) -> None:
    def write(
        root: Path, peer: Any, project: str, steps: Any, local: Any, cloud: pull.Cloud, *given: Any, **more: Any
    ) -> Any:
        save_base(root, Base(*cloud.head, cloud.entries, {}))
        return real(root, peer, project, steps, local, cloud, *given, **more)

    real = pull.write
    patch.setattr(pull, "write", write)


def deletions_of_the_cloud_not_noticed(patch: pytest.MonkeyPatch) -> None:
    def forgetful(base: Tree, local: Tree, cloud: Tree) -> Plan:
        return plan({path: entry for path, entry in base.items() if path in cloud}, local, cloud)

    patch.setattr(attempts, "plan", forgetful)


def answers_not_remembered(patch: pytest.MonkeyPatch) -> None:
    async def save(*_given: object) -> None:
        pass

    patch.setattr(idempotency, "save", save)


def parent_of_a_commit_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Committer, "check", lambda *_given: None)


def merge_keeps_one_side(patch: pytest.MonkeyPatch) -> None:
    def one_side(path: str, base: bytes | None, mine: bytes, theirs: bytes, *, made: bool) -> Outcome:
        merged = real(path, base, mine, theirs, made=made)
        return Clean(mine) if isinstance(merged, Clean) else merged

    real = merge.merge
    patch.setattr(texts, "merge", one_side)


def overwritten_without_being_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UndoStore, "keep", lambda *_given: None)


def undo_forgets_what_it_left_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UndoStore, "set_aside", UndoStore.forget)
    patch.setattr(world, "STEPS", 14)  # it takes two syncs that overwrote and an undo after an edit
    patch.setattr(world, "DEEDS", {**world.DEEDS, "undo": 18})


def purge_finds_nothing(patch: pytest.MonkeyPatch) -> None:
    async def nothing(one: Any) -> tuple[set[ObjectId], tuple[()], tuple[str, ...]]:
        return set(), (), one.paths

    patch.setattr(purge._Purge, "_victims", nothing)


def all_but_the_head_expires(patch: pytest.MonkeyPatch) -> None:
    async def newest(*given: Any) -> retention.Expiry:
        line = await real(*given)
        return line._replace(wanted=line.head)

    real = retention.expiry
    patch.setattr(retention, "expiry", newest)


def rebuilt_as_if_nothing_was_lost(patch: pytest.MonkeyPatch) -> None:
    async def same(one: Any, _why: str | None) -> Lineage:
        return await real(one, None)

    real = recovery._Project.settle
    patch.setattr(recovery._Project, "settle", same)


def names_reused_before_a_renamed_file_is_there(patch: pytest.MonkeyPatch) -> None:
    def deletions_alone(push: Any, *given: Any) -> dict[str, str]:
        return real({path: entry for path, entry in push.items() if entry is None}, *given)

    real = naming.kept_by_old_names
    patch.setattr(session, "kept_by_old_names", deletions_alone)
    patch.setattr(actors, "WORK", {"make": 12, "rename": 40})  # it takes two that hang together
    patch.setattr(world, "DEEDS", {"work": 50, "sync": 30, "agent": 20})  # and somebody who was faster
    patch.setattr(world, "STEPS", 10)


PLANTS: dict[Callable[[pytest.MonkeyPatch], None], tuple[str, int]] = {
    base_says_in_step_before_it_is: ("brought an old|never deleted|drops", 18),
    deletions_of_the_cloud_not_noticed: ("brought an old|drops", 31),
    answers_not_remembered: ("P7", 10),
    parent_of_a_commit_not_compared: ("P4|committed something else", 1),
    merge_keeps_one_side: ("drops|lost", 9),
    overwritten_without_being_kept: ("neither in the undo store nor in history", 2),
    undo_forgets_what_it_left_alone: ("neither in the undo store nor in history", 171),
    purge_finds_nothing: ("not gone", 19),
    all_but_the_head_expires: ("were to be kept", 138),
    rebuilt_as_if_nothing_was_lost: ("a lineage forgot|another lineage", 133),
    names_reused_before_a_renamed_file_is_there: ("drops", 12),
}
"""What is said of a defect, and the number of a seed in which it shows as things are."""


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_defect_is_noticed(stage: Stage, plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    says, shows = PLANTS[plant]
    first = ANOTHER * (2 + list(PLANTS).index(plant))
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        with pytest.raises(Broken) as broken:
            _play_all(stage, [first + shows, *range(first, first + ENOUGH)])
    assert re.search(says, str(broken.value).rpartition("\n")[2]), str(broken.value)


def _play_all(stage: Stage, seeds: Iterable[int]) -> None:
    for seed in seeds:
        stage.play(seed)
