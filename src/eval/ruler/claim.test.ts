import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { messageOf, temporaryFolder } from '../../../test/support/folders.js';
import { claimPredictions } from './claim.js';

const sample = (prompt: string, ...outputs: string[]) => ({ index: 0, prompt, outputs });
const SETTINGS = { 'answer tokens': 4, truncation: false };
const OF = { weights: 'w', tokenizers: 't' };
const [a, b] = [sample('a', 'x'), sample('b', 'y')];

describe('a folder of predictions', () => {
  it.each([
    ['weights', { ...OF, weights: 'v' }, SETTINGS, [a, b], 'weights differ'],
    ['tokenizers', { ...OF, tokenizers: 'v' }, SETTINGS, [a, b], 'tokenizers differ'],
    ['prompts', OF, SETTINGS, [a, sample('c', 'y')], 's-64: sample 1 differs'],
    ['references', OF, SETTINGS, [sample('a', 'z'), b], 's-64: sample 0 differs'],
    ['order', OF, SETTINGS, [b, a], 's-64: sample 0 differs'],
    ['numbers', OF, SETTINGS, [a], 's-64: 2 samples there, 1 here'],
    ['answers', OF, { ...SETTINGS, 'answer tokens': 12 }, [a, b], 's-64: answer tokens was 4, now 12'],
    ['cuts', OF, { ...SETTINGS, truncation: true }, [a, b], 's-64: truncation was false, now true'],
  ])('is refused to other %s, and nothing is written', (_, of, settings, samples, what) => {
    const dir = temporaryFolder();
    claimPredictions(dir, OF, [{ name: 's-64', settings: SETTINGS, samples: [a, b] }])();
    const before = readFileSync(join(dir, 'run.json'), 'utf8');
    expect(messageOf(() => claimPredictions(dir, of, [{ name: 's-64', settings, samples }]))).toBe(
      `${dir} holds predictions of another model or other samples (${what}); choose another folder (--out)`,
    );
    expect(readFileSync(join(dir, 'run.json'), 'utf8')).toBe(before);
  });

  it('goes on with the same samples and other files', () => {
    const dir = temporaryFolder();
    const file = (name: string, ...samples: (typeof a)[]) => ({ name, settings: SETTINGS, samples });
    claimPredictions(dir, OF, [file('s-64', a)], { model: 'here' })();
    claimPredictions(dir, { tokenizers: 't', weights: 'w' }, [file('s-64', a)], { model: 'moved' })();
    claimPredictions(dir, OF, [file('s-64', a), file('s-128', b)])();
    claimPredictions(dir, OF, [file('s-128', b)])();
    expect(messageOf(() => claimPredictions(dir, OF, [file('s-64', a, b)]))).toMatch('1 samples there, 2 here');
  });

  it('that does not say what it holds is refused', () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 's-64.jsonl'), '');
    const claim = () => claimPredictions(dir, OF, [{ name: 's-64', settings: SETTINGS, samples: [a] }]);
    expect(messageOf(claim)).toMatch(/\(run\.json does not know s-64\.jsonl\); choose another folder \(--out\)$/);
    writeFileSync(join(dir, 'run.json'), '{"format": 1, "model": "m"}');
    expect(messageOf(claim)).toMatch(
      /\(run\.json does not say what they were made from\); choose another folder \(--out\)$/,
    );
  });
});
