import { join } from 'node:path';
import { expect, it } from 'vitest';
import { HeadTracer, type TraceSample } from '../../../src/analysis/index.js';
import { readJson } from '../../../src/core/index.js';
import { createOnnxEngine } from '../../../src/engine/index.js';
import { readSmolLM3 } from '../model/hugging-face.js';

const FOLDER = join(import.meta.dirname, '..', '..', 'data', 'retrieval-heads');

it('scores heads as the published script does, given its query and its needle tokens', async () => {
  const { config, params } = readSmolLM3(FOLDER);
  const rows = readJson(join(FOLDER, 'samples.json')) as { tokens: number[]; needleSpan: [number, number] }[];
  const { layer_head_scores: expected } = readJson(join(FOLDER, 'expected.json')) as { layer_head_scores: number[][] };
  const samples = rows.map(({ tokens, needleSpan }): TraceSample => ({
    tokens: Int32Array.from(tokens),
    queryPosition: tokens.length - 1,
    needleSpan,
  }));
  const engine = createOnnxEngine();
  const tracer = await HeadTracer.create({ engine, config }, samples, { queryFromEnd: 2 });
  const tensors = Object.fromEntries([...params].map(([name, t]) => [name, engine.upload(t)]));
  const { layers } = await tracer.trace(tensors, { step: 0, tokens: 0 });
  layers.forEach(({ heads }, layer) => {
    heads.forEach(({ score }, head) => expect(score).toBeCloseTo(expected[layer]?.[head] ?? NaN, 6));
  });
  await tracer.dispose();
  await engine.dispose();
});
