import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DTYPES, UnsupportedOpError, type DType } from '../core/index.js';
import { createEngine, ENGINE_NAMES, ENGINES, lowerToStableHlo, type Engine } from '../engine/index.js';
import { add, and, input, makeGraph } from '../graph/index.js';
import { enginesMarkdown } from './engines-docs.js';

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'engines.md'), 'utf8');

/** The sum of two inputs, of truth values whether both hold. */
function sum(dtype: DType) {
  const [a, b] = [input('a', dtype, [2]), input('b', dtype, [2])];
  return makeGraph({ a, b }, { y: dtype === 'bool' ? and(a, b) : add(a, b) });
}

async function dtypesOf(engine: Engine): Promise<DType[]> {
  const taken: DType[] = [];
  for (const dtype of DTYPES) {
    try {
      const program = await engine.compile(sum(dtype));
      await program.dispose();
      taken.push(dtype);
    } catch (error) {
      if (!(error instanceof UnsupportedOpError)) throw error;
    }
  }
  return taken;
}

describe('docs/engines.md', () => {
  it('has what the definitions say (npm run docs makes it)', () => {
    expect(page).toBe(enginesMarkdown(page));
    for (const name of ENGINE_NAMES) expect(page).toContain(`### \`${name}\`\n`);
  });
});

describe('the definitions of engines', () => {
  it.each(['onnx', 'reference'] as const)('name the dtypes that %s computes in', async (name) => {
    const engine = createEngine(name, { threads: 1 });
    expect(await dtypesOf(engine)).toEqual(ENGINES[name].dtypes);
    await engine.dispose();
  });

  it('name dtypes of xla engines that have StableHLO', () => {
    for (const dtype of ENGINES.xla.dtypes) expect(lowerToStableHlo(sum(dtype))).toContain('stablehlo');
  });

  it.each([
    ['cuda', 'cuda', 'cuda'],
    ['tpu', 'tpu', 'tpu'],
    ['cpu', null, 'cpu'],
  ] as const)('choose the platform of a host with %s', (there, auto, xla) => {
    const hardware = { hasDevice: (p: string) => p === there || p === 'cpu', hasPlugin: () => true };
    expect(ENGINES.auto.platform(hardware)).toBe(auto);
    expect(ENGINES.xla.platform(hardware)).toBe(xla);
  });
});
