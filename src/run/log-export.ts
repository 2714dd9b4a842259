/** Metrics of runs in the formats of other tools: TensorBoard's event files, and long tables as CSV and Parquet. */
import { readdirSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import {
  ConfigError,
  csvText,
  isRunFolder,
  makeFolder,
  metricsPath,
  namesIn,
  StoreError,
  writeFileAtomic,
} from '../core/index.js';
import { readRunConfig } from './config.js';
import { scalarRecord, versionRecord } from './event-file.js';
import { readMetricsLines, type MetricsLine } from './metrics.js';

/** How deep below a folder runs are looked for. */
const MOST_DEPTH = 5;

/** A run with its lines. */
interface LoggedRun {
  /** The path of the run below the folder that was given, with `/`. */
  readonly name: string;
  /** Seconds since 1970; 0 where it is not kept. */
  readonly startedAt: number;
  readonly lines: readonly MetricsLine[];
}

/** The file of a run: its path below the folder of the export, and its bytes. */
interface Written {
  readonly path: string;
  readonly bytes: Uint8Array | string;
}

/** The formats by name; each makes one file of a run. */
const FORMATS = {
  /** `RUN/events.out.tfevents.SECONDS.longsight`: a scalar for each metric at each step; null is NaN. */
  tensorboard: ({ name, startedAt, lines }): Written => ({
    path: join(name, `events.out.tfevents.${Math.floor(startedAt)}.longsight`),
    bytes: Buffer.concat([
      versionRecord(startedAt),
      ...lines.map((line) =>
        scalarRecord({
          wallTime: startedAt + line.time,
          step: line.step,
          // The scale of most curves; others have steps only.
          values: [['tokens', line.tokens], ...valuesOf(line).map(([key, v]) => [key, v ?? NaN] as const)],
        }),
      ),
    ]),
  }),
  /** `RUN.csv`: a row for each value; null is an empty field. */
  csv: (run): Written => ({ path: `${run.name}.csv`, bytes: csvText(Object.keys(LOG_COLUMNS), rowsOf(run)) }),
  /** `RUN.parquet`: the same rows. */
  parquet: (run): Written => ({ path: `${run.name}.parquet`, bytes: parquetOf(rowsOf(run)) }),
} as const satisfies Readonly<Record<string, (run: LoggedRun) => Written>>;

/** A format that metrics are exported to. */
export type LogFormat = keyof typeof FORMATS;

/** The names of formats. */
export const LOG_FORMATS = Object.keys(FORMATS) as LogFormat[];

/** The columns of tables, with what they hold. */
export const LOG_COLUMNS = {
  run: 'path of the run below the folder, with `/`',
  step: 'optimizer steps done',
  tokens: 'training tokens seen',
  time: 'run time so far, in seconds',
  metric: 'name of the metric, as in `metrics.jsonl`',
  value: 'its value; null where it was not finite',
} as const;
type Row = readonly [string, number, number, number, string, number | null];

function valuesOf({ step: _s, tokens: _k, time: _t, ...metrics }: MetricsLine): [string, number | null][] {
  return Object.entries(metrics);
}

const rowsOf = ({ name, lines }: LoggedRun): Row[] =>
  lines.flatMap((line) =>
    valuesOf(line).map(([metric, value]): Row => [name, line.step, line.tokens, line.time, metric, value]),
  );

function parquetOf(rows: readonly Row[]): Uint8Array {
  const column = <K extends 0 | 1 | 2 | 3 | 4 | 5>(k: K) => rows.map((row) => row[k]);
  const whole = (k: 1 | 2) => column(k).map((value) => BigInt(value));
  const bytes = parquetWriteBuffer({
    columnData: [
      { name: 'run', data: column(0), type: 'STRING', nullable: false },
      { name: 'step', data: whole(1), type: 'INT64', nullable: false },
      { name: 'tokens', data: whole(2), type: 'INT64', nullable: false },
      { name: 'time', data: column(3), type: 'DOUBLE', nullable: false },
      { name: 'metric', data: column(4), type: 'STRING', nullable: false },
      { name: 'value', data: column(5), type: 'DOUBLE' },
    ],
  });
  return new Uint8Array(bytes);
}

/** What was exported. */
export interface LogExport {
  readonly out: string;
  /** How many runs: one file each. */
  readonly runs: number;
  /** Values of metrics in all. */
  readonly values: number;
  /** Bytes of all files. */
  readonly bytes: number;
}

/**
 * Writes the metrics of every run in a folder (a run, a study, or a folder with runs below it) for another tool, one
 * file a run.
 *
 * @param out a folder that is missing or empty
 * @throws ConfigError where `out` holds something or lies in the folder, or no run is there
 * @throws StoreError for a run that cannot be read, or where the disk does not take the files
 */
export function exportLogs(folder: string, to: LogFormat, out: string): LogExport {
  const found = runsBelow(folder, 0);
  if (found.length === 0)
    throw new ConfigError(`${folder} holds no run; give the folder of a run or a study, or one with runs below it`, {
      details: { folder },
    });
  if (namesIn(out).length > 0)
    throw new ConfigError(`${out} exists and is not empty; choose another folder (--out)`, { details: { out } });
  let [values, bytes] = [0, 0];
  // Each is read and written before the next: memory grows with the largest run alone.
  for (const path of found) {
    const name = path === folder ? basename(resolve(folder)) : relative(folder, path).split('\\').join('/');
    const run = { name, startedAt: startOf(path), lines: readMetricsLines(metricsPath(path)) };
    const file = FORMATS[to](run);
    const target = join(out, file.path);
    makeFolder(dirname(target));
    writeFileAtomic(target, file.bytes);
    values += run.lines.reduce((sum, line) => sum + valuesOf(line).length, 0);
    bytes += Buffer.byteLength(file.bytes);
  }
  return { out, runs: found.length, values, bytes };
}

function startOf(path: string): number {
  const ms = Date.parse(readRunConfig(path).startedAt ?? '');
  return Number.isFinite(ms) ? ms / 1000 : 0;
}

function runsBelow(folder: string, depth: number): string[] {
  if (isRunFolder(folder)) return [folder];
  if (depth > MOST_DEPTH) return [];
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (cause) {
    throw new StoreError(`${folder} cannot be read; give a folder of runs`, { details: { folder }, cause });
  }
  const inner = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name);
  return inner.sort().flatMap((name) => runsBelow(join(folder, name), depth + 1));
}
