/** `metrics.jsonl`: one JSON object a line, append-only, with the metric names that the field uses. */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import {
  AppendedFile,
  fileError,
  parseJsonLines,
  StoreError,
  wholeLines,
  writeFileAtomic,
  type JsonLine,
} from '../core/index.js';

const lineSchema = z.looseObject({ step: z.number(), tokens: z.number() });

const isPlain = (line: unknown): line is z.output<typeof lineSchema> =>
  typeof line === 'object' &&
  line !== null &&
  'step' in line &&
  'tokens' in line &&
  Number.isFinite(line.step) &&
  Number.isFinite(line.tokens);

/** A metric in words: for readers of figures, and for the documentation. */
export interface MetricWords {
  /** What it is called, without its unit; `FROM` and `TO` stand for the distances in a name. */
  readonly title: string;
  /** Its unit, or which share or probability it is; null for a number without either. */
  readonly unit: string | null;
  /** The values that it can take, such as `0 to 1`. */
  readonly range: string;
  /** What the number is, in a phrase that stands alone. */
  readonly meaning: string;
}

/** What a metric is called, with its unit: `Held-out loss (nats per token)`. */
export function metricLabel({ title, unit }: MetricWords): string {
  return unit === null ? title : `${title} (${unit})`;
}

/** A line of metrics; `time` in seconds of run time so far. Values that are not finite are stored as null. */
export interface MetricsLine {
  readonly step: number;
  readonly tokens: number;
  readonly time: number;
  readonly [metric: string]: number | null;
}

/** One measurement: a metric's value after `tokens` training tokens. */
export interface Point {
  readonly tokens: number;
  readonly value: number;
}

/** Where and when a line was measured. */
const NOT_METRICS: ReadonlySet<string> = new Set(['step', 'tokens', 'time']);

/** What a metrics file holds. */
export interface Metrics {
  /** The measured points of each metric, in order of tokens. Values that are no finite numbers are left out. */
  readonly series: ReadonlyMap<string, readonly Point[]>;
  /** Seconds of run time at the last line. */
  readonly seconds: number;
}

/**
 * The complete lines of a metrics file. A last line without its end, left by a process that died while writing it, is
 * left out.
 *
 * @throws StoreError naming the line that is not a measurement
 */
function readLines(path: string): JsonLine<z.output<typeof lineSchema>>[] {
  if (!existsSync(path)) return [];
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw fileError('read', path, cause);
  }
  return parseJsonLines(wholeLines(text), path, lineSchema, { origin: 'store', remedy: '; remove the line', isPlain });
}

/**
 * The series of a metrics file; none if there is no file. Throws `StoreError` naming a line that is not a measurement.
 */
export function readMetrics(path: string): Metrics {
  const series = new Map<string, Point[]>();
  let seconds = 0;
  for (const { value: values } of readLines(path)) {
    const { tokens, time } = values;
    if (typeof time === 'number') seconds = time;
    for (const name of Object.keys(values)) {
      const value = values[name];
      if (NOT_METRICS.has(name) || typeof value !== 'number' || !Number.isFinite(value)) continue;
      const points = series.get(name);
      if (points === undefined) series.set(name, [{ tokens, value }]);
      else points.push({ tokens, value });
    }
  }
  return { series, seconds };
}

/**
 * The lines of a metrics file in their order; none if there is no file. A last line without its end is left out.
 *
 * @throws StoreError naming a line that is not a measurement, or a value of it that is neither a number nor null
 */
export function readMetricsLines(path: string): MetricsLine[] {
  return readLines(path).map(({ value: { step, tokens, time = 0, ...metrics } }, i) => {
    const line: Record<string, number | null> = {};
    for (const [name, value] of Object.entries({ time, ...metrics })) {
      if (typeof value !== 'number' && value !== null)
        throw new StoreError(
          `${path}: "${name}" of measurement ${i + 1} is neither a number nor null; remove the line`,
          {
            details: { path, name },
          },
        );
      line[name] = value;
    }
    return { ...line, step, tokens, time: line['time'] ?? 0 };
  });
}

/** Writes the lines of one metrics file up to `step` as another, which they replace. */
export function copyMetrics(from: string, to: string, step: number): void {
  const kept = readLines(from).filter(({ value }) => value.step <= step);
  writeFileAtomic(to, kept.map(({ text }) => `${text}\n`).join(''));
}

/** Appends to a metrics file. */
export class MetricsWriter implements Disposable {
  readonly #file: AppendedFile;

  /**
   * Opens the file for appending.
   *
   * @param afterStep lines of later steps are removed first; null to start an empty file
   */
  constructor(path: string, afterStep: number | null) {
    const kept = afterStep === null ? [] : readLines(path).filter(({ value }) => value.step <= afterStep);
    writeFileAtomic(path, kept.map(({ text }) => `${text}\n`).join(''));
    this.#file = new AppendedFile(path);
  }

  /**
   * Writes one line, whole. Whoever takes a run over makes the file anew, so that a line of a process that froze
   * between looking at its lock and writing goes nowhere.
   *
   * @throws LockLostError if another process has taken the run's lock
   */
  write(line: MetricsLine): void {
    this.#file.append(`${JSON.stringify(line)}\n`);
  }

  /** Waits until all lines are on the disk. */
  sync(): void {
    this.#file.sync();
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}
