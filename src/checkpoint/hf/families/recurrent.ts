/** What hybrids of attention and recurrent mixers share. */
import type { ModelConfig } from '../../../model/index.js';
import type { Family } from '../family/family.js';
import type { Fields } from '../family/fields.js';
import { ropeParameters } from '../family/rotary.js';
import { matrix, range, rows, whole, type ParameterLayout, type Source } from '../family/layout.js';

/**
 * Layer types in every spelling: `linear_attention`, as older versions say `mamba`, and `full_attention` or
 * `attention`.
 */
export function hybridTypes(fields: Fields, mixer: string, otherwise: (layer: number) => boolean): string[] {
  const depth = fields.count('num_hidden_layers');
  const given = fields.perLayer<string>('layer_types', 'string', depth);
  if (given === null) return Array.from({ length: depth }, (_, i) => (otherwise(i) ? 'full' : mixer));
  return given.map((type, i) => {
    if (type === 'linear_attention' || type === 'mamba') return mixer;
    if (type !== 'full_attention' && type !== 'attention') fields.refuse(`layer ${i} of type ${type}`);
    return 'full';
  });
}

/** The layer types of a hybrid in the words of Transformers. */
export const writeHybridTypes = (config: ModelConfig): string[] =>
  config.layers.map((plan) => (plan.mixer === 'attention' ? 'full_attention' : 'linear_attention'));

/** Refuses lists of layer types, which the class computes and does not take. */
export function computedTypes(fields: Fields, ...names: readonly string[]): void {
  for (const name of names) if (fields.states(name)) fields.refuse(`${name}, which its class computes`);
}

/** The activation of mixers whose convolution or projection has no other. */
export function siluOnly(fields: Fields): void {
  fields.only('hidden_act', 'silu', 'swish');
}

/** Rotary positions of a model whose layers have none: what scales them is refused, for nothing says what it means. */
export function plainPositions(fields: Fields): void {
  const rope = ropeParameters(fields);
  if (rope !== null && rope.text('rope_type', rope.text('type', 'default')) !== 'default')
    fields.refuse('scaled rotary positions in a model without positions');
}

/** A depthwise convolution: theirs `[channels, 1, width]`, ours `[channels, width]`. */
export const convRows = (tensor: string, channels: number, width: number): Source =>
  whole(tensor, channels, [1, width]);

/** Rows of one tensor of theirs, in our order. */
export const picked = (tensor: string, all: number, take: readonly number[]): Source => ({ tensor, rows: all, take });

/** The tensors of a Mamba-2 mixer, the same in every family. */
export function mambaLayout(config: ModelConfig, at: string, name: string): ParameterLayout | null {
  const section = config.mamba2;
  if (section === undefined) return null;
  const { numHeads: H, headDim, numGroups, stateSize, convWidth } = section;
  const inner = H * headDim;
  const channels = inner + 2 * numGroups * stateSize;
  const vector = (tensor: string, size: number) => rows(whole(`${at}.${tensor}`, size));
  switch (name) {
    case 'mamba2.win':
      return matrix(whole(`${at}.in_proj.weight`, inner + channels + H));
    case 'mamba2.in.bias':
      return vector('in_proj.bias', inner + channels + H);
    case 'mamba2.conv.weight':
      return rows(convRows(`${at}.conv1d.weight`, channels, convWidth));
    case 'mamba2.conv.bias':
      return vector('conv1d.bias', channels);
    case 'mamba2.dtbias':
      return vector('dt_bias', H);
    case 'mamba2.alog':
      return vector('A_log', H);
    case 'mamba2.skip':
      return vector('D', H);
    case 'mamba2.norm.weight':
      return vector('norm.weight', inner);
    case 'mamba2.wout':
      return matrix(whole(`${at}.out_proj.weight`, config.hiddenSize));
    case 'mamba2.out.bias':
      return vector('out_proj.bias', config.hiddenSize);
    default:
      return null;
  }
}

/** The tensors of a mixer's parameter `name`, in the module `at`; null for a name that is not its own. */
type MixerLayout = (config: ModelConfig, at: string, name: string) => ParameterLayout | null;

/** The tensors of a mixer's parameters in `model.layers.N.mamba`, those of all others as `other` says. */
export const mambaOr =
  (prefix: 'mamba.' | 'mamba2.', mixer: MixerLayout, other: Family['layout']): Family['layout'] =>
  (config, layer, name, shapes) =>
    layer !== null && name.startsWith(prefix)
      ? mixer(config, `model.layers.${layer}.mamba`, name)
      : other(config, layer, name, shapes);

/** The tensors of stacks of one mixer a layer, as Mamba and Mamba-2 lie in files of their own. */
export const backboneLayout =
  (mixer: MixerLayout): Family['layout'] =>
  (config, layer, name) => {
    const { vocabSize, hiddenSize } = config;
    if (layer !== null) {
      const at = `backbone.layers.${layer}`;
      return name === 'norm1.weight'
        ? rows(whole(`${at}.norm.weight`, hiddenSize))
        : mixer(config, `${at}.mixer`, name);
    }
    if (name === 'embed.weight') return rows(whole('backbone.embeddings.weight', vocabSize));
    if (name === 'head.weight') return matrix(whole('lm_head.weight', vocabSize));
    return name === 'norm.weight' ? rows(whole('backbone.norm_f.weight', hiddenSize)) : null;
  };

/** The modules of Bamba, Jamba and Falcon-H1. */
export const PRE_FF_NAMES = {
  ...{ norm1: 'input_layernorm', norm2: 'pre_ff_layernorm', finalNorm: 'final_layernorm', mlp: 'feed_forward' },
} as const;

/** Rows of `count` heads' blocks `[first, first + size)` in a tensor laid out head by head, `stride` rows each. */
export const headBlocks = (count: number, stride: number, first: number, size: number): number[] =>
  Array.from({ length: count }, (_, h) => range(h * stride + first, size)).flat();
