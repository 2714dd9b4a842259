import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ALIASED_NAMES, knownAs } from '../core/index.js';
import { studySchema } from './plan.js';
import { documentedRunSchema } from '../lab/index.js';

/** The words of layer patterns that no schema lists. */
const PATTERN_WORDS = ['full', 'swa', 'nope'];

describe('aliases', () => {
  const text = [documentedRunSchema, studySchema]
    .map((schema) => JSON.stringify(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })))
    .join();

  it.each(ALIASED_NAMES)('lead to %s, which a configuration can hold', (name) => {
    expect(PATTERN_WORDS.includes(name) || text.includes(`"${name}"`)).toBe(true);
  });

  it('are asked only where no key has the name', () => {
    expect(knownAs('width', ['hiddenSize', 'width'])).toBe('width');
    expect(knownAs('width', ['hiddenSize'])).toBe('hiddenSize');
    expect(knownAs('width', ['lr'])).toBeUndefined();
  });
});
