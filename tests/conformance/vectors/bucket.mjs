// A whole bucket, from the root key to the contents of files, as docs/spec/objects.md and docs/spec/sealing.md have it.

import { Refused, derive, hex, openSealed, readPurge, readRecord, readTables, sha256, unpack } from "./read.mjs";

const MIB = 1 << 20;
const json = (bytes) => JSON.parse(bytes.toString("utf8"));
const damaged = (why) => new Refused("seal.broken", why);

/** vector: {root, objects: name -> hex}. Gives everything that the bucket says, as plain data. */
export function openBucket(vector) {
  const bucket = new Map(Object.entries(vector.objects).map(([name, data]) => [name, hex(data)]));
  const wrapping = (purpose) => new Map([[0, derive(hex(vector.root), "", ["satchel root", purpose])]]);
  const own = newest(bucket, "installation", wrapping("installation"), "", "installation");
  if (own.format !== "satchel-installation 1") throw damaged("no installation");
  const secret = hex(own.secret);
  const purpose = (name) => derive(secret, "", ["satchel installation", name]);
  const tenants = {};
  for (const tenant of ids(bucket, /^tenants\/([^/]+)\//)) {
    const stone = bucket.get(`tenants/${tenant}/shredded`);
    if (stone !== undefined) {
      const where = { tenant, project: "", kind: "tombstone", name: "tombstone" };
      tenants[tenant] = { shredded: json(openSealed(new Map([[0, purpose("tombstone")]]), where, stone)).time };
      continue;
    }
    const keyring = newest(bucket, `tenants/${tenant}/keys`, wrapping("keyring"), tenant, "keyring");
    if (keyring.format !== "satchel-keyring 1" || keyring.tenant !== tenant) throw damaged("no keyring");
    const epochs = Object.entries(keyring.epochs);
    const keys = new Map(epochs.map(([epoch, held]) => [Number(epoch), hex(held.key)]));
    const projects = ids(bucket, new RegExp(`^tenants/${tenant}/projects/([^/]+)/`));
    tenants[tenant] = {
      epochs: Object.fromEntries(epochs.map(([epoch, held]) => [epoch, held.created])),
      about: about(bucket, keys, tenant, "", `tenants/${tenant}/about`),
      projects: Object.fromEntries(projects.map((project) => [project, openProject(bucket, keys, tenant, project)])),
    };
  }
  return { installation: own.id, pepper: purpose("key pepper").toString("hex"), tenants };
}

function ids(bucket, pattern) {
  const found = [...bucket.keys()].map((name) => pattern.exec(name)?.[1]).filter((id) => id !== undefined);
  return [...new Set(found)].sort();
}

/** The highest generation below a prefix, opened for its number. */
function newest(bucket, prefix, keys, tenant, kind) {
  const numbers = ids(bucket, new RegExp(`^${prefix}/([1-9][0-9]{0,8})$`)).map(Number);
  if (numbers.length === 0) throw new Refused("store.missing", `nothing below ${prefix}`);
  const name = String(Math.max(...numbers));
  return json(openSealed(keys, { tenant, project: "", kind, name }, bucket.get(`${prefix}/${name}`)));
}

function about(bucket, keys, tenant, project, name) {
  if (!bucket.has(name)) return null;
  const told = json(openSealed(keys, { tenant, project, kind: "about", name: "about" }, bucket.get(name)));
  if (told.format !== "satchel-about 1") throw damaged("no description");
  delete told.format;
  return told;
}

function openProject(bucket, keys, tenant, project) {
  const folder = `tenants/${tenant}/projects/${project}/`;
  const open = (kind, below, name) => {
    const data = bucket.get(`${folder}${below}/${name}`);
    if (data === undefined) throw new Refused("store.missing", `${below}/${name}`);
    return openSealed(keys, { tenant, project, kind, name }, data);
  };
  const names = (below) => ids(bucket, new RegExp(`^${folder}${below}/(.+)$`));
  const told = { heads: {}, changes: {}, purged: [], contents: {}, about: null };
  told.about = about(bucket, keys, tenant, project, `${folder}about`);
  const tables = [];
  for (const name of names("heads")) {
    told.heads[name] = json(open("head", "heads", name)).record;
    const record = readRecord(open("record", "records", told.heads[name]));
    told.changes[name] = record.changes.map(([path, , object = null]) => [path, object]);
    tables.push(...record.packs);
  }
  for (const name of names("tables")) tables.push(...readTables(open("table", "tables", name)));
  for (const name of names("purges")) told.purged.push(...readPurge(open("purge", "purges", name)).objects);
  for (const [pack, , frames] of tables) {
    const data = bucket.get(`${folder}packs/${pack}`);
    if (data === undefined) continue; // its content was moved, or removed
    for (const frame of frames) Object.assign(told.contents, openFrame(keys, tenant, project, data, frame));
  }
  return told;
}

/** The objects of one frame of a pack; the vectors have no object in several parts. */
function openFrame(keys, tenant, project, data, [id, offset, length, part, parts, table]) {
  if (data.length < offset + length) throw new Refused("store.missing", "a pack that ends early");
  const where = { tenant, project, kind: "frame", name: id, index: part, count: parts };
  const packed = openSealed(keys, where, data.subarray(offset, offset + length));
  const content = unpack(packed, MIB, (why) => new Refused("frame.refused", why));
  const found = {};
  let at = 0;
  for (const [object, size] of table) {
    const bytes = content.subarray(at, (at += size));
    if (sha256(bytes) !== object) throw damaged("not what its id names");
    found[object] = bytes.toString("utf8");
  }
  return found;
}
