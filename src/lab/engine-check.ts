/** Whether an engine computes right: a tiny hybrid in training, and attention at the edges of windows. */
import { at, maxOf, messageOf } from '../core/index.js';
import { nextBatch, RecallOptionsSchema, RecallSource } from '../data/index.js';
import { createEngine, type Engine, type EngineInfo, type EngineName, type KernelSupport } from '../engine/index.js';
import { initialParameters, resolveModelConfig } from '../model/index.js';
import { Trainer, TrainConfigSchema } from '../train/index.js';
import { checkAttention, type AttentionCheck, type AttentionErrors } from './attention-check.js';

/** What an engine gave, held against the reference engine. */
export interface EngineCheck {
  readonly name: string;
  /** Whether the training steps and attention agree with the reference; false where the engine threw. */
  readonly ok: boolean;
  /** The engine's own description; null if it was not made. */
  readonly info: EngineInfo | null;
  /** The engine's own kernels; null if it has none or was not made. */
  readonly kernels: readonly KernelSupport[] | null;
  /** Largest relative difference from the reference, of loss and gradient norm over the steps. */
  readonly worst: number | null;
  /** The errors of attention at the edges of windows: in float32, and in bf16 where the engine has it. */
  readonly attention: { readonly f32: AttentionErrors | null; readonly bf16: AttentionErrors | null } | null;
  /** Time from making the engine to its end, in milliseconds. */
  readonly durationMs: number;
  /** What the engine threw; null if nothing. */
  readonly error: string | null;
}

/** The training steps that every engine is asked for. */
export const CHECKED_STEPS = 3;
/** Float32 against float64 over three steps of a tiny model: measured below 1e-6, with room. */
const TOLERANCE = 1e-4;

/** Checks of engines by one run of the reference engine. */
export class EngineChecks {
  readonly #expected: readonly number[];

  private constructor(expected: readonly number[]) {
    this.#expected = expected;
  }

  /** Trains the reference engine, which the others are held against. */
  static async create(): Promise<EngineChecks> {
    return new EngineChecks(await trainSteps(createEngine('reference')));
  }

  /**
   * Trains a tiny hybrid for a few steps on an engine and compares attention at the edges of windows. What the engine
   * throws is in the result.
   *
   * @param threads threads of the engine (default: its own choice)
   */
  async check(name: EngineName, threads?: number): Promise<EngineCheck> {
    const start = performance.now();
    let engine: Engine | null = null;
    const made = () => ({
      name,
      info: engine?.info ?? null,
      kernels: engine?.kernels ?? null,
      durationMs: performance.now() - start,
    });
    try {
      engine = createEngine(name, threads === undefined ? {} : { threads });
      const found = await checkAttention(engine);
      const errorsIn = (dtype: AttentionCheck['dtype']) => found.find((c) => c.dtype === dtype)?.errors ?? null;
      const attention = { f32: errorsIn('f32'), bf16: errorsIn('bf16') };
      const got = await trainSteps(engine);
      const worst = maxOf(got.map((value, i) => Math.abs(value / at(this.#expected, i) - 1)));
      const ok = worst <= TOLERANCE && found.every((c) => c.ok);
      return { ...made(), ok, worst, attention, error: null };
    } catch (error) {
      // Whatever an engine throws is the finding here.
      const message = messageOf(error);
      return { ...made(), ok: false, worst: null, attention: null, error: message };
    }
  }
}

/** Losses and gradient norms of a few training steps of a tiny hybrid; disposes the engine. */
async function trainSteps(engine: Engine): Promise<number[]> {
  const data = RecallOptionsSchema.parse({ numKeys: 4, numValues: 4, numFillers: 8 });
  const model = resolveModelConfig({
    ...{ vocabSize: 16, hiddenSize: 16, layers: 'swa:4 full:nope', numHeads: 4, numKvHeads: 2, intermediateSize: 32 },
    ...{ qkNorm: true, sinks: true, outputGate: true },
  });
  const config = TrainConfigSchema.parse({ seqLen: 16, batchSize: 2, steps: CHECKED_STEPS });
  const source = new RecallSource(data, config.seqLen, 1, 'doctor');
  try {
    const trainer = await Trainer.create({ engine, model, config, parameters: initialParameters(model, 1) });
    const results: number[] = [];
    for (let step = 1; step <= CHECKED_STEPS; step++) {
      const { loss, gradNorm } = await trainer.step(nextBatch(source, config.batchSize), config.lr, step);
      results.push(loss, gradNorm);
    }
    await trainer.dispose();
    return results;
  } finally {
    await engine.dispose();
  }
}
