/** The files of a run folder that training writes, as docs/formats.md describes them. */
import { z } from 'zod';
import { field, type FileFormat } from '../core/index.js';
import { stateSchema } from './checkpoint.js';
import { LOG_COLUMNS } from './log-export.js';
import { statusSchema } from './status.js';

const moment = field(z.string(), 'when, as ISO 8601 in UTC');

/** Versions, engine and hardware, as they are noted at the start and at each resume. */
const environment = {
  versions: field(
    z.record(z.string(), z.string()),
    'versions by name: `longsight`, `node`, and the library of the engine',
  ),
  engine: field(
    z.strictObject({
      name: field(z.string(), 'name of the engine'),
      library: field(z.string(), 'the library that computes, with its version'),
      threads: field(z.int(), 'worker threads of one operation', 'threads'),
      reason: field(z.string(), 'why this engine with these settings was taken'),
      mesh: field(z.record(z.string(), z.int()).optional(), 'devices along each axis of the mesh', 'devices'),
    }),
    'the engine that computed',
  ),
  place: field(z.string().optional(), 'where a study put the run, such as `cuda:0`'),
  hardware: field(
    z.strictObject({
      platform: field(z.string(), 'operating system, its release, and the architecture of the processor'),
      cpu: field(z.string(), 'model of the processor'),
      cores: field(z.int(), 'cores of the machine', 'cores'),
      memoryBytes: field(z.int(), 'memory of the machine', 'bytes'),
    }),
    'the machine',
  ),
};

const config = z.strictObject({
  format: field(z.literal(1), 'version of the format'),
  name: field(z.string().nullable(), 'name of the run; null where the run file has none'),
  run: field(
    z.record(z.string(), z.unknown()),
    'the run file with every default filled in; [its keys](config.md#run-files)',
  ),
  initial: field(
    z
      .strictObject({
        kept: field(z.int(), 'parameters that were taken over', 'parameters'),
        fresh: field(z.array(z.string()), 'names of parameters that the source does not have and that started anew'),
        left: field(z.array(z.string()), 'names of parameters of the source that have no place'),
      })
      .optional(),
    'of runs with `train.init`: what became of the weights',
  ),
  reused: field(
    z
      .strictObject({
        study: field(z.string(), 'name of the study that trained it'),
        run: field(z.string(), 'name that the run has there'),
      })
      .optional(),
    'of runs that a study took over from another (`--reuse`)',
  ),
  ...environment,
  startedAt: moment,
  resumes: field(
    z.array(
      z.strictObject({
        step: field(z.int(), 'step that the run went on from', 'steps'),
        from: field(z.string().optional(), 'run of the same study whose beginning it took over'),
        at: moment,
        changed: field(
          z
            .array(
              z.strictObject({
                path: field(z.string(), 'key that changed, such as `train.steps`'),
                was: field(z.unknown().optional(), 'value before'),
                now: field(z.unknown().optional(), 'value from now on'),
              }),
            )
            .optional(),
          'settings that changed',
        ),
        ...environment,
      }),
    ),
    'every time that the run went on, oldest first',
  ),
});

const line = z
  .object({
    step: field(z.int(), 'optimizer steps done', 'steps'),
    tokens: field(z.int(), 'training tokens seen', 'tokens'),
    time: field(z.number(), 'run time so far, resumes included', 'seconds'),
  })
  .catchall(z.number().nullable());

/** The files of `RUN` that training writes. */
export const RUN_FILES: readonly FileFormat[] = [
  {
    path: 'config.json',
    type: 'JSON',
    holds: 'what the run was asked for, and what its numbers and its speed depend on beside that',
    fields: config,
  },
  {
    path: 'status.json',
    type: 'JSON',
    holds: 'whether the run goes on, how far it is, and why it ended; `running` where a process was killed',
    fields: statusSchema,
  },
  {
    path: 'metrics.jsonl',
    type: 'JSON, one object a line, append-only',
    holds: 'measurements while training; a value that is not finite is null',
    fields: line,
  },
  {
    path: 'checkpoints/step-N/model.safetensors',
    type: 'safetensors, float32',
    holds: 'the parameters; [their names and shapes](run-folders.md#tensors)',
    fields: null,
  },
  {
    path: 'checkpoints/step-N/optimizer.safetensors',
    type: 'safetensors, float32',
    holds: '`m.NAME` and `v.NAME`: means of gradients and of their squares, of the shapes of the parameters',
    fields: null,
  },
  {
    path: 'checkpoints/step-N/state.json',
    type: 'JSON',
    holds: 'what training goes on with beside tensors',
    fields: stateSchema,
  },
  {
    path: 'branches/step-N/',
    type: 'folder',
    holds:
      'a state, with the files of a checkpoint, that other runs of the study go on from; there until they are done',
    fields: null,
  },
  {
    path: 'run.lock/N',
    type: 'JSON in the first line',
    holds: 'the process that works in the folder ([locks](durability.md#locks))',
    fields: null,
  },
];

/** The files of `longsight log export`. */
export const LOG_FILES: readonly FileFormat[] = [
  {
    path: 'RUN/events.out.tfevents.SECONDS.longsight',
    type: "TensorBoard's event file",
    holds: 'a scalar for each metric at each step, and `tokens`; float32, null is NaN',
    fields: null,
  },
  {
    path: 'RUN.csv, RUN.parquet',
    type: 'CSV or Parquet',
    holds: 'a row for each value; null is an empty field',
    fields: null,
    parts: { head: ['column', 'meaning'], rows: Object.entries(LOG_COLUMNS) },
  },
];
