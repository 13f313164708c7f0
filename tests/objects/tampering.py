"""What altered bytes must come to: the exact error, and nothing of what they held. Plain functions over the vectors.

``test_tamper.py`` runs each of them. ``test_planted.py`` runs this file against copies of Satchel with one defect
planted in each, where it must end 1:

    python -m tests.objects.tampering
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from satchel.errors import SatchelError
from satchel.objects import zstd
from satchel.objects.frame import MAX_FRAME_RAW, Assembler, Frame, Slot, make_frames, open_content, open_frame
from satchel.objects.ids import FrameId, ObjectId, ProjectId, TenantId, object_id
from satchel.objects.listing import digest, parse
from satchel.objects.pack import PACK_START, PackReader, decode_frame, encode_frame
from satchel.objects.record import decode_purge, decode_record, decode_tables
from satchel.objects.seal import SEAL_OVERHEAD, Binding, open_sealed, seal
from satchel.store.keyring import EpochUnknown, Keyring
from satchel.store.objectstore import MemoryStore
from satchel.store.packs import Vault
from satchel.store.places import Place

FOLDER = Path(__file__).parents[1] / "vectors"
TENANT, PROJECT = TenantId("ten_00000000000000000000000001"), ProjectId("prj_00000000000000000000000002")
LIMIT = 8 << 20
BROKEN, WRONG_KEY, NO_EPOCH = "seal.broken", "seal.wrong_key", "seal.epoch_unknown"
MISSING, FRAME = "store.missing", "frame.refused"


def vectors(name: str) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return held


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every way to change one bit: the byte it lies in, and the bytes then."""
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bit // 8, bytes(changed)


def outcome(read: Callable[[], object]) -> str:
    """The code of the refusal, or ``read``. Any other exception is a defect, and passes through."""
    try:
        read()
    except SatchelError as error:
        return error.code
    return "read"


def expect(code: str, read: Callable[[], object], what: object) -> None:
    found = outcome(read)
    assert found == code, f"{what}: {found}, not {code}"


def code_at(byte: int) -> str:
    """What a change of this byte of a sealed object must come to: of epoch, salt and key check it is the key's."""
    if 8 <= byte < 12:
        return NO_EPOCH
    return WRONG_KEY if 28 <= byte < 76 else BROKEN


def key_of(keys: dict[str, str]) -> Callable[[int], bytes]:
    def key(epoch: int) -> bytes:
        if str(epoch) not in keys:
            raise EpochUnknown(f"there is no key of epoch {epoch}")
        return bytes.fromhex(keys[str(epoch)])

    return key


def reader(vector: dict[str, Any], keys: dict[str, str]) -> Callable[[bytes], bytes]:
    """Opens sealed bytes as what the vector says they are."""
    binding = Binding(vector["tenant"], vector["project"], vector["kind"])
    place = {"index": vector["index"], "count": vector["count"]}
    return lambda sealed: open_sealed(key_of(keys), binding, vector["name"], sealed, **place)


def seals_altered_in_any_bit_or_length() -> None:
    for number, vector in enumerate(vectors("seals")["good"]):
        read = reader(vector, {str(vector["epoch"]): vector["key"]})
        # The epochs that a flipped bit may name have keys too, other ones: that there is a key must not open anything.
        near = {str(vector["epoch"] ^ 1 << bit): hashlib.sha256(bytes([bit])).hexdigest() for bit in range(32)}
        read_near = reader(vector, near | {str(vector["epoch"]): vector["key"]})
        sealed = bytes.fromhex(vector["sealed"])
        assert read(sealed).hex() == vector["plaintext"]
        for byte, changed in flips(sealed):
            expect(code_at(byte), lambda: read(changed), ("seal", number, "byte", byte))  # noqa: B023 (called at once)
            if 8 <= byte < 12:
                expect(WRONG_KEY, lambda: read_near(changed), ("seal", number, "byte", byte))  # noqa: B023
        for length in range(len(sealed)):
            expect(BROKEN, lambda: read(sealed[:length]), ("seal", number, "cut at", length))  # noqa: B023
        for more in (b"\0", sealed[-16:], sealed):
            expect(BROKEN, lambda: read(sealed + more), ("seal", number, "and more"))  # noqa: B023


def seals_that_must_be_refused() -> None:
    for vector in vectors("seals")["refused"]:
        read = reader(vector, vector["keys"])
        expect(vector["code"], lambda: read(bytes.fromhex(vector["sealed"])), vector["what"])  # noqa: B023


def seals_are_as_they_always_were() -> None:
    """Without this, a change of both ends at once would pass for none."""
    for vector in vectors("seals")["good"]:
        binding = Binding(vector["tenant"], vector["project"], vector["kind"])
        place = {"epoch": vector["epoch"], "index": vector["index"], "count": vector["count"]}
        key, salt, plaintext = (bytes.fromhex(vector[name]) for name in ("key", "salt", "plaintext"))
        assert seal(key, binding, vector["name"], plaintext, salt=salt, **place).hex() == vector["sealed"]


def frames_altered_in_any_bit_or_length() -> None:
    """On the wire, where a frame has no id: what is not refused must have changed nothing but unused bits."""
    for vector in vectors("frames")["good"]:
        encoded, objects = bytes.fromhex(vector["bytes"]), [bytes.fromhex(text) for text in vector["objects"]]
        table = 20 + 40 * len(objects)
        assert assembled([encoded]) == objects
        for byte, changed in flips(encoded):
            found = outcome(lambda: assembled([changed]))  # noqa: B023
            if byte < table or found != "read":
                assert found == FRAME, (vector["what"], byte, found)
            else:
                assert assembled([changed]) == objects
                assert decode_frame(changed).id != vector["id"]
        for length in range(len(encoded)):
            expect(FRAME, lambda: decode_frame(encoded[:length]), (vector["what"], "cut at", length))  # noqa: B023
        expect(FRAME, lambda: decode_frame(encoded + b"\0"), (vector["what"], "a byte more"))  # noqa: B023


def frames_that_must_be_refused() -> None:
    held = vectors("frames")
    for what, encoded in held["refused"].items():
        expect(held["refused_code"], lambda: open_frame(decode_frame(bytes.fromhex(encoded))), what)  # noqa: B023


def a_sequence_altered_in_any_bit() -> None:
    parts = [bytes.fromhex(part) for part in vectors("frames")["sequence"]["frames"]]
    whole = assembled(parts)
    for number, part in enumerate(parts):
        for byte, changed in flips(part):
            altered = [*parts[:number], changed, *parts[number + 1 :]]
            found = outcome(lambda: assembled(altered))  # noqa: B023
            assert found == FRAME or (found == "read" and assembled(altered) == whole), (number, byte, found)


def sequences_out_of_order() -> None:
    first, last = (bytes.fromhex(part) for part in vectors("frames")["sequence"]["frames"])
    alone = bytes.fromhex(vectors("frames")["good"][0]["bytes"])
    assert len(assembled([first, last, alone])) == 4
    for order in (
        [last, first], [first], [last], [first, first, last], [first, last, last], [first, alone, last],
        [first, first], [last, last], [alone, last],
    ):  # fmt: skip
        expect(FRAME, lambda: assembled(order), [len(part) for part in order])  # noqa: B023
    alike = [encode_frame(frame) for frame in make_frames([(object_id(bytes(3 << 20)), bytes(3 << 20))])]
    first, second, third = alike
    assert len(assembled(alike)) == 1
    expect(FRAME, lambda: assembled([second, first, third]), "like parts in another order")


def packs_altered_in_any_bit_or_length() -> None:
    vector = vectors("frames")["pack"]
    pack = bytes.fromhex(vector["bytes"])
    whole = unpacked(pack)
    for byte, changed in flips(pack):
        found = outcome(lambda: unpacked(changed))  # noqa: B023
        in_a_frame = len(PACK_START) <= byte < len(pack) - 8
        assert found == FRAME or (in_a_frame and unpacked(changed) == whole), (byte, found)
    for length in range(len(pack)):
        expect(FRAME, lambda: unpacked(pack[:length]), ("cut at", length))  # noqa: B023
    expect(FRAME, lambda: unpacked(pack + b"\0"), "a byte more")


def listings_altered_in_any_bit_or_length() -> None:
    held = vectors("listings")
    for vector in held["good"]:
        listing = vector["listing"].encode()
        for changed in [data for _, data in flips(listing)] + [listing[:length] for length in range(len(listing))]:
            found = outcome(lambda: parse(changed))  # noqa: B023
            # A line may name another file and still be one: then it is another tree, and its digest says so.
            assert found == "listing.refused" or (found == "read" and digest(parse(changed)) != vector["digest"])
    for what, text in held["refused"].items():
        expect(held["refused_code"], lambda: parse(text.encode()), what)  # noqa: B023


def records_and_tables_altered_in_any_bit_or_length() -> None:
    """They are only read from under a seal, which is what refuses them; but no bytes may do worse than be refused."""
    for name, decode in (("records", decode_record), ("tables", decode_tables), ("purges", decode_purge)):
        held = vectors(name)
        for vector in held["good"]:
            encoded = bytes.fromhex(vector["bytes"])
            decode(encoded)
            for byte, changed in flips(encoded):
                found = outcome(lambda: decode(changed))  # noqa: B023
                assert found in {"read", held["refused_code"]}, (name, byte, found)
            for length in range(len(encoded)):
                expect(held["refused_code"], lambda: decode(encoded[:length]), (name, length))  # noqa: B023
        for vector in held["refused"]:
            expect(held["refused_code"], lambda: decode(bytes.fromhex(vector["bytes"])), vector["what"])  # noqa: B023


def assembled(frames: Sequence[bytes]) -> list[bytes]:
    assembler = Assembler(LIMIT)
    found = [data for frame in frames for _, data in assembler.feed(decode_frame(frame))]
    assembler.finish()
    return found


def unpacked(pack: bytes) -> list[bytes]:
    reading, assembler = PackReader(), Assembler(LIMIT)
    found = [data for frame in reading.feed(pack) for _, data in assembler.feed(frame)]
    reading.finish()
    assembler.finish()
    return found


# ---- at rest, through the vault --------------------------------------------------------------------------------------


class Keys:
    """A tenant's keys, given: two tenants may even share one, which no keyring lets happen."""

    def __init__(self) -> None:
        self.of = {"1": "11" * 32}

    async def current(self, _tenant: TenantId) -> tuple[int, bytes]:
        return 1, bytes.fromhex(self.of["1"])

    async def key_of(self, _tenant: TenantId, *, anew: bool = False) -> Callable[[int], bytes]:
        return key_of(self.of)


class AtRest:
    """One pack in memory: a frame of two notes, then an object of two full parts that are the same bytes."""

    def __init__(self) -> None:
        self.store, self.keys = MemoryStore(), Keys()
        self.salts = iter(range(1 << 20))
        self.vault = Vault(self.store, cast(Keyring, self.keys), random=self.random)
        self.contents = [b"The lamp is lit at dusk.", b"The lamp is out.", bytes(2 << 20)]
        self.places: list[Place] = []
        self.pack = ""

    def random(self, size: int) -> bytes:
        return hashlib.shake_128(next(self.salts).to_bytes(4, "big")).digest(size)

    async def write(self, frames: Sequence[Frame] | None = None) -> AtRest:
        writer = self.vault.writer(TENANT, PROJECT)
        for frame in frames or make_frames((object_id(data), data) for data in self.contents):
            await writer.add(frame)
        (stored,) = await writer.finish()
        self.places = list(stored.places)
        self.pack = f"tenants/{TENANT}/projects/{PROJECT}/packs/{stored.name}"
        return self

    @property
    def sealed(self) -> bytes:
        return self.store.objects[self.pack]

    def frames(self) -> list[tuple[int, int]]:
        """Where each sealed frame begins and ends."""
        return sorted({(place.pack_offset, place.pack_offset + place.pack_length) for place in self.places})

    async def read(
        self,
        pack: bytes | None = None,
        places: Sequence[Place] | None = None,
        tenant: TenantId = TENANT,
        project: ProjectId = PROJECT,
    ) -> tuple[str, list[bytes]]:
        """The code of the refusal, or ``read``, and what was handed out before it."""
        name = f"tenants/{tenant}/projects/{project}/packs/{self.pack.rpartition('/')[2]}"
        kept = dict(self.store.objects)
        given: list[bytes] = []
        self.store.objects[name] = self.sealed if pack is None else pack
        try:
            async for _, data in self.vault.read_objects(tenant, project, places or self.places):
                given.append(data)
        except SatchelError as error:
            return error.code, given
        finally:
            self.store.objects = kept
        return "read", given


async def a_pack_altered_in_any_bit_or_length() -> None:
    rest = await AtRest().write()
    assert await rest.read() == ("read", rest.contents)
    for byte, changed in flips(rest.sealed):
        (start,) = (start for start, end in rest.frames() if start <= byte < end)
        found, given = await rest.read(changed)
        assert (found, given) == (code_at(byte - start), []), (byte, found)
    for length in range(len(rest.sealed)):
        assert await rest.read(rest.sealed[:length]) == (MISSING, []), length


async def frames_of_a_sequence_swapped_repeated_or_dropped() -> None:
    rest = await AtRest().write()
    pack, (_, first, second) = rest.sealed, rest.frames()
    one, two = pack[slice(*first)], pack[slice(*second)]
    assert len(one) == len(two)
    assert rest.places[-1].frame == rest.places[-2].frame  # one id, so that only the place in the sequence differs
    sequence = rest.places[-2:]
    for pieces in ((two, one), (one, one), (two, two)):
        assert await rest.read(pack[: first[0]] + b"".join(pieces), sequence) == (BROKEN, [])
    for places in (sequence[:1], sequence[1:]):
        assert await rest.read(places=places) == (MISSING, [])
    for places in (
        [place._replace(parts=3) for place in sequence] + [sequence[1]._replace(part=2, parts=3)],
        [sequence[0]._replace(parts=1)],
        [sequence[0]._replace(part=1), sequence[1]._replace(part=0)],
    ):
        assert await rest.read(places=places) == (BROKEN, [])


async def bytes_that_belong_elsewhere() -> None:
    rest = await AtRest().write()
    other, next_one = TenantId("ten_00000000000000000000000009"), ProjectId("prj_00000000000000000000000009")
    assert await rest.read(tenant=other) == (BROKEN, [])  # with the same key even
    assert await rest.read(project=next_one) == (BROKEN, [])
    misnamed = [place._replace(frame=FrameId(place.object)) for place in rest.places]
    assert await rest.read(places=misnamed) == (BROKEN, [])
    key, text = bytes.fromhex(rest.keys.of["1"]), next(make_frames([(object_id(b"x"), b"x")])).data
    name = FrameId(hashlib.sha256(text).hexdigest())
    for kind, code in (("frame", "read"), ("record", BROKEN), ("head", BROKEN)):
        sealed = seal(key, Binding(TENANT, PROJECT, kind), name, text, epoch=1, salt=bytes(32))
        place = Place(object_id(b"x"), 0, 1, 1, rest.places[0].pack, name, 0, len(sealed), 0, 1)
        assert (await rest.read(sealed, [place]))[0] == code, kind
    rest.keys.of = {"2": rest.keys.of["1"]}
    assert await rest.read() == (NO_EPOCH, [])
    rest.keys.of = {"1": "22" * 32}
    assert await rest.read() == (WRONG_KEY, [])


async def sealed_frames_that_are_not_strict() -> None:
    """Sealed with the right key by a writer that errs: nothing of them comes out."""
    key = b"\x11" * 32
    for what, encoded in vectors("frames")["refused"].items():
        data = bytes.fromhex(encoded)
        at = 20 + 40 * int.from_bytes(data[8:12], "big")
        size = int.from_bytes(data[16:20], "big")
        inner = data[at : at + size]
        if data[:4] != b"SFR1" or at + size != len(data) or outcome(lambda: open_content(inner)) == "read":  # noqa: B023
            continue  # what is wrong here is not the zstd frame
        rest = await AtRest().write()
        name = FrameId(hashlib.sha256(inner).hexdigest())
        sealed = seal(key, Binding(TENANT, PROJECT, "frame"), name, inner, epoch=1, salt=bytes(32))
        place = Place(object_id(b"x"), 0, 1, 1, rest.places[0].pack, name, 0, len(sealed), 0, MAX_FRAME_RAW)
        assert await rest.read(sealed, [place]) == (FRAME, []), what
        # Of a frame that is read in part, what lies behind may be found wrong by the hash of the object alone.
        found, given = await rest.read(sealed, [place._replace(length=1)])
        assert given == []
        assert found == FRAME or (found == BROKEN and "content size" in what), what


async def objects_that_are_not_what_their_id_names() -> None:
    text = b"another text"
    false = ObjectId(hashlib.sha256(b"this text").hexdigest())
    for frames in (
        [Frame((Slot(false, 0, len(text)),), len(text), zstd.compress(text))],
        list(make_frames([(false, bytes((1 << 20) + 1))])),
    ):
        rest = await AtRest().write(frames)
        assert await rest.read() == (BROKEN, [])
    rest = await AtRest().write()
    first, second = rest.places[:2]
    for wrong in (
        first._replace(offset=1), first._replace(length=5), first._replace(length=99),
        first._replace(offset=second.offset, length=second.length),
    ):  # fmt: skip
        assert await rest.read(places=[wrong]) == (BROKEN, [])


async def records_and_heads_altered_in_any_bit_or_length() -> None:
    rest = AtRest()
    await rest.vault.put_record(TENANT, PROJECT, "rec_1", b"record")
    await rest.vault.put_record(TENANT, PROJECT, "rec_2", b"another")
    names = list(rest.store.objects)
    sealed, other = (rest.store.objects[name] for name in names)

    async def read(data: bytes) -> str:
        rest.store.objects[names[0]] = data
        try:
            await rest.vault.get_record(TENANT, PROJECT, "rec_1")
        except SatchelError as error:
            return error.code
        return "read"

    assert await read(sealed) == "read"
    assert await read(other) == BROKEN
    assert len(sealed) == len(b"record") + SEAL_OVERHEAD
    for byte, changed in flips(sealed):
        assert await read(changed) == code_at(byte), byte
    for length in range(len(sealed)):
        assert await read(sealed[:length]) == BROKEN, length


AtRestCheck = Callable[[], Coroutine[Any, Any, None]]
AT_REST: tuple[AtRestCheck, ...] = (
    a_pack_altered_in_any_bit_or_length,
    frames_of_a_sequence_swapped_repeated_or_dropped,
    bytes_that_belong_elsewhere,
    sealed_frames_that_are_not_strict,
    objects_that_are_not_what_their_id_names,
    records_and_heads_altered_in_any_bit_or_length,
)
PURE: tuple[Callable[[], None], ...] = (
    seals_are_as_they_always_were,
    seals_that_must_be_refused,
    frames_that_must_be_refused,
    sequences_out_of_order,
    seals_altered_in_any_bit_or_length,
    frames_altered_in_any_bit_or_length,
    a_sequence_altered_in_any_bit,
    packs_altered_in_any_bit_or_length,
    listings_altered_in_any_bit_or_length,
    records_and_tables_altered_in_any_bit_or_length,
)


def main() -> None:
    for check in (*PURE, *(lambda check=check: asyncio.run(check()) for check in AT_REST)):
        try:
            check()
        except (AssertionError, SatchelError) as error:
            sys.exit(f"noticed: {str(error)[:200]}")


if __name__ == "__main__":
    main()
