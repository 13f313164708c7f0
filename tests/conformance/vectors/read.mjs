// A second reading of the vectors, written from docs/spec/objects.md and docs/spec/sealing.md alone, on Node's own
// crypto, zlib and Unicode data. It shares no code with Satchel: what the two agree on is in the specification.
//
//     node read.mjs DIRECTORY_OF_VECTORS
//
// Prints one JSON line for each vector: [file, section, number, expected, found], where expected and found are "read" or
// the code of a refusal. Ends 1 if any two differ.

import { createDecipheriv, createHash, hkdfSync, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { openBucket } from "./bucket.mjs";
import { pathIsListable, leftOut } from "./paths.mjs";
import { readAnchor, readChain, readRows } from "./audit.mjs";

const MIB = 1 << 20;

export class Refused extends Error {
  constructor(code, why) {
    super(why);
    this.code = code;
  }
}

export const hex = (text) => Buffer.from(text, "hex");
export const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const isHexId = (text) => typeof text === "string" && /^[0-9a-f]{64}$/.test(text);

// ---- sealing.md -----------------------------------------------------------------------------------------------------

function info(parts) {
  return Buffer.concat(
    parts.flatMap((part) => {
      const text = Buffer.from(part, "utf8");
      const length = Buffer.alloc(2);
      length.writeUInt16BE(text.length);
      return [length, text];
    }),
  );
}

export function derive(key, salt, parts, length = 32) {
  return Buffer.from(hkdfSync("sha256", key, salt, info(parts), length));
}

/** keys: epoch -> key; where: {tenant, project, kind, name, index, count}. Gives the plaintext. */
export function openSealed(keys, where, sealed) {
  const broken = (why) => new Refused("seal.broken", why);
  if (sealed.length < 92 || sealed.toString("latin1", 0, 4) !== "SEAL") throw broken("not a sealed object");
  if (sealed[4] !== 1 || sealed[5] !== 1 || sealed.readUInt16BE(6) !== 0) throw broken("sealed in an unknown way");
  if (sealed.readBigUInt64BE(20) !== BigInt(sealed.length - 92)) throw broken("another length");
  const key = keys.get(sealed.readUInt32BE(8));
  if (key === undefined) throw new Refused("seal.epoch_unknown", "no key of this epoch");
  const salt = sealed.subarray(28, 60);
  if (!timingSafeEqual(derive(key, salt, ["satchel seal 1 key check"], 16), sealed.subarray(60, 76)))
    throw new Refused("seal.wrong_key", "sealed with another key");
  const once = derive(key, salt, ["satchel seal 1", where.tenant, where.project, where.kind, where.name]);
  const cipher = createDecipheriv("aes-256-gcm", once, Buffer.alloc(12), { authTagLength: 16 });
  cipher.setAAD(sealed.subarray(0, 76));
  cipher.setAuthTag(sealed.subarray(sealed.length - 16));
  const plaintext = cipher.update(sealed.subarray(76, sealed.length - 16));
  try {
    cipher.final();
  } catch {
    throw broken("the tag does not fit");
  }
  const placed = [sealed.readUInt32BE(12), sealed.readUInt32BE(16)];
  if (placed[0] !== (where.index ?? 0) || placed[1] !== (where.count ?? 1)) throw broken("another part");
  return plaintext;
}

// ---- objects.md: frames ---------------------------------------------------------------------------------------------

const compressBound = (n) => n + Math.floor(n / 256) + (n < 131072 ? Math.floor((131072 - n) / 2048) : 0);

/** The content of exactly one zstd frame as the specification wants it; `most` bounds the content. */
export function unpack(data, most, refuse, prefix = undefined) {
  const size = strictZstd(data, refuse);
  if (size > most) throw refuse("more content than there may be");
  let content;
  try {
    content = zstdDecompressSync(data, { maxOutputLength: Math.max(1, size + 1), dictionary: prefix });
  } catch {
    throw refuse("does not decompress");
  }
  if (content.length !== size) throw refuse("another content size");
  return content;
}

/** Walks the structure of RFC 8878 from the header to the end of the last block; gives the content size. */
function strictZstd(data, refuse) {
  if (data.length < 6 || data.readUInt32LE(0) !== 0xfd2fb528) throw refuse("not a zstd frame");
  const descriptor = data[4];
  const [sizeFlag, single, checksum] = [descriptor >> 6, (descriptor >> 5) & 1, (descriptor >> 2) & 1];
  if (descriptor & 0x18) throw refuse("reserved bits");
  if (descriptor & 3) throw refuse("a dictionary");
  let at = 5;
  if (!single) {
    if (sizeFlag === 0) throw refuse("no content size");
    const base = 2 ** (10 + (data[at] >> 3));
    if (base + (base / 8) * (data[at] & 7) > 8 * MIB) throw refuse("window over 8 MiB");
    at += 1;
  }
  const width = 1 << sizeFlag;
  if (data.length < at + width) throw refuse("header cut off");
  let size = 0;
  for (let i = width - 1; i >= 0; i--) size = size * 256 + data[at + i];
  if (sizeFlag === 1) size += 256;
  if (single && size > 8 * MIB) throw refuse("window over 8 MiB");
  at += width;
  for (let last = 0; !last; ) {
    if (data.length < at + 3) throw refuse("blocks cut off");
    const block = data.readUIntLE(at, 3);
    last = block & 1;
    const type = (block >> 1) & 3;
    if (type === 3) throw refuse("a reserved block");
    at += 3 + (type === 1 ? 1 : block >> 3);
  }
  if (at + (checksum ? 4 : 0) !== data.length) throw refuse("not exactly one zstd frame");
  return size;
}

/** table: [[object, length], ...] with the offsets understood; gives the size it tiles. */
function tableSize(table, part, parts, refuse) {
  if (table.length < 1 || table.length > 4096) throw refuse("too many or no objects");
  if (new Set(table.map(([object]) => object)).size !== table.length) throw refuse("an object twice");
  const size = table.reduce((sum, [, length]) => sum + length, 0);
  if (size > MIB) throw refuse("a frame over 1 MiB");
  if (!(parts >= 1 && parts <= 64 && part < parts)) throw refuse("no such part");
  if (parts > 1) {
    if (table.length !== 1) throw refuse("a part of several objects");
    if (size === 0 || (part < parts - 1 && size !== MIB)) throw refuse("a part that is not full");
  }
  return size;
}

const frameRefused = (why) => new Refused("frame.refused", why);

/** The frame at `at`: its fields and where it ends. */
function frameAt(bytes, at, magic = "SFR1") {
  if (bytes.length < at + 20) throw frameRefused("cut off");
  if (bytes.toString("latin1", at, at + 4) !== magic) throw frameRefused("another magic");
  const [part, parts] = [bytes.readUInt16BE(at + 4), bytes.readUInt16BE(at + 6)];
  const [objects, raw, packed] = [8, 12, 16].map((offset) => bytes.readUInt32BE(at + offset));
  const end = at + 20 + 40 * objects + packed;
  if (objects > 4096 || bytes.length < end) throw frameRefused("cut off");
  const table = [];
  let tiled = 0;
  for (let row = at + 20; row < end - packed; row += 40) {
    if (bytes.readUInt32BE(row + 32) !== tiled) throw frameRefused("the table does not tile");
    const length = bytes.readUInt32BE(row + 36);
    table.push([bytes.toString("hex", row, row + 32), length]);
    tiled += length;
  }
  if (tableSize(table, part, parts, frameRefused) !== raw) throw frameRefused("the table does not tile");
  if (packed > compressBound(raw)) throw frameRefused("too many compressed bytes");
  return { part, parts, table, raw, data: bytes.subarray(end - packed, end), end };
}

function openFrame(frame) {
  const content = unpack(frame.data, MIB, frameRefused);
  if (content.length !== frame.raw) throw frameRefused("another content size");
  return content;
}

/** Frames in, [[id, bytes], ...] out, each checked against its id. */
export function assemble(frames, refuse = frameRefused) {
  const found = [];
  let pieces = [];
  let open = null;
  for (const frame of frames) {
    if (frame.part !== pieces.length || (open && (open.parts !== frame.parts || open.table[0][0] !== frame.table[0][0])))
      throw refuse("a sequence out of order");
    const content = openFrame(frame);
    if (frame.parts > 1) {
      open = frame;
      pieces.push(content);
      if (pieces.length < frame.parts) continue;
      found.push([frame.table[0][0], Buffer.concat(pieces)]);
      [pieces, open] = [[], null];
      continue;
    }
    let at = 0;
    for (const [object, length] of frame.table) found.push([object, content.subarray(at, (at += length))]);
  }
  if (pieces.length) throw refuse("a sequence unfinished");
  for (const [object, data] of found) if (sha256(data) !== object) throw refuse("not what its id names");
  return found;
}

function oneFrame(bytes) {
  const frame = frameAt(bytes, 0);
  if (frame.end !== bytes.length) throw frameRefused("not exactly one frame");
  return frame;
}

/** A delta and the contents of its bases in, contents out: the ids lie between the head and the table of a frame. */
function readDelta(bytes, bases) {
  if (bytes.length < 20 || bytes.toString("latin1", 0, 4) !== "SFD1") throw frameRefused("no delta");
  const named = bytes.readUInt16BE(4);
  if (named < 1 || named > 4096 || bytes.readUInt16BE(6) !== 0) throw frameRefused("no delta");
  const ids = [];
  for (let row = 0; row < named; row++) ids.push(bytes.toString("hex", 20 + 32 * row, 52 + 32 * row));
  if (new Set(ids).size !== named || ids.length !== bases.length) throw frameRefused("a base twice, or other bases");
  const head = Buffer.from(bytes.subarray(0, 20));
  head.writeUInt32BE(0x00000001, 4); // part 0 of 1
  const frame = frameAt(Buffer.concat([head, bytes.subarray(20 + 32 * named)]), 0, "SFD1");
  if (frame.end + 32 * named !== bytes.length) throw frameRefused("not exactly one delta");
  const prefix = Buffer.concat(bases);
  if (prefix.length < 8 || prefix.length > MIB) throw frameRefused("bases of other sizes");
  const content = unpack(frame.data, MIB, frameRefused, prefix);
  if (content.length !== frame.raw) throw frameRefused("another content size");
  let at = 0;
  return frame.table.map(([object, length]) => {
    const data = content.subarray(at, (at += length));
    if (sha256(data) !== object) throw frameRefused("not what its id names");
    return data;
  });
}

function readPack(bytes) {
  const start = Buffer.from("satchel-pack 1\n");
  if (!bytes.subarray(0, start.length).equals(start)) throw frameRefused("not a pack");
  const frames = [];
  let at = start.length;
  while (bytes.toString("latin1", at, at + 4) !== "SEN1") {
    frames.push(frameAt(bytes, at));
    at = frames.at(-1).end;
  }
  if (bytes.length !== at + 8 || bytes.readUInt32BE(at + 4) !== frames.length) throw frameRefused("a wrong end");
  return frames;
}

// ---- objects.md: listings, records, tables --------------------------------------------------------------------------

export function readListing(bytes) {
  const refuse = (why) => new Refused("listing.refused", why);
  const lines = utf8(bytes, refuse).split("\n");
  if (lines.shift() !== "satchel-listing 1" || lines.pop() !== "") throw refuse("no header or no end");
  let before = Buffer.alloc(0);
  return lines.map((line) => {
    const row = /^(100644|100755) ([0-9a-f]{64}) ([^]+)$/.exec(line);
    if (row === null) throw refuse("a malformed line");
    const path = Buffer.from(row[3]);
    if (Buffer.compare(before, path) >= 0) throw refuse("out of order");
    before = path;
    return [row[3], row[1], row[2]];
  });
}

const recordRefused = (why) => new Refused("record.refused", why);

function utf8(bytes, refuse) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse("not UTF-8");
  }
}

/** Canonical JSON: keys by code points, no spaces, no escapes but those JSON needs. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const keys = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

export function canonicalJson(text, keys, format, refuse) {
  let fields;
  try {
    fields = JSON.parse(text);
  } catch {
    throw refuse("not JSON");
  }
  if (fields === null || typeof fields !== "object" || Array.isArray(fields)) throw refuse("no JSON object");
  if (canonical(fields) !== text) throw refuse("not canonical");
  if (Object.keys(fields).sort().join() !== [...keys].sort().join()) throw refuse("other fields");
  if (format !== undefined && fields.format !== format) throw refuse("another format");
  return fields;
}

function need(ok, refuse = recordRefused) {
  if (!ok) throw refuse("malformed");
}

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isText = (value) => typeof value === "string";
const isList = (value, length) => Array.isArray(value) && (length === undefined || value.length === length);

function checkPack(pack) {
  need(isList(pack, 3) && isText(pack[0]) && isCount(pack[1]) && isList(pack[2]));
  let at = 0;
  for (const frame of pack[2]) {
    need(isList(frame, 6) && isHexId(frame[0]) && frame.slice(1, 5).every(isCount) && isList(frame[5]));
    need(frame[5].every((slot) => isList(slot, 2) && isHexId(slot[0]) && isCount(slot[1])));
    need(frame[1] === at);
    at += frame[2];
    tableSize(frame[5], frame[3], frame[4], recordRefused);
  }
  need(at === pack[1]);
}

function checkChange(change) {
  need(isList(change) && isText(change[0]));
  if (change.length === 1) return;
  need(change.length === 6 && /^100(644|755)$/.test(change[1]) && isHexId(change[2]) && isCount(change[3]));
  need(isText(change[4]) && isText(change[5]));
}

const RECORD = "format id parent lineage version digest changes packs author time listing".split(" ");

export function readRecord(bytes) {
  const fields = canonicalJson(
    utf8(unpack(bytes, 256 * MIB, recordRefused), recordRefused), RECORD, "satchel-record 1", recordRefused,
  );
  const { parent, author, listing } = fields;
  need(isText(fields.id) && isText(fields.lineage) && isCount(fields.version) && isHexId(fields.digest));
  need(parent === null || (isList(parent, 2) && isText(parent[0]) && isHexId(parent[1])));
  need(isList(author, 2) && author.every(isText) && isCount(fields.time) && (listing === null || isText(listing)));
  need(isList(fields.changes) && isList(fields.packs));
  fields.changes.forEach(checkChange);
  fields.packs.forEach(checkPack);
  return fields;
}

export function readTables(bytes) {
  const text = utf8(unpack(bytes, 256 * MIB, recordRefused), recordRefused);
  const { packs } = canonicalJson(text, ["format", "packs"], "satchel-tables 1", recordRefused);
  need(isList(packs));
  packs.forEach(checkPack);
  return packs;
}

export function readPurge(bytes) {
  const text = utf8(unpack(bytes, 256 * MIB, recordRefused), recordRefused);
  const purge = canonicalJson(text, ["format", "objects", "paths", "time"], "satchel-purge 1", recordRefused);
  need(isList(purge.objects) && purge.objects.every(isHexId) && isList(purge.paths) && purge.paths.every(isText));
  need(isCount(purge.time));
  return purge;
}

// ---- the vectors ----------------------------------------------------------------------------------------------------

const same = (a, b) => {
  if (canonical(a) !== canonical(b)) throw new Refused("differs", `${canonical(a).slice(0, 200)} is not expected`);
};
const keysOf = (keys) => new Map(Object.entries(keys).map(([epoch, key]) => [Number(epoch), hex(key)]));

const SECTIONS = {
  "audit.json": {
    good: (v) => {
      const { row_key, seal_key, hashes, seals, end } = readChain(v);
      const expected = { row_key: v.row_key, seal_key: v.seal_key, hashes: v.rows.map((row) => row.hash), seals: v.seals };
      same({ row_key, seal_key, hashes, seals }, expected);
      const { mac, sequence, time } = v.anchor;
      same(end, { format: "satchel-audit-anchor 1", mac, sequence, time });
    },
    refused: (v) => (v.what === "rows" ? readRows : readAnchor)(v.text),
  },
  "seals.json": {
    good: (v) => same(openSealed(keysOf({ [v.epoch]: v.key }), v, hex(v.sealed)).toString("hex"), v.plaintext),
    refused: (v) => openSealed(keysOf(v.keys), v, hex(v.sealed)),
    derived: (v) => same(derive(hex(v.key), hex(v.salt), v.info, v.length ?? 32).toString("hex"), v.bytes),
  },
  "frames.json": {
    good: (v) => {
      const frame = oneFrame(hex(v.bytes));
      same(sha256(frame.data), v.id);
      same(assemble([frame]).map(([, data]) => data.toString("hex")), v.objects);
    },
    sequences: (v) => {
      const [[object, data]] = assemble(v.frames.map((frame) => oneFrame(hex(frame))));
      same([object, data.length], [v.object, MIB + 3]);
    },
    packs: (v) => same(readPack(hex(v.bytes)).length, v.frames),
    refused: (bytes) => openFrame(oneFrame(hex(bytes))),
  },
  "deltas.json": {
    good: (v) => same(readDelta(hex(v.bytes), v.bases.map(hex)).map((data) => data.toString("hex")), v.objects),
    refused: (v) => readDelta(hex(v.bytes), v.bases.map(hex)),
  },
  "listings.json": {
    good: (v) => {
      const entries = readListing(Buffer.from(v.listing));
      same(Object.fromEntries(entries.map(([path, ...entry]) => [path, entry])), v.tree);
      same(sha256(Buffer.from(v.listing)), v.digest);
    },
    refused: (text) => readListing(Buffer.from(text)),
  },
  "records.json": {
    good: (v) => {
      same(readRecord(hex(v.bytes)), JSON.parse(v.json));
      same(sha256(hex(v.bytes)), v.hash);
    },
    refused: (v) => readRecord(hex(v.bytes)),
  },
  "tables.json": {
    good: (v) => same(readTables(hex(v.bytes)), JSON.parse(v.json).packs),
    refused: (v) => readTables(hex(v.bytes)),
  },
  "purges.json": {
    good: (v) => same(readPurge(hex(v.bytes)), JSON.parse(v.json)),
    refused: (v) => readPurge(hex(v.bytes)),
  },
  "bucket.json": {
    good: (v) => same(openBucket(v), v.holds),
    refused: (v) => openBucket(v),
  },
  "paths.json": {
    listable: (path) => same(pathIsListable(path), true),
    refused: (path) => {
      if (!pathIsListable(path)) throw new Refused("path.refused", "not listable");
    },
    clashes: (v) => same(leftOut(v.paths), v.left_out),
  },
};

function found(read, vector) {
  try {
    read(vector);
    return "read";
  } catch (error) {
    if (error instanceof Refused) return error.code;
    throw error;
  }
}

let differ = false;
for (const [file, sections] of Object.entries(SECTIONS)) {
  const vectors = JSON.parse(readFileSync(join(process.argv[2], file), "utf8"));
  if (file === "frames.json") Object.assign(vectors, { sequences: [vectors.sequence], packs: [vectors.pack] });
  for (const [section, read] of Object.entries(sections)) {
    Object.values(vectors[section]).forEach((vector, number) => {
      const refusal = vector.code ?? vectors.refused_code;
      const expected = section === "refused" ? refusal : "read";
      const got = found(read, vector);
      differ ||= got !== expected;
      console.log(JSON.stringify([file, section, number, expected, got]));
    });
  }
}
process.exitCode = differ ? 1 : 0;
