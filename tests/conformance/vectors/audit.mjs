// The audit's chain, as docs/spec/audit.md has it.

import { createHmac } from "node:crypto";
import { Refused, canonical, canonicalJson, derive, hex, openSealed } from "./read.mjs";

const broken = (why) => new Refused("seal.broken", why);
const mac = (key, ...parts) => parts.reduce((hmac, part) => hmac.update(part), createHmac("sha256", key)).digest("hex");

function position(sequence, time) {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(BigInt(sequence), 0);
  bytes.writeBigUInt64BE(BigInt(time), 8);
  return bytes;
}

/** Every hash of a chain, made anew from the secret and the values of its rows, and its anchor opened. */
export function readChain({ secret, tenant, rows, seals, anchor }) {
  const [rowKey, sealKey] = ["row", "seal"].map((use) => derive(hex(secret), "", ["satchel audit 1", tenant, use]));
  const hashes = rows.map(({ values }) => mac(rowKey, canonical(values)));
  let previous = "00".repeat(32);
  let from = 0;
  const made = seals.map(({ sequence, time }) => {
    const covered = rows.slice(from, sequence).map(({ values }, n) => [values[1], hashes[from + n]]);
    const text = canonical(covered);
    const followed = previous;
    previous = mac(sealKey, hex(previous), position(sequence, time), text);
    from = sequence;
    return { mac: previous, previous: followed, rows: text, sequence, time };
  });
  const where = { tenant, project: "", kind: "audit", name: "audit" };
  const plaintext = openSealed(new Map([[0, hex(anchor.key)]]), where, hex(anchor.sealed));
  const end = readAnchor(plaintext.toString());
  return { row_key: rowKey.toString("hex"), seal_key: sealKey.toString("hex"), hashes, seals: made, end };
}

export function readAnchor(text) {
  const fields = canonicalJson(text, ["format", "mac", "sequence", "time"], "satchel-audit-anchor 1", broken);
  if (!/^([0-9a-f]{2})*$/.test(fields.mac)) throw broken("no hex");
  if (![fields.sequence, fields.time].every(Number.isSafeInteger)) throw broken("no numbers");
  return fields;
}

export function readRows(text) {
  let rows;
  try {
    rows = JSON.parse(text);
  } catch {
    throw broken("not JSON");
  }
  const isRow = (row) => Array.isArray(row) && row.length === 2 && row.every((part) => typeof part === "string");
  if (!Array.isArray(rows) || !rows.every(isRow) || canonical(rows) !== text) throw broken("not in the one form");
  return rows;
}
