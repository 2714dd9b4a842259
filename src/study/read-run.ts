/** Run folders as the study reads them: tolerant of what it does not use, strict about what it does. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { fileError, readJson, StoreError } from '../core/index.js';
import { resolveModelConfig, type ModelConfig } from '../model/index.js';
import type { trainingTokens } from '../train/index.js';
import { readFindings, type Findings } from './findings.js';

const configSchema = z.looseObject({
  name: z.string().nullish(),
  run: z.looseObject({
    seed: z.int(),
    model: z.unknown(),
    train: z.looseObject({
      ...{ seqLen: z.int(), batchSize: z.int(), steps: z.int() },
      stages: z
        .array(z.looseObject({ from: z.int(), seqLen: z.int().optional(), batchSize: z.int().optional() }))
        .optional(),
    }),
  }),
  versions: z.record(z.string(), z.unknown()).default({}),
  engine: z.looseObject({ name: z.string() }).nullish(),
  hardware: z.record(z.string(), z.unknown()).default({}),
  startedAt: z.string().nullish(),
  resumes: z.array(z.looseObject({ at: z.string() })).default([]),
});

const statusSchema = z.looseObject({
  state: z.enum(['running', 'done', 'failed', 'interrupted']),
  step: z.number().default(0),
  tokens: z.number().default(0),
  message: z.string().nullish(),
});

const metricsLineSchema = z.looseObject({ step: z.number(), tokens: z.number() });

const evalSchema = z.looseObject({
  step: z.number(),
  tokens: z.number(),
  loss: z.number().nullable(),
  perPositionLoss: z.array(z.number().nullable()).nullish(),
  recall: z
    .looseObject({
      bins: z.array(
        z.looseObject({
          from: z.number(),
          to: z.number(),
          probability: z.number().nullable(),
          accuracy: z.number().nullable(),
          count: z.number(),
        }),
      ),
    })
    .nullish(),
  needle: z
    .looseObject({
      lengths: z.array(z.number()),
      depths: z.array(z.number()),
      accuracy: z.array(z.array(z.number().nullable())),
      probability: z.array(z.array(z.number().nullable())),
      samples: z.int().min(1).optional(),
    })
    .nullish(),
});

const headsSchema = z.looseObject({
  step: z.number(),
  tokens: z.number(),
  layers: z.array(
    z.looseObject({
      layer: z.number(),
      label: z.string(),
      heads: z.array(z.looseObject({ head: z.number(), score: z.number() })),
    }),
  ),
});

export type RunStatus = z.output<typeof statusSchema>;
export type RunEval = z.output<typeof evalSchema>;
export type RunHeads = z.output<typeof headsSchema>;

/** One measurement: a metric's value after `tokens` training tokens. */
export interface Point {
  readonly tokens: number;
  readonly value: number;
}

export interface RunRecord {
  readonly dir: string;
  readonly name: string;
  readonly seed: number;
  readonly model: ModelConfig;
  readonly train: Parameters<typeof trainingTokens>[0];
  /** The whole resolved run configuration. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly versions: Readonly<Record<string, unknown>>;
  readonly engine: Readonly<Record<string, unknown>> | null;
  readonly hardware: Readonly<Record<string, unknown>>;
  readonly status: RunStatus;
  /** From when to when it ran, in milliseconds since 1970, pauses before a resume included; null where that was not kept. */
  readonly ran: { readonly from: number; readonly to: number } | null;
  /** By metric name, in order of tokens. */
  readonly metrics: ReadonlyMap<string, readonly Point[]>;
  /** In order of steps. */
  readonly evals: readonly RunEval[];
  readonly heads: readonly RunHeads[];
  /** What analyses stored, by kind. */
  readonly findings: Findings;
}

export function isRunFolder(dir: string): boolean {
  return existsSync(join(dir, 'config.json'));
}

/** The status of a run folder; null if the run has not begun. */
export function readStatus(dir: string): RunStatus | null {
  const path = join(dir, 'status.json');
  return existsSync(path) ? parse(statusSchema, readJson(path), path) : null;
}

/**
 * Reads a run folder.
 *
 * @throws StoreError naming the file that is missing or damaged
 */
export function readRun(dir: string): RunRecord {
  if (!existsSync(dir) || !statSync(dir).isDirectory())
    throw new StoreError(`there is no run folder ${dir}`, { details: { dir } });
  const configPath = join(dir, 'config.json');
  if (!existsSync(configPath))
    throw new StoreError(`${dir} is not a run folder: it has no config.json`, { details: { dir } });
  const { name, run, versions, engine, hardware, startedAt, resumes } = parse(
    configSchema,
    readJson(configPath),
    configPath,
  );
  const inFolder = <S extends z.ZodType>(sub: string, prefix: string, schema: S) =>
    jsonFiles(join(dir, sub), prefix).map((path) => parse(schema, readJson(path), path));
  const { series, seconds } = readMeasurements(join(dir, 'metrics.jsonl'));
  const [from, last] = [Date.parse(startedAt ?? ''), Date.parse(resumes.at(-1)?.at ?? startedAt ?? '')];
  const byStep = (a: { step: number }, b: { step: number }) => a.step - b.step;
  return {
    dir,
    name: name ?? basename(resolve(dir)),
    seed: run.seed,
    model: resolveModelConfig(run.model, configPath),
    train: run.train,
    config: run,
    versions,
    engine: engine ?? null,
    hardware,
    status: readStatus(dir) ?? { state: 'running', step: 0, tokens: 0 },
    ran: Number.isFinite(from + last) ? { from, to: last + 1000 * seconds } : null,
    metrics: series,
    evals: inFolder('evals', 'step-', evalSchema).sort(byStep),
    heads: inFolder('analysis', 'retrieval-heads-step-', headsSchema).sort(byStep),
    findings: readFindings(dir),
  };
}

/**
 * The series of a metrics file. A last line without its end was being written when the process died and is left out.
 *
 * @throws StoreError naming the line that is not a measurement
 */
export function readMetrics(path: string): Map<string, Point[]> {
  return readMeasurements(path).series;
}

/** The series of a metrics file, and the seconds that its last line was written after. */
function readMeasurements(path: string): { readonly series: Map<string, Point[]>; readonly seconds: number } {
  const series = new Map<string, Point[]>();
  let seconds = 0;
  if (!existsSync(path)) return { series, seconds };
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw fileError('read', path, cause);
  }
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  lines.forEach((line, i) => {
    if (line === '') return;
    const { tokens, ...values } = parseLine(line, `${path}:${i + 1}`);
    if (typeof values['time'] === 'number') seconds = values['time'];
    for (const [name, value] of Object.entries(values)) {
      if (typeof value !== 'number' || !Number.isFinite(value) || name === 'step' || name === 'time') continue;
      const points = series.get(name) ?? [];
      points.push({ tokens, value });
      series.set(name, points);
    }
  });
  return { series, seconds };
}

function parseLine(line: string, where: string): z.output<typeof metricsLineSchema> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new StoreError(`${where} is not valid JSON: the file is damaged`, { details: { where }, cause });
  }
  return parse(metricsLineSchema, value, where);
}

function parse<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const at = result.error.issues[0]?.path.join('.');
  throw new StoreError(`${where} does not hold what it should: ${at === '' ? 'the value' : at} is wrong or missing`, {
    details: { where },
    cause: result.error,
  });
}

function jsonFiles(dir: string, prefix: string): string[] {
  if (!existsSync(dir)) return [];
  const names = readdirSync(dir).filter((name) => name.startsWith(prefix) && name.endsWith('.json'));
  return names.map((name) => join(dir, name));
}
