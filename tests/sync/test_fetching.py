"""Much content is read in threads, a batch ahead of what is done with it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import cast

import pytest

from satchel.errors import NoSuchVersion, ObjectsMissing, ServerAway, ServerLied, VersionExpired
from satchel.objects.frame import Frame, make_frames
from satchel.objects.ids import ObjectId, object_id
from satchel.sync import fetching
from satchel.sync import peer as sync_peer
from satchel.sync.fetching import AHEAD_BYTES, FIRST_OBJECTS, Wanted, fetch
from satchel.sync.peer import Files

CONTENTS = [b"text %d" % number for number in range(3 * FIRST_OBJECTS)]
NAMES = [object_id(data) for data in CONTENTS]
SIZES: dict[ObjectId, int | None] = {object_id(data): len(data) for data in CONTENTS}


class Peer:
    """Gives what it is asked for, one frame an object, and remembers what it was asked and how far it got."""

    def __init__(self, contents: Sequence[bytes] = CONTENTS) -> None:
        self.contents = {object_id(data): data for data in contents}
        self.asked: list[int] = []
        self.given = 0
        self.closed = threading.Semaphore(0)
        self.gives, self.asks = threading.Semaphore(0), threading.Semaphore(0)

    def read_objects(self, _project: str, objects: Sequence[ObjectId], since: int | None = None) -> Iterator[Frame]:
        self.asked.append(len(objects))
        self.asks.release()
        return self._frames(objects)

    def _frames(self, objects: Sequence[ObjectId]) -> Iterator[Frame]:
        try:
            absent = [name for name in objects if name not in self.contents]
            if absent:
                raise ObjectsMissing("some are not there", objects=absent)
            for name in objects:
                yield from make_frames([(name, self.contents[name])])
                self.given += 1
                self.gives.release()
        finally:
            self.closed.release()


def taken(
    peer: Peer, sizes: Mapping[ObjectId, int | None], lost: set[ObjectId] | None = None
) -> Generator[tuple[ObjectId, bytes], None, None]:
    return fetch(cast("sync_peer.Peer", peer), "p", sizes, set() if lost is None else lost)


def test_the_first_batch_is_small_and_the_next_is_asked_for_while_it_comes() -> None:
    peer = Peer()
    with closing(taken(peer, SIZES)) as fetched:
        assert next(fetched) == (NAMES[0], CONTENTS[0])
        assert all(peer.asks.acquire(timeout=20) for _ in range(2))
        assert sorted(peer.asked) == [FIRST_OBJECTS, len(CONTENTS) - FIRST_OBJECTS]
        assert [name for name, _ in fetched] == NAMES[1:]


def test_what_few_objects_need_is_asked_for_when_they_are_wanted() -> None:
    peer = Peer()
    few = dict(list(SIZES.items())[:3])
    fetched = taken(peer, few)
    assert peer.asked == []
    assert [name for name, _ in fetched] == NAMES[:3]


def test_no_more_is_read_ahead_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "AHEAD_BYTES", 1_000)
    peer = Peer()
    peer.contents = {name: peer.contents[name] for name in NAMES[:FIRST_OBJECTS]}
    with closing(taken(peer, {name: SIZES[name] for name in NAMES[:FIRST_OBJECTS]})) as fetched:
        next(fetched)
        for _ in range(1_000 // 40):
            assert peer.gives.acquire(timeout=20)
        assert peer.given < FIRST_OBJECTS
    assert AHEAD_BYTES == 4 << 20


def test_whoever_stops_taking_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "AHEAD_BYTES", 100)
    peer = Peer()
    fetched = taken(peer, SIZES)
    next(fetched)
    fetched.close()
    assert all(peer.closed.acquire(timeout=20) for _ in peer.asked)
    assert peer.given < len(CONTENTS)


def test_what_is_missing_in_a_batch_is_told_and_the_rest_comes() -> None:
    peer = Peer([*CONTENTS[:5], *CONTENTS[6:]])
    lost: set[ObjectId] = set()
    came = [name for name, _ in taken(peer, SIZES, lost)]
    assert lost == {NAMES[5]}
    assert came == [*NAMES[:5], *NAMES[6:]]


def test_what_came_before_something_turned_out_missing_does_not_come_again() -> None:
    class Losing(Peer):
        def _frames(self, objects: Sequence[ObjectId]) -> Iterator[Frame]:
            for name in objects:
                if name == NAMES[1]:  # a delta that did not open here, say, and is then asked for whole
                    raise ObjectsMissing("some are not there", objects=[name])
                yield from make_frames([(name, self.contents[name])])

    lost = set[ObjectId]()
    assert [name for name, _ in taken(Losing(), dict(list(SIZES.items())[:3]), lost)] == [NAMES[0], NAMES[2]]
    assert lost == {NAMES[1]}


def test_the_next_batch_is_not_asked_for_while_much_of_this_one_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "NEXT_BYTES", sum(map(len, CONTENTS[100:FIRST_OBJECTS])))
    rest = threading.Event()

    class Slow(Peer):
        def _frames(self, objects: Sequence[ObjectId]) -> Iterator[Frame]:
            for number, name in enumerate(objects):
                assert number < 99 or rest.wait(20)
                yield from make_frames([(name, self.contents[name])])

    peer = Slow()
    with closing(taken(peer, SIZES)) as fetched:
        for _ in range(99):
            next(fetched)
        assert peer.asked == [FIRST_OBJECTS]
        rest.set()
        assert [name for name, _ in fetched] == NAMES[99:]
        assert len(peer.asked) == 2


# A whole version --------------------------------------------------------------------------------------------------


class Shelf(Peer):
    """Also gives what files of a version hold, each file's content anew."""

    def __init__(self) -> None:
        super().__init__()
        self.files = sorted({f"{number % 7}/{number}.md": name for number, name in enumerate(NAMES)}.items())
        self.files += [(f"z/{number}.md", name) for number, name in enumerate(NAMES[:90])]
        self.pages: list[Files] = []
        self.error: Exception | None = None

    def read_files(self, _project: str, files: Files) -> Iterator[Frame]:
        self.pages.append(files)
        page = [name for path, name in self.files if path > files.after][: files.limit]
        if self.error is not None:
            raise self.error
        return self._frames(page)

    def whole(self) -> Wanted:
        return Wanted(4, [(path, name, SIZES[name] or 0) for path, name in self.files])


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(fetching, "MOST_FILES", 250)
    return Shelf()


def all_of(shelf: Shelf, sizes: Mapping[ObjectId, int | None], lost: set[ObjectId]) -> list[ObjectId]:
    return [name for name, _ in fetch(cast("sync_peer.Peer", shelf), "p", sizes, lost, whole=shelf.whole())]


def test_a_whole_version_is_asked_for_by_the_places_of_its_files(shelf: Shelf) -> None:
    assert all_of(shelf, SIZES, set()) == [name for _, name in shelf.files[: len(NAMES)]]
    assert shelf.asked == []
    # The last page holds nothing that did not come before, and is not asked for.
    assert shelf.pages == [Files(4, "", 250), Files(4, shelf.files[249][0], 250), Files(4, shelf.files[499][0], 190)]


def test_what_is_not_wanted_of_a_version_is_let_go_and_what_is_not_in_it_is_asked_for_by_name(shelf: Shelf) -> None:
    shelf.files = [file for file in shelf.files if file[1] != NAMES[3]]
    sizes = {name: size for name, size in SIZES.items() if name != NAMES[5]}
    assert set(all_of(shelf, sizes, set())) == sizes.keys()
    assert shelf.asked == [1]


@pytest.mark.parametrize("error", [VersionExpired("gone"), NoSuchVersion("gone")])
def test_a_version_that_is_gone_meanwhile_is_asked_for_by_name(shelf: Shelf, error: Exception) -> None:
    shelf.error = error
    assert sorted(all_of(shelf, SIZES, set())) == sorted(NAMES)
    assert sum(shelf.asked) == len(NAMES)


def test_what_is_missing_in_a_version_is_told_and_the_rest_comes_by_name(shelf: Shelf) -> None:
    shelf.error = ObjectsMissing("some are not there", objects=[NAMES[5], "0" * 64])
    lost: set[ObjectId] = set()
    assert sorted(all_of(shelf, SIZES, lost)) == sorted({*NAMES} - {NAMES[5]})
    assert lost == {NAMES[5]}


def test_a_server_cannot_send_frames_without_end_in_place_of_a_version(shelf: Shelf) -> None:
    shelf.files += [(f"zz/{number}.md", NAMES[0]) for number in range(5_000)]
    shelf.pages = []

    class Endless(Shelf):
        def read_files(self, project: str, files: Files) -> Iterator[Frame]:
            return shelf.read_files(project, files._replace(limit=9_999))

    with pytest.raises(ServerLied, match="more than it was asked for"):
        all_of(Endless(), SIZES, set())


def test_an_error_on_the_way_is_raised_where_the_content_is_taken() -> None:
    class Away(Peer):
        def _frames(self, objects: Sequence[ObjectId]) -> Iterator[Frame]:
            yield from make_frames([(objects[0], self.contents[objects[0]])])
            raise ServerAway("gone")

    fetched = taken(Away(), SIZES)
    assert next(fetched)[0] == NAMES[0]
    with pytest.raises(ServerAway):
        next(fetched)
