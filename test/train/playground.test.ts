/** What the playground's page promises: recall of what lies far back forms early beside a small window, and late beside a large one. */
import { expect, it } from 'vitest';
import { createEngine } from '../../src/engine/index.js';
import type { PlaygroundRun } from '../../src/playground/design.js';
import { Session } from '../../src/playground/session.js';

/** Recall of the farthest keys, a probability, and the strongest head's score, after so many steps. */
async function after(steps: number, window: PlaygroundRun['window']) {
  const run: PlaygroundRun = { cheap: 'swa', window, cheapCount: 2, nope: false, seed: 2 };
  const session = await Session.begin(createEngine('onnx', { threads: 1 }), run);
  while (session.step < steps) await session.train();
  const { recall, heads } = await session.measure();
  await session.dispose();
  return { far: recall.at(-1)?.probability ?? NaN, strongest: Math.max(...heads.flat()) };
}

it('a window of 8 has a retrieval head and far recall after 220 steps, a window of 32 has neither', async () => {
  const [small, large] = [await after(220, 8), await after(220, 32)];
  expect(small.far).toBeGreaterThan(0.5);
  expect(large.far).toBeLessThan(0.25);
  expect(small.strongest).toBeGreaterThan(2 * large.strongest);
});
