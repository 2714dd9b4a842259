/** Reading a run folder: tolerant of what is not used, strict about what is. */
import { basename, resolve } from 'node:path';
import { existsSync } from 'node:fs';
import type { z } from 'zod';
import { readJson, writeJsonAtomic, configPath, evalsFolder, findingsFolder, metricsPath } from '../core/index.js';
import { resolveModelConfig, type ModelConfig } from '../model/index.js';
import { readRunConfig, type StoredConfig } from './config.js';
import { readMetrics, type Point } from './metrics.js';
import { evalPath, findingPath } from './paths.js';
import { readStatus, type RunStatus } from './status.js';
import { readSteps } from './stored.js';

/** A schema of results that say which checkpoint they are about. */
export type StepSchema = z.ZodType<{ readonly step: number; readonly tokens: number }>;

/** Schemas of findings, by the kind that their files are named for. */
export type FindingSchemas = Readonly<Record<string, StepSchema>>;

/** Findings by kind, each list in order of steps. */
export type StoredFindings<F extends FindingSchemas> = { readonly [K in keyof F]: readonly z.output<F[K]>[] };

/** What a run folder holds; `Eval` is an evaluation record, `Found` the findings by kind. */
export interface StoredRunFolder<Eval, Found> {
  readonly dir: string;
  readonly name: string;
  readonly seed: number;
  readonly model: ModelConfig;
  readonly train: StoredConfig['run']['train'];
  /** The whole resolved run configuration. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly versions: Readonly<Record<string, unknown>>;
  readonly engine: Readonly<Record<string, unknown>> | null;
  readonly hardware: Readonly<Record<string, unknown>>;
  /**
   * Where it was put at its start and at each resume, such as `cuda:0`, each named once; empty where that was not kept.
   */
  readonly places: readonly string[];
  /** The study that trained it and the name that it has there, where a study took it over from another. */
  readonly reused?: { readonly study: string; readonly run: string };
  readonly status: RunStatus;
  /**
   * From when to when it ran, in milliseconds since 1970, pauses before a resume included; null where that was not
   * kept.
   */
  readonly ran: { readonly from: number; readonly to: number } | null;
  /** The measured points of each metric, in order of tokens. */
  readonly metrics: ReadonlyMap<string, readonly Point[]>;
  /** Evaluation records at checkpoints, in order of steps. */
  readonly evals: readonly Eval[];
  /** What analyses stored, by kind. */
  readonly findings: Found;
}

/**
 * Reads a run folder.
 *
 * @param evals reads an evaluation record
 * @param findings read findings, by kind
 * @throws StoreError naming the file that is missing or damaged
 */
export function readRunFolder<E extends StepSchema, F extends FindingSchemas>(
  dir: string,
  evals: E,
  findings: F,
): StoredRunFolder<z.output<E>, StoredFindings<F>> {
  const { name, run, versions, engine, hardware, place, reused, startedAt, resumes } = readRunConfig(dir);
  const { series, seconds } = readMetrics(metricsPath(dir));
  const [from, last] = [Date.parse(startedAt ?? ''), Date.parse(resumes.at(-1)?.at ?? startedAt ?? '')];
  return {
    dir,
    name: name ?? basename(resolve(dir)),
    seed: run.seed,
    model: resolveModelConfig(run.model, configPath(dir)),
    train: run.train,
    config: run,
    versions,
    engine: engine ?? null,
    hardware,
    places: [...new Set([place, ...resumes.map((resume) => resume.place)].filter((p) => p !== undefined))],
    ...(reused === undefined ? {} : { reused }),
    status: readStatus(dir) ?? { state: 'running', step: 0, tokens: 0 },
    ran: Number.isFinite(from + last) ? { from, to: last + 1000 * seconds } : null,
    metrics: series,
    evals: readSteps(evalsFolder(dir), '', evals),
    findings: readFindings(dir, findings),
  };
}

/**
 * The findings of a run folder; empty lists where nothing was analyzed.
 *
 * @throws StoreError naming the file that is damaged
 */
export function readFindings<F extends FindingSchemas>(dir: string, schemas: F): StoredFindings<F> {
  const read = (kind: string, schema: StepSchema) =>
    readSteps(findingsFolder(dir), `${kind}-`, schema, '; delete it and analyze again').map(withoutOrigin);
  const lists = Object.entries(schemas).map(([kind, schema]) => [kind, read(kind, schema)]);
  return Object.fromEntries(lists) as StoredFindings<F>;
}

/** The fingerprint of what a finding was made from is for `hasFinding` alone. */
function withoutOrigin<T extends object>(finding: T): T {
  const { of: _of, ...rest } = finding as T & { of?: unknown };
  return rest as T;
}

/**
 * What a run folder holds of a finding: one made from the contents whose fingerprint is `of` (`same`), from others or
 * from what is not known (`other`), or none. Throws `StoreError` if the file cannot be read.
 */
export function hasFinding(dir: string, kind: string, step: number, of: string): 'same' | 'other' | 'none' {
  const path = findingPath(dir, kind, step);
  if (!existsSync(path)) return 'none';
  const found = readJson(path);
  return typeof found === 'object' && found !== null && 'of' in found && found.of === of ? 'same' : 'other';
}

/**
 * Writes a finding about the checkpoint of `value.step` into a run folder; returns the file's path. Throws
 * `StoreError`.
 */
export function writeFinding(dir: string, kind: string, value: { readonly step: number }): string {
  const path = findingPath(dir, kind, value.step);
  writeJsonAtomic(path, value);
  return path;
}

/** Writes the evaluation record of a checkpoint into a run folder; returns the file's path. Throws `StoreError`. */
export function writeEval(dir: string, record: { readonly step: number }): string {
  const path = evalPath(dir, record.step);
  writeJsonAtomic(path, record);
  return path;
}
