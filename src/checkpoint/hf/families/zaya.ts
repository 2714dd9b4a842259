/** ZAYA: compressed convolutional attention, experts whose routers hand on a state, learned factors at every sum. */
import { headGroups, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, StoredValues } from '../family/family.js';
import { optional, type Fields } from '../family/fields.js';
import {
  headChannels,
  headRows,
  matrix,
  range,
  rows,
  whole,
  stack,
  type ParameterLayout,
  type Source,
} from '../family/layout.js';
import { longestOf, readRope, writeRope, type HfRope } from '../family/rotary.js';
import {
  COMMON_FIELDS,
  decoderLayout,
  layerRopeDim,
  LLAMA_NAMES,
  readActivation,
  readSizes,
  writeActivation,
  writeSizes,
} from './decoder.js';
import { QWEN_EXPERTS, withExperts } from './experts.js';

const [FULL, WINDOW] = ['hybrid', 'hybrid_sliding'] as const;

/** Positions by kind of layer where the file has none. */
const ROPES = {
  [FULL]: { rope_type: 'default', rope_theta: 5_000_000, partial_rotary_factor: 0.5 },
  [WINDOW]: { rope_type: 'default', rope_theta: 10_000, partial_rotary_factor: 0.5 },
} as const;

interface Ropes {
  readonly fields: Partial<ModelInput>;
  /** What windows have behind their size: nothing, or `:local`. */
  readonly windows: '' | ':local';
}

/** The positions of both kinds of layers; every kind that a layer has must be there, with its base. */
function readKinds(fields: Fields, types: readonly string[], headDim: number): Ropes {
  if (fields.states('rope_scaling')) fields.refuse('rope_scaling, which its class does not take');
  const given = fields.object('rope_parameters') ?? fields.inner('rope_parameters', ROPES);
  const of = (kind: string): HfRope | null => {
    if (!types.includes(kind)) return null;
    const own = given.object(kind);
    if (own?.has('rope_theta') !== true || !own.has('rope_type')) {
      fields.refuse(`rope_parameters without a rope_type and a rope_theta of ${kind}`);
      return null;
    }
    // Beside rope_parameters by kind the class reads no other field but the longest position.
    const beside = { rope_parameters: own.values, max_position_embeddings: fields.value('max_position_embeddings') };
    return readRope(fields.inner(`rope_parameters.${kind}`, beside), { fraction: 1 });
  };
  const [full, window] = [of(FULL), of(WINDOW)];
  const [first, local] = [full ?? window, full === null ? null : window];
  if (first === null) return { fields: {}, windows: '' };
  const { theta, scaling, fraction } = first;
  const main = { ropeTheta: theta, ropeScaling: scaling, ropeDim: Math.floor(headDim * fraction) };
  if (local === null || JSON.stringify(local) === JSON.stringify(first)) return { fields: main, windows: '' };
  const own = { theta: local.theta, scaling: local.scaling, ropeDim: Math.floor(headDim * local.fraction) };
  return { fields: { ...main, localRope: own }, windows: ':local' };
}

function readTypes(fields: Fields): string[] {
  const depth = fields.count('num_hidden_layers');
  return fields.perLayer<string>('layer_types', 'string', depth) ?? Array<string>(depth).fill(FULL);
}

function readLayers(fields: Fields, types: readonly string[], windows: Ropes['windows']): string[] {
  fields.without('sliding_window');
  return types.map((type, i) => {
    if (type === WINDOW) return `swa:${fields.count('sliding_window')}${windows}`;
    if (type !== FULL) fields.refuse(`layer ${i} of type ${type}`);
    return 'full';
  });
}

function readExperts(fields: Fields): ModelInput['experts'] {
  if (fields.count('num_experts_per_tok') !== 1)
    fields.refuse('num_experts_per_tok other than 1, which its class refuses');
  return {
    count: fields.count('num_experts'),
    perToken: 1,
    intermediateSize: fields.count('moe_intermediate_size'),
    normalize: false,
    correctionBias: true,
    routerSize: fields.count('router_hidden_size'),
    skip: SKIP,
  };
}

/** The bias of the choice of no expert, which Transformers sets whatever a file holds. */
const SKIP = -1;
/** The biases of all choices, the last of them that of no expert. */
const BIASES = 'balancing_biases';

/** What a user should know of stored biases of the choice of no expert that Transformers passes over. */
function skipNotes({ layers }: ModelConfig, read: StoredValues): string[] {
  const other = layers.flatMap((_, layer) => {
    const name = `model.layers.${layer}.mlp.gate.${BIASES}`;
    const value = read(name)?.values.at(-1);
    return value === undefined || value === SKIP ? [] : [`${name} (${value.toPrecision(3)})`];
  });
  if (other.length === 0) return [];
  return [
    `the last of ${other[0]}${other.length > 1 ? ` and ${other.length - 1} more` : ''} is read as ${SKIP}, as in Transformers`,
  ];
}

/** The two terms of each sum, by what they are called here. */
const TERMS: Readonly<Record<string, string>> = {
  skip1: 'post_attention_residual_scale.residual',
  add1: 'post_attention_residual_scale.hidden_states',
  skip2: 'post_mlp_residual_scale.residual',
  add2: 'post_mlp_residual_scale.hidden_states',
};

/** The parts of a router, by what they are called here. */
const ROUTER: Readonly<Record<string, readonly [name: string, kind: 'matrix' | 'vector']>> = {
  wrouterin: ['down_proj.weight', 'matrix'],
  brouterin: ['down_proj.bias', 'vector'],
  routerskip: ['router_states_scale', 'vector'],
  'routernorm.weight': ['router_mlp.norm.weight', 'vector'],
  wrouter1: ['router_mlp.fc1.weight', 'matrix'],
  brouter1: ['router_mlp.fc1.bias', 'vector'],
  wrouter2: ['router_mlp.fc2.weight', 'matrix'],
  brouter2: ['router_mlp.fc2.bias', 'vector'],
};

function routerLayout({ experts }: ModelConfig, at: string, part: string): ParameterLayout | null {
  if (experts?.routerSize === null || experts === null) return null;
  const choices = experts.count + 1;
  if (part === 'wrouter') return matrix(whole(`${at}.router_mlp.out_proj.weight`, choices));
  if (part === 'correction')
    return rows({ tensor: `${at}.${BIASES}`, rows: choices, take: range(0, experts.count), rest: SKIP });
  const [name, kind] = ROUTER[part] ?? [];
  if (name === undefined) return null;
  return (kind === 'matrix' ? matrix : rows)(whole(`${at}.${name}`, experts.routerSize));
}

/** The tensors of attention: projections and convolutions, whose channels are in the order of rotary positions. */
function attentionLayout(config: ModelConfig, layer: number, at: string, part: string): ParameterLayout | null {
  const { numHeads: H, numKvHeads: G, headDim: D, cca } = config;
  if (cca === null) return null;
  const channels = headChannels({ headDim: D, ropeDim: layerRopeDim(config, layer) }, 'halves');
  const [own, half] = [`${at}.qkv_proj`, (G * D) / 2];
  const projections = (kind: string): [Source, Source, Source, Source] => [
    { tensor: `${own}.q_proj.${kind}`, rows: H * D, take: headRows(H, channels) },
    { tensor: `${own}.k_proj.${kind}`, rows: G * D, take: headRows(G, channels) },
    whole(`${own}.v_proj_current.${kind}`, half),
    whole(`${own}.v_proj_delayed.${kind}`, half),
  ];
  const convolved = (tensor: string, inner: readonly number[]) =>
    rows({ tensor: `${own}.${tensor}`, rows: (H + G) * D, take: headRows(H + G, channels), inner });
  switch (part) {
    case 'attn.wqkv':
      return matrix(...projections('weight'));
    case 'attn.bqkv':
      return rows(...projections('bias'));
    case 'attn.conv.weight':
      return convolved('conv_qk_depthwise.weight', [1, cca.width]);
    case 'attn.conv.bias':
      return convolved('conv_qk_depthwise.bias', []);
    case 'attn.headconv.bias':
      return convolved('conv_qk_grouped.bias', []);
    case 'attn.headconv.weight':
      return {
        ...stack(H + G, (head) =>
          rows({
            ...{ tensor: `${own}.conv_qk_grouped.weight`, rows: (H + G) * D, inner: [D, cca.headWidth] },
            take: channels.map((c) => head * D + c),
          }),
        ),
        columns: channels.flatMap((c) => range(c * cca.headWidth, cca.headWidth)),
      };
    case 'attn.kscale':
      return rows(whole(`${at}.qk_norm.temp`, G));
    default:
      return null;
  }
}

function layout(config: ModelConfig, layer: number | null, name: string): ParameterLayout | null {
  const { hiddenSize: d, vocabSize } = config;
  const [, term = '', kind] = /^(.+)\.(weight|bias)$/.exec(name) ?? [];
  const suffix = kind === 'weight' ? 'scale' : 'bias';
  if (layer === null) {
    if (name === 'head.bias') return rows(whole('lm_head.bias', vocabSize));
    if (term === 'embed.affine') return rows(whole(`model.input_hidden_states_${suffix}`, d));
    return decoderLayout(config, layer, name, LLAMA_NAMES);
  }
  const at = `model.layers.${layer}`;
  if (TERMS[term] !== undefined) return rows(whole(`${at}.${TERMS[term]}_${suffix}`, d));
  if (name.startsWith('mlp.')) return routerLayout(config, `${at}.mlp.gate`, name.slice('mlp.'.length));
  return attentionLayout(config, layer, `${at}.self_attn`, name) ?? decoderLayout(config, layer, name, LLAMA_NAMES);
}

/** Positions by kind of layer. */
function writeKinds(config: ModelConfig): Record<string, unknown> {
  const { ropeTheta: theta, ropeScaling: scaling, localRope } = config;
  const of = (rope: NonNullable<ModelConfig['localRope']>) => ({
    partial_rotary_factor: 1,
    ...writeRope(config, rope),
  });
  const [windows, full] = [windowsOf(config).some((w) => w !== null), windowsOf(config).includes(null)];
  // Kinds that no layer has stand as in the class.
  return {
    [FULL]: full ? of({ theta, scaling }) : ROPES[FULL],
    [WINDOW]: windows ? of(localRope ?? { theta, scaling }) : ROPES[WINDOW],
  };
}

const windowsOf = ({ layers }: ModelConfig): (number | null)[] =>
  layers.map((plan) => headGroups(plan)[0]?.window ?? null);

/** ZAYA with its experts. */
export const zaya: Family = (() => {
  const family = withExperts(
    {
      modelTypes: ['zaya'],
      architecture: 'ZayaForCausalLM',
      takesRopeScaling: false,
      fields: {
        ...COMMON_FIELDS,
        vocab_size: 262_272,
        hidden_size: 2048,
        num_hidden_layers: 40,
        num_attention_heads: 8,
        num_key_value_heads: 2,
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        sliding_window: optional(),
        moe_intermediate_size: 2048,
        num_experts_per_tok: 1,
        num_experts: 16,
        layer_types: optional(),
        head_dim: 128,
        attention_bias: false,
        lm_head_bias: false,
        router_hidden_size: 256,
        cca_time0: 2,
        cca_time1: 2,
      },
      read: (fields) => {
        const types = readTypes(fields);
        const sizes = readSizes(fields, undefined, fields.count('moe_intermediate_size'));
        const ropes = readKinds(fields, types, sizes.headDim);
        return {
          ...sizes,
          ...ropes.fields,
          experts: readExperts(fields),
          layers: readLayers(fields, types, ropes.windows),
          activation: readActivation(fields),
          attentionBias: fields.flag('attention_bias') ? 'all' : 'none',
          cca: { width: fields.count('cca_time0'), headWidth: fields.count('cca_time1') },
          residualAffine: true,
          headBias: fields.flag('lm_head_bias'),
        };
      },
      layout,
      adopt: (config, read) => ({ config, notes: skipNotes(config, read) }),
      write: (config) => {
        const { intermediate_size: _, ...sizes } = writeSizes(config);
        const windows = windowsOf(config);
        return {
          ...sizes,
          layer_types: windows.map((window) => (window === null ? FULL : WINDOW)),
          sliding_window: windows.find((window) => window !== null) ?? null,
          moe_intermediate_size: config.experts?.intermediateSize ?? config.intermediateSize,
          num_experts: config.experts?.count ?? 1,
          num_experts_per_tok: config.experts?.perToken ?? 1,
          router_hidden_size: config.experts?.routerSize ?? config.hiddenSize,
          hidden_act: writeActivation(config.activation),
          max_position_embeddings: longestOf(config),
          attention_bias: config.attentionBias === 'all',
          lm_head_bias: config.headBias,
          cca_time0: config.cca?.width ?? 2,
          cca_time1: config.cca?.headWidth ?? 2,
          rope_parameters: writeKinds(config),
        };
      },
    },
    { ...QWEN_EXPERTS, stacked: { ...QWEN_EXPERTS.stacked, saved: true } },
  );
  // The router has other tensors than those of other classes.
  return {
    ...family,
    layout: (config, layer, name, shapes) => layout(config, layer, name) ?? family.layout(config, layer, name, shapes),
  };
})();
