/**
 * The residual block: a mixer and a gated MLP, each added to the residual stream. Where norms stand, whether the two
 * read the same input and the factors of the sums are configuration (`BlockConfig`). One definition for whole sequences
 * and for steps.
 */
import { got } from '../core/index.js';
import { add, type Value } from '../graph/index.js';
import { activated, gated } from './activation.js';
import { blockOf, type ModelConfig } from './config.js';
import type { LayerPlan } from './plan.js';
import { affine, linearParts } from './mixers/linear.js';
import type { MixerScope, TokenPositions } from './mixer.js';
import { gainedNorm, normalize, normParameters, scaled } from './norm.js';

/** The parameters of one layer by the end of their names, such as `attn.wqkv`. */
export function layerParameters(params: ReadonlyMap<string, Value>, layer: number): Map<string, Value> {
  const prefix = `layers.${layer}.`;
  const own = [...params].filter(([name]) => name.startsWith(prefix));
  return new Map(own.map(([name, value]) => [name.slice(prefix.length), value]));
}

/** What a residual block is built from. */
export interface BlockInputs {
  /** The model's configuration. */
  readonly config: ModelConfig;
  /** The layer's index, from 0. */
  readonly layer: number;
  /** The residual stream, `[B,T,d]`. */
  readonly x: Value;
  /** The layer's parameters, by the end of their names (without `layers.N.`). */
  readonly params: ReadonlyMap<string, Value>;
  readonly positions: TokenPositions | null;
  /** The document index of each token, i32 `[B,T]`; null where each row is one document. */
  readonly segments: Value | null;
}

/** What a mixer or an MLP reads, and what its result is added to. */
interface Branch extends Pick<MixerScope, 'x' | 'inputMatrix'> {
  readonly skip: Value;
}

/** The block around `mix`: the residual stream after it, and what the mixer returned (null where there is none). */
export function buildBlock<M extends { readonly out: Value }>(
  inputs: BlockInputs,
  mix: (scope: MixerScope) => M,
): { readonly out: Value; readonly mixed: M | null } {
  const { config, layer, params, positions, segments } = inputs;
  const block = blockOf(config, layer);
  const mlp = (branch: Branch): Value => leave(inputs, buildMlp(inputs, branch), 'postnorm2');
  const behind = (stream: Value): Value => {
    const branch = enter(inputs, stream, 'norm2');
    return joined(branch.skip, mlp(branch), block.mlpSkip, block.mlpScale);
  };
  if (config.layers[layer]?.mixer === 'none') return { out: behind(inputs.x), mixed: null };
  const param = (name: string) => got(params, name);
  const first = enter(inputs, inputs.x, 'norm1');
  const mixed = mix({
    config,
    layer,
    x: first.x,
    inputMatrix: first.inputMatrix,
    param,
    positions,
    segments,
  });
  // Two mixers side by side have been scaled before they were added.
  const onMixer = isPair(config.layers[layer]) ? 1 : block.mixerScale;
  const middle = joined(first.skip, leave(inputs, mixed.out, 'postnorm1'), block.mixerSkip, onMixer);
  if (!block.mlp) return { out: middle, mixed };
  if (block.parallel) return { out: joined(middle, mlp(first), 1, block.mlpScale), mixed };
  return { out: behind(middle), mixed };
}

const isPair = (plan: LayerPlan | undefined): boolean => plan?.mixer === 'attention' && plan.beside !== undefined;

const normOf = ({ config, params }: BlockInputs, norm: string) => normParameters(config, params, norm);

const joined = (skip: Value, y: Value, onSkip: number, onY: number): Value => add(scaled(skip, onSkip), scaled(y, onY));

/** The way from the residual stream into a mixer or an MLP. */
function enter(inputs: BlockInputs, stream: Value, norm: string): Branch {
  const { config, layer, params } = inputs;
  const plain = (name: string) => got(params, name);
  switch (blockOf(config, layer).norm) {
    case 'post':
      return { x: stream, inputMatrix: plain, skip: stream };
    case 'stream': {
      const normed = normalize(config, stream, normOf(inputs, norm));
      return { x: normed, inputMatrix: plain, skip: normed };
    }
    case 'pre':
    case 'both': {
      const { x, matrix } = gainedNorm(config, stream, normOf(inputs, norm));
      return { x, inputMatrix: (name) => matrix(plain(name)), skip: stream };
    }
  }
}

/** The way out: the norm on what is added to the stream, where there is one. */
function leave(inputs: BlockInputs, y: Value, norm: string): Value {
  const placement = blockOf(inputs.config, inputs.layer).norm;
  return placement === 'post' || placement === 'both' ? normalize(inputs.config, y, normOf(inputs, norm)) : y;
}

function buildMlp({ config, params }: BlockInputs, { x, inputMatrix }: Branch): Value {
  const { intermediateSize: f, activation, mlpGate, mlpGateScale, mlpBias } = config;
  const bias = (name: string) => (mlpBias ? got(params, name) : null);
  const learned = (name: string) => got(params, `mlp.${name}`);
  if (!mlpGate) {
    const inner = activated(activation, affine(x, inputMatrix('mlp.wup'), bias('mlp.bup')), learned);
    return affine(inner, got(params, 'mlp.wdown'), bias('mlp.bdown'));
  }
  const wgateup = inputMatrix('mlp.wgateup');
  const [gate, up] = linearParts(x, wgateup, [f, f], bias('mlp.bgateup')) as [Value, Value];
  return affine(
    gated(activation, scaled(gate, mlpGateScale), up, learned),
    got(params, 'mlp.wdown'),
    bias('mlp.bdown'),
  );
}
