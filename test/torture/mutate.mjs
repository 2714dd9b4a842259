/** Mutations of files: bytes changed, numbers and texts replaced by extreme ones, JSON changed in its structure. */
import { parse } from 'yaml';

const NUMBERS = ['0', '-1', '-0.5', '1e9', '2147483648', '9007199254740993', '1e15', '1e308', '1e999', 'NaN', '100000'];
const TEXTS = [
  ...[
    '',
    ' ',
    '__proto__',
    'constructor',
    'toString',
    '../../x',
    '/dev/null',
    'null',
    '\u0000',
    '\u001b[31mred',
    '\u202eabc',
  ],
  ...[
    'a\nb\r\nc',
    '\ud800',
    '🙂'.repeat(200),
    'x'.repeat(100_000),
    '9'.repeat(400),
    '=1+1',
    '*'.repeat(3000),
    '3*full '.repeat(300),
  ],
];

const pick = (rng, list) => list[rng.int(list.length)];
const nested = (rng) => pick(rng, [10, 400, 600, 20_000]);

/** A value of JSON that is probably of the wrong kind. */
function value(rng) {
  return pick(rng, [
    () => null,
    () => pick(rng, TEXTS),
    () => Number(pick(rng, NUMBERS)),
    () => rng.int(1000) - 10,
    () => rng.uniform(),
    () => rng.int(2) === 0,
    () => [],
    () => ({}),
    () => [null],
    () => ({ toString: 1, length: 1e9, then: 1 }),
    () => Array.from({ length: 300 }, (_, i) => i),
    () => Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i])),
  ])();
}

/** Every place of a value that can be replaced, at most 2,000. */
function placesOf(root) {
  const places = [];
  const open = [root];
  while (open.length > 0 && places.length < 2000) {
    const node = open.shift();
    if (typeof node !== 'object' || node === null) continue;
    for (const key of Object.keys(node)) {
      places.push([node, key]);
      open.push(node[key]);
    }
  }
  return places;
}

/** JSON whose structure is changed in one to three places; text of its own for what no value can hold. */
export function mutateValue(rng, root) {
  let holder = { root: structuredClone(root) };
  for (let i = rng.int(3); i >= 0; i--) {
    const places = placesOf(holder);
    const [node, key] = pick(rng, places);
    const other = pick(rng, places);
    pick(rng, [
      () => (node[key] = value(rng)),
      () => (node[key] = value(rng)),
      () => (Array.isArray(node) ? node.splice(Number(key), 1) : delete node[key]),
      () => (node[key] = structuredClone(other[0][other[1]])),
      () => (Array.isArray(node) ? node.push(...node.slice(0, 200)) : (node[pick(rng, TEXTS)] = value(rng))),
      () => (typeof node[key] === 'number' ? (node[key] *= pick(rng, [-1, 2, 0.5, 1e6])) : (node[key] = [node[key]])),
    ])();
    if (!('root' in holder)) holder = { root: null };
  }
  let text = JSON.stringify(holder.root) ?? 'null';
  if (rng.int(12) === 0) {
    const depth = nested(rng);
    text = text.replace(/null|\d+|"[^"]*"(?!\s*:)/, () => `${'['.repeat(depth)}${']'.repeat(depth)}`);
  }
  if (rng.int(12) === 0) text = text.replace(/\d+(\.\d+)?/, () => pick(rng, NUMBERS));
  if (rng.int(20) === 0) text = text.replace(/\{("[^"]*":)/, (all, key) => `{${key}1,${key}`);
  return text;
}

/** Bytes of which a few are changed, left out, doubled or put in. */
export function mutateBytes(rng, bytes) {
  let out = Buffer.from(bytes);
  for (let i = rng.int(3); i >= 0; i--) {
    const at = rng.int(out.length + 1);
    const length = Math.min(out.length - at, 1 + rng.int(pick(rng, [1, 8, 200])));
    pick(rng, [
      () => out.length > 0 && (out[Math.min(at, out.length - 1)] ^= 1 << rng.int(8)),
      () => (out = Buffer.concat([out.subarray(0, at), out.subarray(at + length)])),
      () => (out = Buffer.concat([out.subarray(0, at), out.subarray(at, at + length), out.subarray(at)])),
      () => (out = out.subarray(0, at)),
      () => (out = Buffer.concat([out.subarray(0, at), Buffer.from(pick(rng, TEXTS)), out.subarray(at)])),
      () => out.fill(rng.int(256), at, at + length),
    ])();
  }
  return out;
}

/** Text in which one to three numbers or words are replaced. */
function mutateWords(rng, text) {
  let out = text;
  for (let i = rng.int(3); i >= 0; i--) {
    const found = [...out.matchAll(/-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[A-Za-z_]+/g)];
    if (found.length === 0) break;
    const { index, 0: word } = pick(rng, found);
    const other = /\d/.test(word) ? pick(rng, NUMBERS) : pick(rng, rng.int(2) === 0 ? TEXTS : found.map(([w]) => w));
    out = `${out.slice(0, index)}${other}${out.slice(index + word.length)}`;
  }
  return out;
}

const parsed = (read, text) => {
  try {
    return read(text);
  } catch {
    return undefined;
  }
};

/** What changes files of each format. */
export const MUTATORS = {
  json: (rng, bytes) => orBytes(rng, bytes, () => mutateValue(rng, JSON.parse(bytes.toString()))),
  yaml: (rng, bytes) => orBytes(rng, bytes, () => mutateValue(rng, parse(bytes.toString()))),
  lines: (rng, bytes) =>
    orBytes(rng, bytes, () => {
      const lines = bytes.toString().split('\n');
      const at = rng.int(lines.length);
      const value = parsed(JSON.parse, lines[at]);
      lines[at] = value === undefined ? pick(rng, TEXTS) : mutateValue(rng, value);
      return lines.join('\n');
    }),
  text: (rng, bytes) => orBytes(rng, bytes, () => mutateWords(rng, bytes.toString())),
  bytes: mutateBytes,
  /** A length in 8 bytes, a JSON header of that length, data. */
  safetensors: (rng, bytes) =>
    orBytes(rng, bytes, () => {
      const length = Number(bytes.readBigUInt64LE(0));
      const header = Buffer.from(mutateValue(rng, JSON.parse(bytes.subarray(8, 8 + length).toString())));
      const head = Buffer.alloc(8);
      head.writeBigUInt64LE(BigInt(header.length));
      return Buffer.concat([head, header, bytes.subarray(8 + length)]);
    }),
};

function orBytes(rng, bytes, structured) {
  const kind = rng.int(8);
  if (kind === 0) return mutateBytes(rng, bytes);
  if (kind === 1) return Buffer.from(mutateWords(rng, bytes.toString()));
  return Buffer.from(structured());
}
