/**
 * What the torture tier shares: how much is done, from which seed, and the built program in a process of its own (what stands in
 * `dist`; `npm run test:torture` builds it first).
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Rng } from '../../src/core/index.js';
import { MAIN } from '../support/main.js';
import SEEDS from './seeds.json' with { type: 'json' };

const SHIM = new URL('shim.mjs', import.meta.url).href;

/** Everything (`npm run test:torture`), or a tenth of it, as in `npm test` and on every change. */
export const FULL = process.env['LONGSIGHT_TORTURE'] === 'full';

/** `full` trials, or fewer (a tenth of them, at least one). */
export const amount = (full: number, short = Math.max(1, Math.round(full / 10))): number => (FULL ? full : short);

/** What the trials are drawn from: LONGSIGHT_SEED, or the stored seed of the kind of trial. Messages name it. */
export const seedOf = (kind: keyof typeof SEEDS): number => Number(process.env['LONGSIGHT_SEED'] ?? SEEDS[kind]);

/** The random stream of one trial of a kind. */
export const trialOf = (kind: keyof typeof SEEDS, trial: number | string): Rng => Rng.of(seedOf(kind), kind, trial);

/** What `shim.mjs` does to a process; see there. */
interface Shim {
  readonly root: string;
  readonly counter: string;
  readonly kill?: readonly number[];
  readonly fail?: { readonly from: number; readonly to: number; readonly code: string };
  readonly record?: string;
}

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a command line is run. */
export interface RunOptions {
  readonly shim?: Shim;
  readonly killAfterMs?: number;
}

/** Runs a command line to its end, or kills it after some milliseconds. */
export function run(args: readonly string[], { shim, killAfterMs }: RunOptions = {}): Promise<Ending> {
  if (shim !== undefined) writeFileSync(shim.counter, '');
  const shimmed = { NODE_OPTIONS: `--import=${SHIM}`, LONGSIGHT_SHIM: JSON.stringify(shim) };
  const env = {
    ...process.env,
    LONGSIGHT_TORTURE: '',
    LONGSIGHT_LOCK_SECONDS: '2',
    ...(shim === undefined ? {} : shimmed),
  };
  const child = spawn(process.execPath, [MAIN, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  const text = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text.stderr += chunk.toString()));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ...text });
    });
  });
}

/** Does `work` for every item, `width` at a time, in order of their beginning. */
export async function inParallel<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const next = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: width }, next));
}
