/**
 * What a compiled program sends between devices, read from its `xla.HloModuleProto`; field numbers from
 * xla/service/hlo.proto and xla/xla_data.proto.
 */
import { EngineError, append } from '../../../core/index.js';
import { fieldsOf, textOf } from './wire.js';

/** Collectives of one kind in a program. Those inside loops count once. */
export interface Collective {
  /** The operation, such as `all-reduce`. */
  readonly op: string;
  readonly count: number;
  /** Bytes of the results on one device, all of them together. */
  readonly bytes: number;
}

const NAMES = [
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
  'collective-broadcast',
];

/** Bytes of an element by `xla.PrimitiveType`. */
const ELEMENT_BYTES: Readonly<Record<number, number>> = {
  ...{ 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 2, 8: 4, 9: 8, 10: 2, 11: 4, 12: 8, 16: 2 },
};
const TUPLE = 13;

const PROGRAM = 'an optimized program';

const parts = (message: Uint8Array, number: number): Uint8Array[] =>
  [...fieldsOf(message, PROGRAM)].filter((f) => f.number === number).map((f) => f.bytes);

function varints(packed: Uint8Array): number[] {
  const values: number[] = [];
  let [value, scale] = [0, 1];
  for (const byte of packed) {
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte >= 0x80) continue;
    values.push(value);
    [value, scale] = [0, 1];
  }
  return values;
}

/** Bytes of an `xla.ShapeProto`; of a tuple, those of the parts that `chosen` names, all if left out. */
function shapeBytes(shape: Uint8Array, chosen?: number): number {
  let type = 0;
  const dims: number[] = [];
  for (const { number, value, bytes } of fieldsOf(shape, PROGRAM)) {
    if (number === 2) type = value;
    if (number === 3) append(dims, bytes.length > 0 ? varints(bytes) : [value]);
  }
  if (type !== TUPLE) return dims.reduce((a, b) => a * b, ELEMENT_BYTES[type] ?? 0);
  return parts(shape, 4)
    .filter((_, i) => chosen === undefined || i === chosen)
    .reduce((sum, part) => sum + shapeBytes(part), 0);
}

/** The collectives of a program as `PjrtExecutable.optimizedProgram` gives it. */
export function collectivesOf({ format, bytes }: { format: string; bytes: Uint8Array }): Collective[] {
  if (!format.startsWith('hlo'))
    throw new EngineError(`xla: the plugin gives optimized programs as ${format}, not as hlo`);
  const module = format === 'hlo' ? bytes : (parts(bytes, 1)[0] ?? new Uint8Array(0));
  const found = new Map<string, Collective>();
  for (const instruction of parts(module, 3).flatMap((computation) => parts(computation, 2))) {
    const opcode = textOf(parts(instruction, 2)[0] ?? new Uint8Array(0));
    const op = opcode.replace(/-start$/, '');
    if (!NAMES.includes(op)) continue;
    // These two begin with a tuple of what goes in and what comes out.
    const paired = opcode !== op && (op === 'all-gather' || op === 'collective-permute');
    const size = shapeBytes(parts(instruction, 3)[0] ?? new Uint8Array(0), paired ? 1 : undefined);
    const { count, bytes: sum } = found.get(op) ?? { count: 0, bytes: 0 };
    found.set(op, { op, count: count + 1, bytes: sum + size });
  }
  return [...found.values()].sort((a, b) => (a.op < b.op ? -1 : 1));
}
