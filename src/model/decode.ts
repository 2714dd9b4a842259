/**
 * The model over a sequence chunk by chunk, with the mixers' states in between: chunks of many tokens to read a prompt,
 * of one token to generate. Where a chunk lies is an input of the graph, so one graph serves every position.
 *
 * Shape letters: B sequences, n tokens of the chunk, V vocabulary, d hiddenSize.
 */
import { dims, got, ShapeError } from '../core/index.js';
import { add, ge, input, iota, max, reshape, sub, type Value } from '../graph/index.js';
import { buildBlock, layerParameters } from './block.js';
import type { ModelConfig } from './config.js';
import { checkLength, checkParameters, embed, type ParameterValues } from './forward.js';
import { layerInputsOf } from './layer-inputs.js';
import type { ChunkPlace, StateRoom, StateSpec } from './mixer.js';
import { mixerOf } from './mixers.js';
import { mlpConvStates } from './short-conv.js';
import { chunkStates } from './state-access.js';

/** The states of all layers, names starting with `layers.N.`; all start as zeros. */
export function stateSpecs(config: ModelConfig, room: StateRoom): StateSpec[] {
  const { batchSize, dtype } = room;
  return config.layers.flatMap((plan, layer) =>
    [
      ...mixerOf(plan).states(config, plan, room, layer),
      ...mlpConvStates(config, layer).map(({ name, shape }) => ({ name, shape: [batchSize, ...shape], dtype })),
    ].map((spec) => ({ ...spec, name: `layers.${layer}.${spec.name}` })),
  );
}

/** Throws `ConfigError` where the model cannot generate with a cache behind `tokens` tokens. */
export function checkContext(config: ModelConfig, tokens: number): void {
  checkLength(config, tokens);
  stateSpecs(config, { batchSize: 1, maxLength: tokens, dtype: 'f32' });
}

/** A graph input for every state, by name, in the order of `stateSpecs`. */
export function stateInputs(config: ModelConfig, room: StateRoom): Map<string, Value> {
  return new Map(stateSpecs(config, room).map(({ name, dtype, shape }) => [name, input(name, dtype, shape)]));
}

/** Where a chunk lies in its sequences; see `ChunkPlace` for slots and padding. */
export interface ChunkInputs {
  /** i32 `[B,n]`, ids below vocabSize, in padding too. */
  readonly tokens: Value;
  /**
   * Slot of the chunk's first token, i32 `[]`. The chunks of a sequence follow one another without gaps, the first at
   * 0.
   */
  readonly start: Value;
  /** Padding slots at the beginning of each row, i32 `[B]`. */
  readonly padding: Value;
}

/** What reading one chunk of tokens gives. */
export interface ChunkResult {
  /**
   * The residual stream after the last layer, `[B,n,d]`; `headLogits` makes logits of it. Rows of padding hold nothing
   * of use.
   */
  readonly stream: Value;
  /** All states after the chunk, by name. */
  readonly state: ReadonlyMap<string, Value>;
}

/**
 * One chunk of the forward pass, in the parameters' dtype: the same numbers as `forward` on the whole sequence, up to
 * rounding.
 *
 * @param state all states as the chunks before have left them
 * @throws ShapeError if a parameter or a state is missing or has another shape than the configuration gives it
 */
export function forwardChunk(
  config: ModelConfig,
  params: ParameterValues,
  { tokens, start, padding }: ChunkInputs,
  state: ReadonlyMap<string, Value>,
  room: StateRoom,
): ChunkResult {
  // Layers follow one another with what they hand on and leave behind; every line moves one of these values.
  checkParameters(config, params);
  checkStates(stateSpecs(config, room), state);
  const [B, n] = dims(tokens, 2);
  const slots = sub(add(iota('i32', [B, n], 1), start), reshape(padding, [B, 1]));
  const place: ChunkPlace = { start, padding, valid: ge(slots, 0), maxLength: room.maxLength };
  const positions = { values: max(slots, 0), limit: room.maxLength };
  const after = new Map<string, Value>();
  let routerState: Value | null = null;
  const embedding = embed(config, params, tokens, { positions, segments: null });
  const handed = layerInputsOf(config, params, tokens, embedding);
  let x = embedding;
  config.layers.forEach((_, layer) => {
    const prefix = `layers.${layer}.`;
    const own = (name: string) => got(state, prefix + name);
    const { access: mlpState, after: mlpAfter } = chunkStates({ place, state: own, x }, () => false);
    const given = { config, layer, x, embedding, positions, segments: null, routerState, handed, mlpState };
    const inputs = { ...given, params: layerParameters(config, params, layer) };
    const {
      out,
      mixed,
      routerState: next,
    } = buildBlock(inputs, (scope, plan) => mixerOf(plan).step({ ...scope, place, state: own }, plan));
    for (const { state, hands = {} } of mixed) {
      for (const [name, value] of Object.entries(state)) after.set(prefix + name, value);
      for (const [name, value] of Object.entries(hands)) handed.set(name, value);
    }
    for (const [name, value] of Object.entries(mlpAfter)) after.set(prefix + name, value);
    x = out;
    routerState = next;
  });
  checkStates(stateSpecs(config, room), after);
  return { stream: x, state: after };
}

function checkStates(specs: readonly StateSpec[], state: ReadonlyMap<string, Value>): void {
  for (const { name, shape } of specs) {
    const found = state.get(name)?.shape;
    if (found?.length === shape.length && shape.every((n, i) => n === found[i])) continue;
    const got = found === undefined ? 'is missing' : `has shape [${found.join(',')}]`;
    throw new ShapeError(`state ${name} ${got}; this model needs [${shape.join(',')}]`, { details: { name, shape } });
  }
}
