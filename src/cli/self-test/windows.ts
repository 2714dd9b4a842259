/** Attention of an engine at the edges of windows, held against the reference in float64. */
import { messageOf } from '../../core/index.js';
import { createEngine, type Engine, type EngineName } from '../../engine/index.js';
import { checkAttention, WINDOW_EDGES } from '../../lab/index.js';
import type { Outcome, SelfCheck } from './definition.js';

/** The check of an engine; one that is not installed is left out unless it was `asked` for. */
export function windowsOn(name: EngineName, asked: boolean, threads?: number): SelfCheck {
  const make = (): Engine => createEngine(name, threads === undefined ? {} : { threads });
  return { name: `windows on ${name}`, run: () => windowsOf(make, !asked && name === 'onnx') };
}

/** Makes an engine and holds its attention against the reference. */
export async function windowsOf(make: () => Engine, mayBeMissing = false): Promise<Outcome> {
  let engine: Engine;
  try {
    engine = make();
  } catch (error) {
    return { state: mayBeMissing ? 'skipped' : 'failed', text: messageOf(error) };
  }
  try {
    const checks = await checkAttention(engine);
    const found = checks.map(({ dtype, errors: { forward, backward } }) => {
      return `${dtype} ${forward.toExponential(1)} forward, ${backward.toExponential(1)} backward`;
    });
    const [shorter, window, longer] = WINDOW_EDGES;
    const state = checks.every(({ ok }) => ok) ? 'ok' : 'failed';
    return {
      state,
      text: `windows of ${shorter}, ${window} and ${longer} keys, largest differences from float64: ${found.join('; ')}`,
    };
  } finally {
    await engine.dispose();
  }
}
