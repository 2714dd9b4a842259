/** Recordings of a profiler as spans, and how busy a device was. */
import { describe, expect, it } from 'vitest';
import { deviceUse, type DeviceSpan } from '../../../src/engine/index.js';
import { deviceSpans } from '../../../src/engine/xla/engine/trace.js';

const varint = (value: bigint): number[] =>
  value < 128n ? [Number(value)] : [Number(value & 127n) | 128, ...varint(value >> 7n)];
const number = (field: number, value: bigint): number[] => [...varint(BigInt(field * 8)), ...varint(value)];
const bytes = (field: number, content: readonly number[]): number[] => [
  ...varint(BigInt(field * 8 + 2)),
  ...varint(BigInt(content.length)),
  ...content,
];
const text = (field: number, value: string): number[] => bytes(field, [...Buffer.from(value)]);

/** An `XSpace` with one plane of a GPU: lines of events `[name, offset in ps, duration in ps]` that begin at a time in ns. */
function recording(lines: readonly { begin: bigint; events: readonly [number, bigint, bigint][] }[]): Uint8Array {
  const names = ['', 'first', 'second'].flatMap((name, id) =>
    id === 0 ? [] : bytes(4, [...number(1, BigInt(id)), ...bytes(2, [...number(1, BigInt(id)), ...text(2, name)])]),
  );
  const planes = lines.flatMap(({ begin, events }) =>
    bytes(3, [
      ...number(3, begin),
      ...events.flatMap(([id, offset, duration]) =>
        bytes(4, [...number(1, BigInt(id)), ...number(2, offset), ...number(3, duration)]),
      ),
    ]),
  );
  const host = bytes(1, [...text(2, '/host:CPU'), ...bytes(3, bytes(4, number(1, 1n)))]);
  return Uint8Array.from([...host, ...bytes(1, [...text(2, '/device:GPU:0'), ...names, ...planes]), 0]);
}

const span = (name: string, start: number, end: number): DeviceSpan => ({ name, device: 'd', start, end });

describe('recordings', () => {
  it('are read to the picosecond, lines by their own begin, the host left out', () => {
    // Times of day in ns are beyond what doubles hold exactly.
    const begin = 1_795_656_297_782_959_123n;
    const read = deviceSpans(
      recording([
        { begin: begin + 1n, events: [[1, 2500n, 1000n]] },
        {
          begin,
          events: [
            [2, 1500n, 250n],
            [1, 9000n, 500n],
          ],
        },
      ]),
    );
    expect(read.map(({ name, start, end }) => [name, start, end])).toEqual([
      ['second', 0, 0.25],
      ['first', 2, 3],
      ['first', 7.5, 8],
    ]);
    expect(new Set(read.map((s) => s.device))).toEqual(new Set(['/device:GPU:0']));
    expect(deviceSpans(Uint8Array.of(0))).toEqual([]);
    expect(() => deviceSpans(Uint8Array.of(0x0a, 0x80))).toThrow('a recording that does not parse');
  });
});

describe('the use of a device', () => {
  // Two steps of 100 ns, work on two streams at once; a copy from the host runs beside it and in a pause.
  const step = (at: number): DeviceSpan[] => [
    span('loss', at, at + 20),
    span('product', at + 20, at + 50),
    span('other', at + 40, at + 60),
    span('MemcpyH2D', at + 50, at + 80),
    span('product', at + 90, at + 100),
  ];
  const spans = [span('early', -30, -10), ...step(0), ...step(100), ...step(200)];

  it('counts time in which some kernel runs', () => {
    const { idle, idleBetween, steps, msPerStep, kernels } = deviceUse(spans, /^loss/);
    expect(steps).toBe(2);
    expect(msPerStep).toBeCloseTo(100e-6, 12);
    expect(idle).toBeCloseTo(0.3, 12);
    expect(idleBetween).toBeCloseTo(0.3, 12);
    expect(kernels.map(({ name, count, ms }) => [name, count, Math.round(ms * 1e6)])).toEqual([
      ['product', 2, 40],
      ['loss', 1, 20],
      ['other', 1, 20],
    ]);
  });

  it('needs a marker that runs at least twice', () => {
    expect(() => deviceUse(spans, /^early/)).toThrow('has 1 that match /^early/, needed are two or more');
  });
});
