/** The files of a study folder, as docs/formats.md describes them. */
import { z } from 'zod';
import { field, type FileFormat } from '../core/index.js';
import { submissionSchema } from './executors/slurm-submissions.js';

const plan = z.strictObject({
  format: field(z.literal(1), 'version of the format'),
  name: field(z.string(), 'name of the study'),
  title: field(z.string(), 'title of its report'),
  question: field(z.string().nullable(), 'question that it asks; null for none'),
  compare: field(z.record(z.string(), z.unknown()), 'how designs are compared; [its keys](config.md#study-files)'),
  study: field(
    z.record(z.string(), z.unknown()),
    'the study file with its base written out and defaults filled in; [its keys](config.md#study-files)',
  ),
  set: field(z.array(z.tuple([z.string(), z.unknown()])), 'settings laid over every run (`--set`): path and value'),
  architectures: field(
    z.array(
      z.strictObject({
        label: field(z.string(), 'name of the design'),
        layers: field(z.string(), 'its layers as a pattern'),
      }),
    ),
    'the designs, in the order of the study file',
  ),
  runs: field(
    z.array(
      z.strictObject({
        name: field(z.string(), 'name of the run and of its folder'),
        arm: field(z.enum(['main', 'long']), 'part of the study that it belongs to'),
        architecture: field(z.string(), 'label of its design'),
        seed: field(z.int(), 'its seed'),
        point: field(z.record(z.string(), z.unknown()), 'its settings of the grid, by path'),
        config: field(
          z.record(z.string(), z.unknown()),
          'its run file, defaults filled in; [its keys](config.md#run-files)',
        ),
      }),
    ),
    'every run',
  ),
});

/** The files of `STUDY`. */
export const STUDY_FILES: readonly FileFormat[] = [
  { path: 'study.json', type: 'JSON', holds: 'the plan: every run with its whole configuration', fields: plan },
  { path: 'study.yaml', type: 'YAML', holds: 'the study file that repeats the study from anywhere', fields: null },
  { path: 'runs/NAME/', type: 'folder', holds: 'a run folder', fields: null },
  { path: 'logs/NAME.log', type: 'text', holds: 'what the worker of a run printed', fields: null },
  {
    path: 'workers/NAME.json',
    type: 'JSON',
    holds: 'the process that works on a run (host, number, start); there while it does',
    fields: null,
  },
  {
    path: 'slurm/N/submission.json',
    type: 'JSON',
    holds:
      'a job array that `--executor slurm` submitted; beside it the script, the names of the runs, the output of tasks, and, of runs over several nodes, the secret that their processes share',
    fields: submissionSchema,
  },
  {
    path: 'study.lock/N',
    type: 'JSON in the first line',
    holds: 'the process that works in the folder ([locks](durability.md#locks))',
    fields: null,
  },
];
