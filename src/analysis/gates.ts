/**
 * Gates on parallel branches: which full layers a model needs, learned with its weights as they are. Each full layer
 * gets a second branch that sees few keys, and a gate between the two; the gates are trained together on the loss, as
 * in FlashMorph (arXiv 2606.30562), whose second branch is linear attention and which pays for open gates by a
 * regularization. Here the gates begin open, as the model was trained, and their sum goes down to the wanted number of
 * full layers.
 */
import { at, ConfigError, maxOf, present, tensorFrom, toNumbers } from '../core/index.js';
import type { Batch } from '../data/index.js';
import { inFloat32, type Executable } from '../engine/index.js';
import { grad, input, makeGraph, type Graph } from '../graph/index.js';
import { parametersFor, withConfig, type LoadedModel } from '../loaded/index.js';
import { forward, parameterInputs, tokenLosses, type ModelConfig } from '../model/index.js';
import { branchFullHeads, fullLayers } from './reach.js';
import { REMAT_TOKENS } from './recompute.js';

/** How gates are learned. */
export interface GateOptions {
  /** What the gates add up to in the end: the number of full layers that are wanted. */
  readonly full: number;
  /** Keys that the second branch of a full layer sees, the query's own included. */
  readonly keys: number;
  /** Batches that the gates are trained on. */
  readonly steps: number;
  /** The learning rate of Adam on the gates' logits (default: 0.1). */
  readonly lr?: number;
  /** Called after each step with the number of steps that are done and the loss before the step, in nats per token. */
  readonly stepDone?: (steps: number, loss: number) => void;
}

/** The gate of a full layer: 1 where its full attention alone is taken, 0 where the branch with few keys is. */
export interface LayerGate {
  /** The layer, counted from 0. */
  readonly layer: number;
  /** The gate, 0 to 1. */
  readonly gate: number;
}

/** Gates as they were learned. */
export interface LearnedGates {
  /** The gates of all full layers, in the order of the layers. */
  readonly gates: readonly LayerGate[];
  /** The training loss with the gates before each step, in nats per token. */
  readonly losses: readonly number[];
}

/** Adam's decays and the number that keeps its quotient finite. */
const [BETA1, BETA2, EPSILON] = [0.9, 0.99, 1e-12];
const LEARNING_RATE = 0.1;
/** The part of the steps in which the sum of the gates goes down. */
const CLOSING = 0.75;
const OWN_INPUTS: ReadonlySet<string> = new Set(['tokens', 'targets', 'weights', 'segments', 'gates']);

/**
 * Learns the gates of a model's full layers on batches of training data, its weights frozen.
 *
 * @param next the next batch; all batches have the same shape
 * @throws ConfigError if the model has no more full layers than are wanted, or a batch has no target that counts
 */
export async function learnGates(
  model: LoadedModel,
  next: () => Batch,
  { full, keys, steps, lr = LEARNING_RATE, stepDone }: GateOptions,
): Promise<LearnedGates> {
  const layers = fullLayers(model.config);
  if (layers.length <= full) {
    throw new ConfigError(
      `the model has ${layers.length} full layers, and ${full} are wanted; there is nothing to learn`,
    );
  }
  const config = branchFullHeads(model.config, keys);
  const adam = new Adam(layers.length, lr);
  const losses: number[] = [];
  let batch = next();
  const { batchSize, seqLen, segments } = batch;
  // A graph with gradients is computed as it is.
  const on = { ...withConfig(model, config), engine: inFloat32(model.engine) };
  const executable = await on.engine.compile(gateGraph(config, batchSize, seqLen, segments !== null));
  try {
    for (let step = 1; step <= steps; step++) {
      const open = gatesOf(adam.values, budgetAt(step / steps, layers.length, full));
      const { loss, gradient } = await lossOf(on, executable, batch, spread(config, layers, open));
      losses.push(loss);
      adam.step(
        logitGradient(
          open,
          layers.map((layer) => at(gradient, layer)),
        ),
      );
      stepDone?.(step, loss);
      if (step < steps) batch = next();
    }
  } finally {
    await executable.dispose();
  }
  const open = gatesOf(adam.values, full);
  return { gates: layers.map((layer, i) => ({ layer, gate: at(open, i) })), losses };
}

/** The layers whose gates are the most open, ascending; of equal gates those of the earlier layers. */
export function mostOpen(gates: readonly LayerGate[], full: number): number[] {
  const order = [...gates].sort((a, b) => b.gate - a.gate || a.layer - b.layer);
  return order
    .slice(0, full)
    .map(({ layer }) => layer)
    .sort((a, b) => a - b);
}

/** The loss of a batch and its gradient with respect to the gates of all layers, `[numLayers]`. */
function gateGraph(config: ModelConfig, B: number, T: number, hasSegments: boolean): Graph {
  const params = parameterInputs(config);
  const tokens = input('tokens', 'i32', [B, T]);
  const targets = input('targets', 'i32', [B, T]);
  const weights = input('weights', 'f32', [B, T]);
  const segments = hasSegments ? input('segments', 'i32', [B, T]) : null;
  const gates = input('gates', 'f32', [config.numLayers]);
  const { logits } = forward(config, params, tokens, { segments, gates, remat: B * T >= REMAT_TOKENS });
  const loss = tokenLosses(logits, targets, weights).weightedSum;
  const inputs = { ...Object.fromEntries(params), tokens, targets, weights, ...(segments ? { segments } : {}), gates };
  return makeGraph(inputs, { loss, gradient: present(grad(loss, [gates])[0]) });
}

async function lossOf(
  { engine, tensors }: LoadedModel,
  executable: Executable,
  { batchSize, seqLen, tokens, targets, weights, segments }: Batch,
  gates: Float32Array,
): Promise<{ loss: number; gradient: Float64Array }> {
  const shape = [batchSize, seqLen];
  const sum = weights.reduce((a, b) => a + b, 0);
  if (!(sum > 0)) throw new ConfigError('a batch has no target that counts in the loss; take longer sequences');
  const ints = (values: Int32Array) => engine.upload(tensorFrom('i32', shape, values));
  const found = await executable.run({
    ...parametersFor(executable.graph.inputs, OWN_INPUTS, tensors),
    tokens: ints(tokens),
    targets: ints(targets),
    weights: engine.upload(
      tensorFrom(
        'f32',
        shape,
        weights.map((weight) => weight / sum),
      ),
    ),
    ...(segments === null ? {} : { segments: ints(segments) }),
    gates: engine.upload(tensorFrom('f32', [gates.length], gates)),
  });
  const numbers = async (name: string) => toNumbers(await engine.download(present(found[name])));
  return { loss: at(await numbers('loss'), 0), gradient: await numbers('gradient') };
}

/** The sum of `count` gates when a part of the steps, 0 to 1, is done or under way. */
function budgetAt(part: number, count: number, full: number): number {
  return count - (count - full) * Math.min(1, part / CLOSING);
}

/** Gates of some layers among those of all. */
function spread({ numLayers }: ModelConfig, layers: readonly number[], gates: readonly number[]): Float32Array {
  const all = new Float32Array(numLayers);
  layers.forEach((layer, i) => (all[layer] = at(gates, i)));
  return all;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Gates `sigmoid(logit + shift)` with the one shift that lets them add up to `full`, found by bisection. */
export function gatesOf(logits: readonly number[], full: number): number[] {
  const sum = (shift: number): number => logits.reduce((total, logit) => total + sigmoid(logit + shift), 0);
  const widest = 40 + maxOf(logits.map(Math.abs));
  let [low, high] = [-widest, widest];
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (sum(middle) < full) low = middle;
    else high = middle;
  }
  return logits.map((logit) => sigmoid(logit + (low + high) / 2));
}

/** The gradient with respect to logits, from that with respect to gates whose sum is held. */
export function logitGradient(gates: readonly number[], gradient: readonly number[]): number[] {
  const slopes = gates.map((gate) => gate * (1 - gate));
  const total = slopes.reduce((a, b) => a + b, 0);
  if (total === 0) return slopes;
  const mean = slopes.reduce((sum, slope, i) => sum + slope * at(gradient, i), 0) / total;
  return slopes.map((slope, i) => slope * (at(gradient, i) - mean));
}

/** Adam on a few numbers, which start at 0 (arXiv 1412.6980, algorithm 1). */
class Adam {
  readonly values: number[];
  readonly #moments: { first: number; second: number }[];
  readonly #lr: number;
  #steps = 0;

  constructor(size: number, lr: number) {
    this.values = Array.from({ length: size }, () => 0);
    this.#moments = this.values.map(() => ({ first: 0, second: 0 }));
    this.#lr = lr;
  }

  step(gradient: readonly number[]): void {
    this.#steps++;
    const [left1, left2] = [1 - BETA1 ** this.#steps, 1 - BETA2 ** this.#steps];
    this.#moments.forEach((moment, i) => {
      const g = at(gradient, i);
      moment.first = BETA1 * moment.first + (1 - BETA1) * g;
      moment.second = BETA2 * moment.second + (1 - BETA2) * g * g;
      const move = moment.first / left1 / (Math.sqrt(moment.second / left2) + EPSILON);
      this.values[i] = at(this.values, i) - this.#lr * move;
    });
  }
}
