import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ConfigError } from './errors.js';
import { nearest, parseConfig } from './schema.js';

const Source = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('recall'), weight: z.number().positive().default(1) }),
  z.strictObject({ kind: z.literal('text'), files: z.array(z.string()).min(1) }),
]);
const Run = z.strictObject({
  seed: z.int().default(0),
  model: z
    .strictObject({
      window: z.int().min(1).default(8),
      top: z.int().max(99).optional(),
      hiddenSize: z.int(),
      schedule: z.enum(['cosine', 'wsd']).default('wsd'),
    })
    .refine((m) => m.hiddenSize % 2 === 0, { message: 'must be even', path: ['hiddenSize'] }),
  data: z
    .union([Source, z.array(Source)])
    .transform((data) => [data].flat())
    .optional(),
  list: z.array(Source).optional(),
  keep: z.union([z.literal('all'), z.int().min(1)]).default('all'),
});

function messageOf(value: unknown, where = ''): string {
  try {
    parseConfig(Run, value, where);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  throw new Error('expected a ConfigError');
}

const model = { hiddenSize: 4 };

describe('parseConfig', () => {
  it('fills in defaults', () => {
    const run = parseConfig(Run, { model }, 'x');
    expect(run).toEqual({ seed: 0, model: { window: 8, hiddenSize: 4, schedule: 'wsd' }, keep: 'all' });
  });

  it.each([
    [{ model: { ...model, windw: 1 } }, 'unknown key "windw" in model; did you mean "window"?'],
    [{ model: { ...model, hidden_size: 1 } }, 'unknown key "hidden_size" in model; did you mean "hiddenSize"?'],
    [{ model: { ...model, n_embd: 1 } }, 'unknown key "n_embd" in model; did you mean "hiddenSize"?'],
    [
      { model: { ...model, lr_scheduler_type: 1 } },
      'unknown key "lr_scheduler_type" in model; did you mean "schedule"?',
    ],
    [{ model, hidden_size: 1 }, 'unknown key "hidden_size"; did you mean "model.hiddenSize"?'],
    [{ model, scheduler: 1 }, 'unknown key "scheduler"; did you mean "model.schedule"?'],
    [{ model, data: { kind: 'recall', seed: 1 } }, 'unknown key "seed" in data; it stands at the top level'],
    [{ model, sed: 1 }, 'unknown key "sed"; did you mean "seed"?'],
    [{ model, zzzzzz: 1 }, 'unknown key "zzzzzz"; valid keys: seed, model, data, list, keep'],
    [{ model: { hiddenSize: '4' } }, 'model.hiddenSize must be a number, got "4"'],
    [{ model: { hiddenSize: 4.5 } }, 'model.hiddenSize must be a whole number, got 4.5'],
    [{ model: {} }, 'model.hiddenSize is missing; expected a number'],
    [{}, 'model is missing; expected an object'],
    [{ model: { ...model, window: 0 } }, 'model.window must be at least 1, got 0'],
    [{ model: { hiddenSize: 3 } }, 'model.hiddenSize: must be even'],
    [
      { model: { ...model, schedule: 'cosin' } },
      'model.schedule must be one of cosine, wsd, got "cosin"; did you mean "cosine"?',
    ],
    [{ model, list: [{ kind: 'txt' }] }, 'list[0].kind must be one of recall, text, got "txt"; did you mean "text"?'],
    [{ model, data: { kind: 'txt' } }, 'data.kind must be one of recall, text, got "txt"; did you mean "text"?'],
    [{ model, data: [{ kind: 'txt' }] }, 'data[0].kind must be one of recall, text, got "txt"; did you mean "text"?'],
    [{ model, list: [{ kind: 'recall', wieght: 1 }] }, 'unknown key "wieght" in list[0]; did you mean "weight"?'],
    [{ model, list: [{ kind: 'text', files: [] }] }, 'list[0].files must have at least 1 entry, got a list of 0'],
    [{ model, list: [{ kind: 'recall', weight: 0 }] }, 'list[0].weight must be more than 0, got 0'],
    [{ model, data: [{ kind: 'recall', wieght: 1 }] }, 'unknown key "wieght" in data[0]; did you mean "weight"?'],
    [{ model, data: { kind: 'recall', wieght: 1 } }, 'unknown key "wieght" in data; did you mean "weight"?'],
    [{ model: { ...model, window: -1e18 } }, 'model.window must be at least 1, got -1000000000000000000'],
    [{ model: { ...model, top: 1e18 } }, 'model.top must be at most 99, got 1000000000000000000'],
    [{ model, keep: 1e18 }, 'keep must be at most 9007199254740991, got 1000000000000000000'],
    [{ model, keep: -1e18 }, 'keep must be at least 1, got -1000000000000000000'],
    [{ model, keep: 0 }, 'keep must be at least 1, got 0'],
    [{ model, keep: 'some' }, 'keep must be "all" or a number, got "some"'],
    [[], 'the value must be an object, got a list of 0'],
  ])('describes %j', (value, message) => {
    expect(messageOf(value)).toBe(message);
  });

  it('names the choices of a union inside a default', () => {
    const schema = z.strictObject({ source: Source.default({ kind: 'recall', weight: 1 }) });
    expect(() => parseConfig(schema, { source: { kind: 'txt' } }, '')).toThrow(
      'source.kind must be one of recall, text, got "txt"; did you mean "text"?',
    );
  });

  it('opens with the place and joins several problems in one sentence', () => {
    expect(messageOf({ model: { hiddenSize: 'a', windw: 1 } }, 'run.yaml')).toBe(
      'run.yaml: model.hiddenSize must be a number, got "a"; unknown key "windw" in model; did you mean "window"?',
    );
  });
});

describe('nearest', () => {
  it('finds slips and differences of case, and nothing far away', () => {
    expect(nearest('windw', ['window', 'width'])).toBe('window');
    expect(nearest('HIDDEN_SIZE', ['hiddenSize'])).toBe('hiddenSize');
    expect(nearest('banana', ['window', 'width'])).toBeUndefined();
    expect(nearest('x', [])).toBeUndefined();
  });
});
