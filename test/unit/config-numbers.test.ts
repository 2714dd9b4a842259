/** Every number that a run file, a study file or an option of an analysis may hold is bounded by what float32 holds. */
import { expect, it } from 'vitest';
import type { z } from 'zod';
import { ANALYSES, documentedRunSchema, PRINTED_ANALYSES } from '../../src/lab/index.js';
import { studySchema } from '../../src/study/index.js';

type Schema = z.core.$ZodTypes;

/** The schemas of numbers that need not be whole, by path. */
function* numbersOf(schema: Schema, path: string): Generator<[string, Schema]> {
  const { def } = schema._zod;
  const inside = (child: z.core.$ZodType, part = '') => numbersOf(child as Schema, path + part);
  if (def.type === 'number') {
    if (!('format' in def)) yield [path, schema];
  } else if (def.type === 'object') {
    for (const [key, child] of Object.entries(def.shape)) yield* inside(child, `.${key}`);
  } else if (def.type === 'array') yield* inside(def.element, '[]');
  else if (def.type === 'tuple') for (const item of def.items) yield* inside(item, '[]');
  else if (def.type === 'record') yield* inside(def.valueType, '{}');
  else if (def.type === 'union') for (const option of def.options) yield* inside(option);
  else if (def.type === 'pipe') yield* inside(def.in);
  else if (def.type === 'lazy') yield* inside(def.getter());
  else if ('innerType' in def) yield* inside(def.innerType);
}

const analyses = Object.entries({ ...ANALYSES, ...PRINTED_ANALYSES });
const numbers = [
  ...numbersOf(documentedRunSchema, 'run'),
  ...numbersOf(studySchema, 'study'),
  ...analyses.flatMap(([kind, { options }]) => [...numbersOf(options as unknown as Schema, kind)]),
];

it('finds the numbers', () => {
  const paths = numbers.map(([path]) => path);
  expect(paths).toEqual(
    expect.arrayContaining(['run.model.ropeTheta', 'run.model.ropeScaling.factor', 'run.train.lr', 'run.train.eps']),
  );
  expect(paths.length).toBeGreaterThan(50);
});

it.each(numbers)('%s takes no number that float32 does not hold', (_path, schema) => {
  const accepts = (value: number) => (schema as unknown as z.ZodType).safeParse(value).success;
  expect([1e-300, 1e-39, -1e-39, 2 ** -127, 1e39, -1e39].filter(accepts)).toEqual([]);
});
