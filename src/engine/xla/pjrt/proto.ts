/** `xla.CompileOptionsProto` as bytes; field numbers from xla/pjrt/proto/compile_options.proto. */

/** An XLA debug option (`xla_gpu_...`) and its value. */
export type XlaOptions = Readonly<Record<string, string | number | boolean>>;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return [...bytes, rest];
}

const number = (field: number, value: number): number[] => [...varint(field * 8), ...varint(value)];
const bytes = (field: number, content: readonly number[]): number[] => [
  ...varint(field * 8 + 2),
  ...varint(content.length),
  ...content,
];
const text = (field: number, value: string): number[] => bytes(field, [...Buffer.from(value, 'utf8')]);

function double(field: number, value: number): number[] {
  const content = Buffer.alloc(8);
  content.writeDoubleLE(value);
  return [...varint(field * 8 + 1), ...content];
}

function option(value: string | number | boolean): number[] {
  if (typeof value === 'string') return text(1, value);
  if (typeof value === 'boolean') return number(2, value ? 1 : 0);
  return Number.isInteger(value) && value >= 0 ? number(3, value) : double(4, value);
}

/**
 * Options for one replica over `devices` (ids in the order of the mesh): with more than one, SPMD partitioning by
 * Shardy. `overrides` are XLA's debug options for this program alone.
 */
export function compileOptions(devices: readonly number[], overrides: XlaOptions = {}): Uint8Array {
  const many = devices.length > 1;
  const computations = devices.flatMap((id) => bytes(3, bytes(1, varint(id))));
  const assignment = [...number(1, 1), ...number(2, devices.length), ...computations];
  const build = [
    ...number(4, 1),
    ...number(5, devices.length),
    ...(many ? number(6, 1) : []),
    ...bytes(9, assignment),
    ...(many ? number(19, 1) : []),
  ];
  const entries = Object.entries(overrides).sort(([a], [b]) => (a < b ? -1 : 1));
  const map = entries.flatMap(([name, value]) => bytes(7, [...text(1, name), ...bytes(2, option(value))]));
  return Uint8Array.from([...bytes(3, build), ...map]);
}
