/** Attention of an engine at the edges of windows, held against the reference in float64. */
import { messageOf } from '../../core/index.js';
import { createEngine, type Engine, type EngineName } from '../../engine/index.js';
import { ATTENTION_TOLERANCE, attentionErrors, WINDOW } from './attention.js';
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
    const dtypes = engine.info.name === 'xla' ? (['f32', 'bf16'] as const) : (['f32'] as const);
    const found: string[] = [];
    let state: Outcome['state'] = 'ok';
    for (const dtype of dtypes) {
      const { forward, backward } = await attentionErrors(engine, dtype);
      if (!(Math.max(forward, backward) <= ATTENTION_TOLERANCE[dtype])) state = 'failed';
      found.push(`${dtype} ${forward.toExponential(1)} forward, ${backward.toExponential(1)} backward`);
    }
    const windows = `${WINDOW - 1}, ${WINDOW} and ${WINDOW + 1}`;
    return { state, text: `windows of ${windows} keys, largest differences from float64: ${found.join('; ')}` };
  } finally {
    await engine.dispose();
  }
}
