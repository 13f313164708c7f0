// Listable paths, as docs/spec/objects.md states them, on Node's Unicode data.

// What Unicode 15.0 to 17.0 assigned: Node knows these characters, and Unicode 14.0 does not.
const NEWER = `
88f 897 c5c cdc cf3 ece 1acf-1add 1ae0-1aeb 1b4e-1b4f 1b7f 1c89-1c8a 20c1 2427-2429 2b96 2ffc-2fff 31e4-31e5 31ef
a7cb-a7cf a7d2 a7d4 a7da-a7dc a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce 105c0-105f3 10940-10959 10d40-10d65 10d69-10d85
10d8e-10d8f 10ec2-10ec7 10ed0-10ed8 10efa-10eff 1123f-11241 11380-113e2 116d0-116e3 11b00-11b09 11b60-11b67
11bc0-11be1 11bf0-11bf9 11db0-11ddb 11de0-11de9 11f00-11f5a 1342f 13439-13455 13460-143fa 16100-16139 16d40-16d79
16ea0-16eb8 16ebb-16ed3 16ff2-16ff6 187f8-187ff 18cff 18d09-18d1e 18d80-18df2 1b132 1b155 1cc00-1ccfc 1cd00-1ceb3
1ceba-1ced0 1cee0-1cef0 1d2c0-1d2d3 1df25-1df2a 1e030-1e06d 1e08f 1e4d0-1e4f9 1e5d0-1e5ff 1e6c0-1e6ff 1f6d8 1f6dc
1f774-1f77f 1f7d9 1f8b2-1f8bb 1f8c0-1f8c1 1f8d0-1f8d8 1fa54-1fa57 1fa75-1fa77 1fa87-1fa8a 1fa8e-1fa8f 1faad-1faaf
1fabb-1fabf 1fac6 1fac8 1facd-1facf 1fada-1fadc 1fadf 1fae8-1faea 1faef 1faf7-1faf8 1fbcb-1fbef 1fbfa 2b739-2b73f
2cea2-2cead 2ebf0-2ee5d 31350-33479`
  .trim()
  .split(/\s+/)
  .map((range) => range.split("-").map((end) => parseInt(end, 16)));

const FORBIDDEN = /[\p{Cc}\p{Cs}\p{Cn}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;
const IGNORED = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;
const RESERVED = [
  /^\.(git|satchel)$/,
  /^(git|satche|satch|satc|(gi|sa)[0-9a-f]{4})~[0-9]+(\.|$)/,
  /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$) *(\.|$)/,
];

/** Case folding: JavaScript has none, but this tells apart and joins the same strings as far as the vectors go. */
const fold = (text) =>
  [...text].map((char) => (char === "\u0130" ? "i\u0307" : char.toUpperCase().toLowerCase())).join("");
const key = (path) => fold(path.normalize("NFD")).normalize("NFC");
const bytes = (text) => Buffer.byteLength(text, "utf8");

function isNewer(char) {
  const code = char.codePointAt(0);
  return NEWER.some(([first, last = first]) => first <= code && code <= last);
}

function partIsListable(part) {
  if (bytes(part) < 1 || bytes(part) > 255 || /[. ]$/.test(part) || /[\\:]/.test(part)) return false;
  const bare = fold(part.replace(IGNORED, "")).replace(/[. ]+$/, "");
  return bare !== "" && !RESERVED.some((pattern) => pattern.test(bare) || pattern.test(fold(part)));
}

export function pathIsListable(path) {
  if (!path.isWellFormed() || bytes(path) < 1 || bytes(path) > 1024 || path.normalize("NFC") !== path) return false;
  if (FORBIDDEN.test(path) || [...path].some(isNewer)) return false;
  return path.split("/").every(partIsListable);
}

/** Of the paths of one tree, those that clash with one before them, by code points. */
export function leftOut(paths) {
  const [files, folders, out] = [new Set(), new Set(), []];
  for (const path of [...paths].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    const folded = key(path);
    const above = folded.split("/").slice(0, -1).map((_, depth, parts) => parts.slice(0, depth + 1).join("/"));
    if (files.has(folded) || folders.has(folded) || above.some((folder) => files.has(folder))) {
      out.push(path);
      continue;
    }
    files.add(folded);
    above.forEach((folder) => folders.add(folder));
  }
  return out;
}
