/**
 * Run folders: `config.json` (what was asked for, with versions and hardware), `status.json`, `metrics.jsonl`,
 * `checkpoints/`, `evals/`, `analysis/`.
 */
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { fileError, readJson, StoreError, writeJsonAtomic } from '../core/index.js';
import type { EngineInfo } from '../engine/index.js';
import type { DataConfig } from '../data/index.js';
import type { ModelConfig } from '../model/index.js';
import type { TrainConfig } from './config.js';

/** The parts of a resolved run configuration that decide the numbers of a run. A whole one may hold more. */
export interface RunConfig {
  readonly seed: number;
  readonly model: ModelConfig;
  readonly data: DataConfig;
  readonly train: TrainConfig;
}

export type RunState = 'running' | 'done' | 'failed' | 'interrupted';

export interface RunStatus {
  readonly state: RunState;
  readonly step: number;
  readonly tokens: number;
  readonly message?: string;
}

const CONFIG_FILE = 'config.json';
const STATUS_FILE = 'status.json';

export const METRICS_FILE = 'metrics.jsonl';
export const LOCK_FILE = 'run.lock';

/** Settings of `train` that change no number of a run, so that a resumed run may have others. */
const FREE_SETTINGS: readonly string[] = ['logEvery', 'evalEvery', 'checkpointEvery', 'keepCheckpoints'];
const MAX_LISTED = 3;

const configSchema = z.looseObject({
  format: z.literal(1),
  run: z.looseObject({ seed: z.unknown(), model: z.unknown(), data: z.unknown(), train: z.unknown() }),
  resumes: z.array(z.unknown()).default([]),
});

export function holdsRun(dir: string): boolean {
  return existsSync(join(dir, CONFIG_FILE));
}

/** @throws StoreError if the folder holds a run, or other things */
export function checkFree(dir: string): void {
  if (holdsRun(dir)) {
    throw new StoreError(`${dir} already holds a run; resume it (--resume) or choose another folder`, {
      details: { dir },
    });
  }
  let stat;
  try {
    stat = statSync(dir, { throwIfNoEntry: false });
  } catch (cause) {
    throw fileError('make run folder', dir, cause);
  }
  if (stat !== undefined && !stat.isDirectory()) {
    throw new StoreError(`${dir} is a file; choose another folder for the run`, { details: { dir } });
  }
  if (stat !== undefined && readdirSync(dir).some((name) => !name.startsWith(LOCK_FILE))) {
    throw new StoreError(`${dir} exists, is not empty and holds no run; choose another folder`, { details: { dir } });
  }
}

/** Writes `config.json` of a new run. */
export function writeRunConfig(dir: string, name: string | null, run: RunConfig, engine: EngineInfo): void {
  writeJsonAtomic(join(dir, CONFIG_FILE), {
    format: 1,
    name,
    run,
    ...environment(engine),
    startedAt: new Date().toISOString(),
    resumes: [],
  });
}

/** @throws StoreError unless the folder's run is the one that `run` describes; names the first fields that differ */
export function checkSameRun(dir: string, run: RunConfig): void {
  checkSame(`${dir} holds another run`, numbersOf(readRunConfig(dir).run as unknown as RunConfig), numbersOf(run));
}

/** Adds to `config.json` when, from which step and on what a run is resumed. */
export function noteResume(dir: string, engine: EngineInfo, step: number): void {
  const stored = readRunConfig(dir);
  const resumes = [...stored.resumes, { step, at: new Date().toISOString(), ...environment(engine) }];
  writeJsonAtomic(join(dir, CONFIG_FILE), { ...stored, resumes });
}

function readRunConfig(dir: string): z.output<typeof configSchema> {
  const path = join(dir, CONFIG_FILE);
  const result = configSchema.safeParse(readJson(path));
  if (result.success) return result.data;
  const at = result.error.issues[0]?.path.join('.') ?? '';
  throw new StoreError(`${path} is not the configuration of a run: ${at} is wrong or missing`, { cause: result.error });
}

function numbersOf({ seed, model, data, train }: RunConfig): Record<string, unknown> {
  const settings = Object.entries(train).filter(([key]) => !FREE_SETTINGS.includes(key));
  return { model, data, train: Object.fromEntries(settings), seed };
}

/** @throws StoreError opened by `what` and naming the first fields in which two JSON values differ */
export function checkSame(what: string, stored: unknown, wanted: unknown): void {
  const found = differences(stored, JSON.parse(JSON.stringify(wanted)), '');
  if (found.length === 0) return;
  const listed = found.slice(0, MAX_LISTED).join('; ');
  const more = found.length > MAX_LISTED ? `; and ${found.length - MAX_LISTED} more` : '';
  throw new StoreError(`${what}: ${listed}${more}; use the same configuration or another folder`, {
    details: { differences: found },
  });
}

function differences(stored: unknown, wanted: unknown, path: string): string[] {
  const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null;
  if (isObject(stored) && isObject(wanted) && Array.isArray(stored) === Array.isArray(wanted)) {
    const keys = new Set([...Object.keys(stored), ...Object.keys(wanted)]);
    const inside = (key: string) => (Array.isArray(wanted) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`);
    return [...keys].flatMap((key) => differences(stored[key], wanted[key], inside(key)));
  }
  const show = (v: unknown) => (v === undefined ? 'nothing' : JSON.stringify(v));
  return stored === wanted ? [] : [`${path} was ${show(stored)}, now ${show(wanted)}`];
}

export function writeStatus(dir: string, status: RunStatus): void {
  writeJsonAtomic(join(dir, STATUS_FILE), status);
}

/** Removes evaluations and analyses of steps after `step`, left by a process that died before its next checkpoint. */
export function removeResultsAfter(dir: string, step: number): void {
  for (const folder of ['evals', 'analysis']) {
    const path = join(dir, folder);
    if (!existsSync(path)) continue;
    for (const name of readdirSync(path)) {
      const match = /step-(\d+)\./.exec(name);
      if (match === null || Number(match[1]) <= step) continue;
      try {
        rmSync(join(path, name));
      } catch (cause) {
        throw fileError('remove', join(path, name), cause);
      }
    }
  }
}

/** Versions, engine and hardware: what numbers and speed depend on beside the configuration. */
function environment(engine: EngineInfo): Record<string, unknown> {
  const processors = cpus();
  return {
    versions: { longsight: packageVersion(), node: process.versions.node, [engine.name]: engine.library },
    engine,
    hardware: {
      platform: `${platform()} ${release()} ${arch()}`,
      cpu: processors[0]?.model ?? 'unknown',
      cores: processors.length,
      memoryBytes: totalmem(),
    },
  };
}

function packageVersion(): string {
  const path = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
