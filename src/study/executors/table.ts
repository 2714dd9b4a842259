/** The executors of studies. A new one is a definition in a file beside this one, and a line here. */
import { z } from 'zod';
import { hasOptions, type Executor } from './contract.js';
import { local } from './local.js';
import { manifest } from './manifest.js';
import { slurm } from './slurm.js';

/** Every executor, by what `--executor` takes. */
export const EXECUTORS = { local, slurm, manifest } as const satisfies Readonly<Record<string, Executor>>;

/** What `--executor` takes. */
export type ExecutorName = keyof typeof EXECUTORS;

/** The names of all executors, in the order of the table. */
export const EXECUTOR_NAMES = Object.keys(EXECUTORS).filter((name): name is ExecutorName => name in EXECUTORS);

/** `executors` of a study file: the options of each executor that has some. */
export const executorsSchema = z.strictObject(
  Object.fromEntries(
    Object.entries<Executor>(EXECUTORS).flatMap(([name, executor]) =>
      hasOptions(executor) ? [[name, executor.options.optional().describe(executor.summary)] as const] : [],
    ),
  ),
);
