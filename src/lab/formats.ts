/** The files that measures write into a run folder, as docs/formats.md describes them. */
import type { FileFormat } from '../core/index.js';
import { evalRecordSchema } from './measures/record.js';
import { MEASURE_NAMES, MEASURES } from './measures/table.js';

const findings = MEASURE_NAMES.flatMap((name): FileFormat[] => {
  const { stored, schema, reference } = MEASURES[name];
  if (stored === 'record') return [];
  return [
    {
      path: `analysis/${stored.finding}-step-N.json`,
      type: 'JSON',
      holds: `what the measure \`${name}\` found at a checkpoint`,
      fields: schema,
      elsewhere: {
        fields: Object.keys(schema.shape),
        where: `Fields: those of the [measure](measures.md#${reference.title.toLowerCase().replaceAll(' ', '-')}).`,
      },
    },
  ];
});

const inRecord = MEASURE_NAMES.flatMap((name) =>
  MEASURES[name].stored === 'record' ? Object.keys(MEASURES[name].schema.shape) : [],
);

/** The files of `RUN` that measures write. */
export const MEASURED_FILES: readonly FileFormat[] = [
  {
    path: 'evals/step-N.json',
    type: 'JSON',
    holds: 'what an evaluation at a checkpoint found',
    fields: evalRecordSchema,
    elsewhere: { fields: inRecord, where: 'The other fields are those of each [measure](measures.md).' },
  },
  ...findings,
];
