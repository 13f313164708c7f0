"""Files renamed here whose new name has to wait: the cloud keeps them by their old one until somebody decides."""

from __future__ import annotations

import pytest

from satchel.objects.listing import Entry
from satchel.sync.naming import after_refusals
from satchel.sync.plan import plan
from satchel.sync.session import Direction, Strategy
from satchel.sync.settle import Take, resolve, undo
from tests.sync.cloud import held, put
from tests.sync.conftest import Desk
from tests.sync.test_plan import SPEC, A, B, C, became, outcome
from tests.sync.test_session import again, steps

pytestmark = pytest.mark.promise("P3")

Trees = tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry]]


def table() -> list[tuple[str, str]]:
    rows = SPEC.read_text().splitlines()
    at = next(number for number, row in enumerate(rows) if row.startswith("| **renamed, but the name is taken** |"))
    there, expected = ([cell.strip() for cell in rows[n].strip("|").split("|")][1:] for n in (at - 2, at))
    return list(zip(there, expected, strict=True))


def test_the_table_of_the_specification_is_whole() -> None:
    assert len(table()) == 6


@pytest.mark.parametrize("taken", [{"q": C}, {"Q": C}, {"q/r": C}])
@pytest.mark.parametrize(("there", "expected"), table())
def test_a_name_that_is_taken_has_the_outcome_of_the_table(there: str, expected: str, taken: dict[str, Entry]) -> None:
    sides: Trees = ({"p": A}, {"q": A}, became(there, "cloud") | taken)
    done = steps(*sides)
    assert done.conflicts.keys() | done.name_clashes.keys() >= {"q"}
    assert "q" not in done.push
    if expected == "agreed":
        assert outcome(plan(*sides), "p") == "agreed"
        return
    for made in (done, again(done, *sides)):
        assert "p" not in made.push.keys() | made.pull.keys()
        assert ("p" in made.conflicts) == (expected == "conflict" and "q" in taken)
    if expected == "wait":
        reason = done.conflicts["q"].reason if "q" in done.conflicts else done.name_clashes["q"]
        assert reason.endswith("; until it is decided the cloud keeps p")


@pytest.mark.parametrize("strategy", [Strategy.LOCAL, Strategy.CLOUD, Strategy.BOTH])
def test_where_a_strategy_decides_the_old_name_goes_at_once(strategy: Strategy) -> None:
    assert steps({"p": A}, {"q": A}, {"p": A, "q": C}, strategy=strategy).push["p"] is None


def test_sent_one_way_the_old_name_waits_too() -> None:
    sides: Trees = ({"p": A}, {"q": A}, {"p": A, "q": C})
    assert steps(*sides, direction=Direction.TO_CLOUD).push == {}


def test_what_took_the_place_of_a_name_that_stays_waits_with_it() -> None:
    done = steps({"p": A}, {"q": A, "P": B}, {"p": A, "q": C})
    assert (done.push, sorted(done.name_clashes)) == ({}, ["P"])
    moved = steps({"p": A}, {"q": A, "P": C}, {"p": B, "Q": C})  # an edit would follow the rename
    assert (moved.push, sorted(moved.name_clashes)) == ({}, ["P", "Q", "q"])


@pytest.mark.parametrize("strategy", Strategy)
def test_a_new_name_beside_which_a_file_renamed_in_the_cloud_cannot_stand_waits(strategy: Strategy) -> None:
    done = steps({"p": A}, {"p": B, "Q": C}, {"q": A}, strategy=strategy)
    assert (done.push, done.pull, sorted(done.name_clashes)) == ({}, {}, ["Q", "q"])


def test_what_was_refused_here_keeps_the_old_name_there_and_who_took_its_place_waits() -> None:
    push: dict[str, Entry | None] = {"p": None, "P": B, "r": C}
    base, local, cloud = {"p": A}, {"q": A, "P": B, "r": C}, {"p": A, "q": C}
    assert list(after_refusals(push, ["q"], base, local, cloud)) == ["p", "P"]
    assert push == {"r": C}


MINE, THEIRS = "the file\n", "Ann's new file\n"


def renamed_to_a_name_that_is_taken(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"old.md": MINE})
    ann.sync()
    bob.sync()
    put(ann.root, {"new.md": THEIRS})
    ann.sync()
    (bob.root / "old.md").rename(bob.root / "new.md")
    for _ in range(2):
        report = bob.sync()
        assert [(c.path, c.reason.partition("; ")[2]) for c in report.conflicts] == [
            ("new.md", "until it is decided the cloud keeps old.md")
        ]
        assert report.pushed == []
    ann.sync()
    assert held(ann.root) == {"old.md": MINE, "new.md": THEIRS}


@pytest.mark.parametrize(
    ("take", "files"),
    [
        (Take.LOCAL, {"new.md": MINE}),
        (Take.CLOUD, {"new.md": THEIRS}),
        (Take.BOTH, {"new.md": MINE, "new.cloud.md": THEIRS}),
        (Take.MERGED, {"new.md": MINE + THEIRS}),
    ],
)
def test_the_old_name_goes_with_the_decision_however_it_falls(
    ann: Desk, bob: Desk, take: Take, files: dict[str, str]
) -> None:
    renamed_to_a_name_that_is_taken(ann, bob)
    if take is Take.MERGED:
        put(bob.root, files)
    resolve(bob.worktree, ["new.md"], take)
    assert bob.sync().in_step
    assert ann.sync().in_step
    assert held(ann.root) == held(bob.root) == files
    assert undo(ann.worktree).skipped == {}
    assert held(ann.root) == {"old.md": MINE, "new.md": THEIRS}


def test_undone_and_renamed_back_nothing_happened_to_it(ann: Desk, bob: Desk) -> None:
    renamed_to_a_name_that_is_taken(ann, bob)
    undo(bob.worktree)
    assert held(bob.root) == {"new.md": MINE}
    assert bob.sync().pushed == []
    (bob.root / "new.md").rename(bob.root / "old.md")
    assert [c.path for c in bob.sync().conflicts] == ["new.md"]
    resolve(bob.worktree, ["new.md"], Take.CLOUD)
    assert bob.sync().in_step
    assert held(bob.root) == {"old.md": MINE, "new.md": THEIRS}
