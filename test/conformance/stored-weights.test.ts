/** Weights of two bytes stay so in memory on every engine, and compute what they do in float32; by kind of layer in the unit tier. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, it } from 'vitest';
import { ENGINES } from '../support/engines.js';
import { asStored, compareHeld, halved } from '../support/stored-weights.js';

const scratch = mkdtempSync(join(tmpdir(), 'longsight-stored-'));
afterAll(() => rmSync(scratch, { recursive: true }));

describe.each(ENGINES)('weights of two bytes on $name', ({ make }) => {
  it('stay bf16', () => compareHeld(asStored('llama-shards-bf16'), 'bf16', make));
  it('stay half precision', () => compareHeld(halved(scratch, 'qwen3-next-tied', 'f16'), 'f16', make));
});
