"""An edit that is fetched as its difference from what the folder has: what is asked, answered, bounded and refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from satchel.errors import ServerLied
from satchel.objects.delta import make_delta
from satchel.objects.frame import Frame
from satchel.objects.ids import ObjectId, ProjectId, object_id
from satchel.objects.pack import encode_frame
from satchel.sync import differences
from satchel.sync.choices import Strategy
from tests.sync.cloud import Cloud, InProcessPeer, put
from tests.sync.conftest import Desk
from tests.sync.test_deltas import FILES, edited, of, page

EDITED = {name: edited(text) for name, text in FILES.items()}


@dataclass
class Seen(InProcessPeer):
    """A peer that notes each reading, and gives what ``lie`` makes of its first answer."""

    read: list[tuple[int | None, list[Frame]]] = field(default_factory=list)
    lie: Callable[[list[Frame]], list[Frame]] | None = None

    def read_objects(self, project: str, objects: Sequence[ObjectId], since: int | None = None) -> Iterator[Frame]:
        frames = list(super().read_objects(project, objects, since))
        frames = self.lie(frames) if self.lie and not self.read else frames
        self.read.append((since, frames))
        return iter(frames)

    @property
    def bytes(self) -> int:
        return sum(len(encode_frame(frame)) for _, frames in self.read for frame in frames)


@pytest.fixture
def seen(cloud: Cloud, ann: Desk, bob: Desk) -> Seen:
    """Bob's peer: his folder is at version 1, and Ann has edited every file since."""
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, EDITED)
    ann.sync()
    bob.peer = Seen(cloud, bob.peer.tenant, "Bob")
    return bob.peer


def texts(desk: Desk) -> dict[str, str]:
    return {name: (desk.root / name).read_text() for name in FILES}


@pytest.mark.promise("P3")
def test_an_edit_is_fetched_as_its_difference_and_edited_again_as_one(seen: Seen, ann: Desk, bob: Desk) -> None:
    bob.sync()
    ((since, frames),) = seen.read
    assert (since, [len(frame.bases) for frame in frames]) == (1, [4])
    assert seen.bytes * 16 < sum(map(len, EDITED.values()))
    assert texts(bob) == EDITED
    put(bob.root, {"page1.md": EDITED["page1.md"].replace("70:", "seventy:")})
    report = bob.sync()
    assert report.sent_bytes * 4 < report.raw_bytes
    ann.sync()
    assert "seventy:" in texts(ann)["page1.md"]


def test_a_file_edited_here_and_one_that_is_new_come_whole_beside_the_others(seen: Seen, ann: Desk, bob: Desk) -> None:
    put(ann.root, {"new.md": page(50)})
    ann.sync()
    (bob.root / "page2.md").write_text("mine\n")
    report = bob.sync(strategy=Strategy.CLOUD)
    assert report.in_step
    assert texts(bob) == EDITED
    assert (bob.root / "new.md").read_text() == page(50)


def test_a_server_of_before_is_asked_as_it_always_was(seen: Seen, bob: Desk) -> None:
    seen.deltas = False
    bob.sync()
    assert [since for since, _ in seen.read] == [None]
    assert texts(bob) == EDITED


def other_base(frames: list[Frame]) -> list[Frame]:
    return [replace(frame, bases=(object_id(b"never here"), *frame.bases[1:])) for frame in frames]


def other_bytes(frames: list[Frame]) -> list[Frame]:
    made = make_delta(of(*(page(seed) for seed in range(60, 64))), of(*FILES.values()))
    return [replace(made, table=frame.table, raw_size=frame.raw_size) for frame in frames]


def cut_off(frames: list[Frame]) -> list[Frame]:
    return [replace(frame, data=frame.data[:-4]) for frame in frames]


@pytest.mark.parametrize("lie", [other_base, other_bytes, cut_off])
def test_what_does_not_open_here_is_asked_for_whole(
    seen: Seen, bob: Desk, lie: Callable[[list[Frame]], list[Frame]]
) -> None:
    seen.lie = lie
    bob.sync()
    assert [since for since, _ in seen.read] == [1, None]
    assert texts(bob) == EDITED


def test_deltas_nobody_asked_for_are_no_way_to_send_without_end(seen: Seen, bob: Desk) -> None:
    seen.lie = lambda frames: frames * 100
    with pytest.raises(ServerLied):
        bob.sync()
    assert texts(bob) == FILES


# The server -------------------------------------------------------------------------------------------------------


def bases(peer: InProcessPeer, project: ProjectId, texts: Sequence[str], since: int) -> list[tuple[ObjectId, ...]]:
    names = [name for name, _ in of(*texts)]
    return [frame.bases for frame in peer.read_objects(project, names, since)]


@pytest.mark.promise("P5")
def test_only_the_version_named_is_told_against(seen: Seen, cloud: Cloud, ann: Desk) -> None:
    project, wanted = ann.project, list(EDITED.values())
    assert bases(seen, project, wanted, 1) == [tuple(name for name, _ in of(*FILES.values()))]
    for version in (0, 2, 3, 2**50):
        assert set(bases(seen, project, wanted, version)) == {()}
    other = cloud.project(seen.tenant, "other")
    put(ann.root, {"page0.md": FILES["page0.md"]})
    peer = cloud.peer(seen.tenant)
    peer.write(other, "page0.md", EDITED["page0.md"].encode(), "*absent", "k1")
    assert bases(peer, other, [EDITED["page0.md"]], 1) == [()]


def test_what_one_request_makes_a_server_compress_is_bounded(
    seen: Seen, ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = list(EDITED.values())
    monkeypatch.setattr(differences, "MAX_BYTES", 2 * len(wanted[0]) + 100)
    assert [len(each) for each in bases(seen, ann.project, wanted, 1)] == [2, 0]
    monkeypatch.setattr(differences, "MAX_DELTAS", 3)
    assert set(bases(seen, ann.project, wanted, 1)) == {()}


def test_what_gets_no_shorter_goes_out_as_it_rests(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"a.md": page(1)})
    ann.sync()
    put(ann.root, {"a.md": page(2)})
    ann.sync()
    assert bases(ann.peer, ann.project, [page(2)], 1) == [()]
