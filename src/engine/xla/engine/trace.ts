/** What devices ran and when: the recordings of a plugin's profiler, and how busy a device was. */
import { at, EngineError } from '../../../core/index.js';
import { exactVarint, fieldsOf, textOf } from '../pjrt/wire.js';

/** A kernel or copy on a device. Times in nanoseconds, from the first of the recording. */
export interface DeviceSpan {
  readonly name: string;
  /** The device's name, such as `/device:GPU:0`. */
  readonly device: string;
  /** Nanoseconds from the first span of the recording. */
  readonly start: number;
  /** Nanoseconds from the first span of the recording. */
  readonly end: number;
}

const RECORDING = 'a recording';

type Fields = ReadonlyMap<number, readonly Uint8Array[]>;

function read(message: Uint8Array): Fields {
  const fields = new Map<number, Uint8Array[]>();
  for (const { number, bytes } of fieldsOf(message, RECORDING)) {
    const list = fields.get(number);
    if (list) list.push(bytes);
    else fields.set(number, [bytes]);
  }
  return fields;
}

const all = (fields: Fields, number: number): readonly Uint8Array[] => fields.get(number) ?? [];
const one = (fields: Fields, number: number): Uint8Array => all(fields, number)[0] ?? new Uint8Array(0);
const exact = (fields: Fields, number: number): bigint => exactVarint(one(fields, number));

/** The events of an `XPlane`; times in picoseconds since 1970. */
function eventsOf(plane: Fields): { name: string; start: bigint; end: bigint }[] {
  const names = new Map(
    all(plane, 4).map((bytes) => {
      const entry = read(bytes);
      return [exact(entry, 1), textOf(one(read(one(entry, 2)), 2))];
    }),
  );
  return all(plane, 3).flatMap((bytes) => {
    const line = read(bytes);
    const begin = exact(line, 3) * 1000n;
    return all(line, 4).map((event) => {
      const fields = read(event);
      const start = begin + exact(fields, 2);
      return { name: names.get(exact(fields, 1)) ?? '', start, end: start + exact(fields, 3) };
    });
  });
}

/** What ran on devices, by start, from a serialized `XSpace` (tsl/profiler/protobuf/xplane.proto). */
export function deviceSpans(recording: Uint8Array): DeviceSpan[] {
  const found = all(read(recording), 1).flatMap((bytes) => {
    const plane = read(bytes);
    const device = textOf(one(plane, 2));
    return device.startsWith('/device:') ? eventsOf(plane).map((event) => ({ ...event, device })) : [];
  });
  const first = found.reduce((least, { start }) => (start < least ? start : least), found[0]?.start ?? 0n);
  const since = (time: bigint): number => Number(time - first) / 1000;
  return found
    .map(({ name, device, start, end }) => ({ name, device, start: since(start), end: since(end) }))
    .sort((a, b) => a.start - b.start);
}

/** Copies between host and device, which need no processor of the device. */
const isTransfer = ({ name }: DeviceSpan): boolean => /^Memcpy(H2D|D2H)/.test(name);

/** How busy a device was over some repetitions of a step. */
export interface DeviceUse {
  readonly steps: number;
  /** Milliseconds from the start of a step to the start of the next. */
  readonly msPerStep: number;
  /** The share of the time in which no kernel ran, 0 to 1. */
  readonly idle: number;
  /** The share of the time in the longest pause of each step, 0 to 1: at most the idle time between steps. */
  readonly idleBetween: number;
  /** Milliseconds a step and how many, by kernel, longest first. Kernels at the same time count each. */
  readonly kernels: readonly { readonly name: string; readonly count: number; readonly ms: number }[];
}

/**
 * From the first to the last start of the kernel that `marker` matches, which runs once a step: how much of the time
 * some kernel ran. Copies between host and device do not count as work. Throws `EngineError` if the marker ran less
 * than twice.
 */
export function deviceUse(spans: readonly DeviceSpan[], marker: RegExp): DeviceUse {
  const work = spans.filter((s) => !isTransfer(s));
  const starts = work.filter(({ name }) => marker.test(name)).map(({ start }) => start);
  const steps = starts.length - 1;
  if (steps < 1) {
    throw new EngineError(
      `xla: the recording of ${work.length} kernels has ${starts.length} that match ${marker}, needed are two or more`,
    );
  }
  const [from, to] = [at(starts, 0), at(starts, steps)];
  const longest = starts.slice(1).map(() => 0);
  const kernels = new Map<string, { count: number; ns: number }>();
  let [reached, pauses, step] = [from, 0, 0];
  for (const { name, start, end } of work) {
    if (end <= from || start >= to) continue;
    const [begin, stop] = [Math.max(start, from), Math.min(end, to)];
    while (step < steps - 1 && begin >= at(starts, step + 1)) step++;
    const pause = Math.max(0, begin - reached);
    pauses += pause;
    longest[step] = Math.max(at(longest, step), pause);
    reached = Math.max(reached, stop);
    const { count, ns } = kernels.get(name) ?? { count: 0, ns: 0 };
    kernels.set(name, { count: count + 1, ns: ns + stop - begin });
  }
  const whole = to - from;
  const perStep = ([name, { count, ns }]: [string, { count: number; ns: number }]) => ({
    name,
    count: count / steps,
    ms: ns / steps / 1e6,
  });
  return {
    steps,
    msPerStep: whole / steps / 1e6,
    idle: (pauses + to - reached) / whole,
    idleBetween: longest.reduce((a, b) => a + b, 0) / whole,
    kernels: [...kernels].map(perStep).sort((a, b) => b.ms - a.ms),
  };
}
