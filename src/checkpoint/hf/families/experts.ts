/** Experts of Transformers models: fields, names of tensors in files and in memory. */
import { expertsOf, type ExpertsConfig, type ModelConfig, type ModelInput } from '../../../model/index.js';
import type { Family, HfConfigJson, TensorShapes } from '../family/family.js';
import type { Fields } from '../family/fields.js';
import { matrix, range, rows, stack, whole, type ParameterLayout, type Source } from '../family/layout.js';

/** What a family calls the tensors of a layer's experts, behind `model.layers.N.`. */
export interface ExpertNames {
  /** The module of the MLP in files. */
  readonly module: string;
  /** The module in memory, where it is another. */
  readonly inMemory?: string;
  /** The router's weight and what else it has, within the module. */
  readonly router: string;
  readonly routerBias?: string;
  readonly correction?: string;
  /** The correction in memory, where it is called otherwise. */
  readonly correctionInMemory?: string;
  readonly routerInMemory?: string;
  /** The projections of one expert, within `experts.E.`. */
  readonly gate?: string;
  readonly up: string;
  readonly down: string;
  /**
   * The tensors of all experts together, within the module. `saved` if Transformers writes them so; where not, they are
   * read where a file has them.
   */
  readonly stacked: { readonly up: string; readonly down: string; readonly saved: boolean };
  /** The projections into and out of a narrower width. */
  readonly latent?: { readonly input: string; readonly output: string };
  /** The shared expert: its module from the layer on, and its gate's weight within the MLP's module. */
  readonly shared?: {
    readonly module: string;
    readonly gate?: string;
    readonly fused?: FusedShared;
    /** Its projections, where they are not called like those of an expert. */
    readonly projections?: { readonly gate: string; readonly up: string; readonly down: string };
  };
}

/** A shared expert whose gate and up projections are one tensor. */
interface FusedShared {
  readonly input: string;
  readonly output: string;
}

/** The names of Qwen's experts, which most classes share. */
export const QWEN_EXPERTS: ExpertNames = {
  module: 'mlp',
  router: 'gate.weight',
  gate: 'gate_proj',
  up: 'up_proj',
  down: 'down_proj',
  stacked: { up: 'experts.gate_up_proj', down: 'experts.down_proj', saved: false },
};

/** The names of Mixtral's experts. */
export const MIXTRAL_EXPERTS: ExpertNames = {
  module: 'block_sparse_moe',
  inMemory: 'mlp',
  router: 'gate.weight',
  gate: 'w1',
  up: 'w3',
  down: 'w2',
  stacked: { up: 'experts.gate_up_proj', down: 'experts.down_proj', saved: false },
};

/** The names of Granite's experts, whose matrices are stored together. */
export const GRANITE_EXPERTS: ExpertNames = {
  module: 'block_sparse_moe',
  router: 'router.layer.weight',
  routerInMemory: 'router.weight',
  up: 'up_proj',
  down: 'down_proj',
  stacked: { up: 'input_linear.weight', down: 'output_linear.weight', saved: true },
  shared: { module: 'shared_mlp', fused: { input: 'input_linear', output: 'output_linear' } },
};

/**
 * The layers whose MLP is dense: by `mlp_layer_types`, or where the file has none by `isDense`. Classes build a dense
 * MLP for any word but `sparse`; those that know the two words alone are `strict`, and other words are refused.
 */
export function denseLayers(
  fields: Fields,
  isDense: (layer: number) => boolean,
  { strict = false }: { readonly strict?: boolean } = {},
): number[] {
  const depth = fields.count('num_hidden_layers');
  const types = fields.perLayer<string>('mlp_layer_types', 'string', depth);
  const strange = strict ? types?.find((type) => type !== 'sparse' && type !== 'dense') : undefined;
  if (strange !== undefined) fields.refuse(`mlp_layer_types ${strange}`);
  return range(0, depth).filter((i) => (types === null ? isDense(i) : types[i] !== 'sparse'));
}

/** `mlp_layer_types`: which layers have experts. */
export const writeMlpTypes = (config: ModelConfig): HfConfigJson => ({
  mlp_layer_types: config.layers.map((_, layer) => (expertsOf(config, layer) === null ? 'dense' : 'sparse')),
});

/** The tensors of a parameter of a layer's experts; null for other parameters, and layers without experts. */
export function expertLayout(
  config: ModelConfig,
  layer: number | null,
  name: string,
  names: ExpertNames,
  shapes: TensorShapes,
): ParameterLayout | null {
  const experts = layer === null ? null : expertsOf(config, layer);
  if (experts === null || !name.startsWith('mlp.')) return null;
  const at = `model.layers.${layer}`;
  const own = `${at}.${names.module}`;
  const { count: E, latentSize } = experts;
  const d = config.hiddenSize;
  const part = name.slice('mlp.'.length);
  switch (part) {
    case 'wrouter':
      return matrix(whole(`${own}.${names.router}`, E));
    case 'brouter':
      return names.routerBias === undefined ? null : rows(whole(`${own}.${names.routerBias}`, E));
    case 'correction':
      return names.correction === undefined ? null : rows(whole(`${own}.${names.correction}`, E));
    case 'wlatentin':
    case 'blatentin':
      return names.latent === undefined ? null : linear(`${own}.${names.latent.input}`, part, latentSize ?? d);
    case 'wlatentout':
    case 'blatentout':
      return names.latent === undefined ? null : linear(`${own}.${names.latent.output}`, part, d);
    default:
      if (part.startsWith('shared.')) return sharedLayout(config, experts, at, part.slice('shared.'.length), names);
      return membersLayout(config, experts, own, part, names, shapes);
  }
}

const linear = (tensor: string, part: string, size: number): ParameterLayout =>
  part.startsWith('w') ? matrix(whole(`${tensor}.weight`, size)) : rows(whole(`${tensor}.bias`, size));

function sharedLayout(
  config: ModelConfig,
  experts: ExpertsConfig,
  at: string,
  part: string,
  names: ExpertNames,
): ParameterLayout | null {
  const { shared } = names;
  const size = experts.sharedSize ?? 0;
  if (shared === undefined) return null;
  const own = `${at}.${shared.module}`;
  const { gate = 'gate_proj', up, down } = shared.projections ?? names;
  const of = (projection: string, n: number) =>
    whole(`${own}.${projection}.${part.startsWith('w') ? 'weight' : 'bias'}`, n);
  const layout = part.startsWith('w') ? matrix : rows;
  switch (part.slice(1)) {
    case 'gateup':
      if (shared.fused !== undefined) return layout(of(shared.fused.input, 2 * size));
      return layout(of(gate, size), of(up, size));
    case 'up':
      return layout(of(up, size));
    case 'down':
      return layout(of(shared.fused?.output ?? down, config.hiddenSize));
    case 'gate':
      return shared.gate === undefined ? null : matrix(whole(`${at}.${names.module}.${shared.gate}`, 1));
    default:
      return null;
  }
}

function membersLayout(
  config: ModelConfig,
  experts: ExpertsConfig,
  at: string,
  part: string,
  names: ExpertNames,
  shapes: TensorShapes,
): ParameterLayout | null {
  const { count, intermediateSize: F, latentSize } = experts;
  const { stacked } = names;
  const width = latentSize ?? config.hiddenSize;
  const within =
    (tensor: string, size: number) =>
    (index: number): Source => ({
      ...whole(`${at}.${tensor}`, size),
      within: { index, count },
    });
  const apart =
    (projection: string, size: number) =>
    (index: number): Source =>
      whole(`${at}.experts.${index}.${projection}.weight`, size);
  const together = (tensor: string) => stacked.saved || shapes(`${at}.${tensor}`) !== undefined;
  switch (part) {
    case 'experts.wgateup': {
      if (together(stacked.up)) return stack(count, (e) => matrix(within(stacked.up, 2 * F)(e)));
      return stack(count, (e) => matrix(apart(names.gate ?? 'gate_proj', F)(e), apart(names.up, F)(e)));
    }
    case 'experts.wup':
      if (together(stacked.up)) return stack(count, (e) => matrix(within(stacked.up, F)(e)));
      return stack(count, (e) => matrix(apart(names.up, F)(e)));
    case 'experts.wdown':
      if (together(stacked.down)) return stack(count, (e) => matrix(within(stacked.down, width)(e)));
      return stack(count, (e) => matrix(apart(names.down, width)(e)));
    default:
      return null;
  }
}

/** Names in files of a tensor that is called `name` in memory: there, all experts of a projection are one tensor. */
export function expertAliases(name: string, config: ModelConfig, names: ExpertNames): readonly string[] {
  const [, at, rest = ''] = /^(.*layers\.\d+\.)(.*)$/.exec(name) ?? [];
  const { module, inMemory = module, router, correction, stacked } = names;
  if (at === undefined || !rest.startsWith(`${inMemory}.`)) return [];
  const inner = rest.slice(inMemory.length + 1);
  const own = `${at}${module}.`;
  const each = (...projections: readonly string[]) =>
    range(0, config.experts?.count ?? 0).flatMap((e) => projections.map((p) => `${own}experts.${e}.${p}.weight`));
  if (inner === (names.routerInMemory ?? router)) return [own + router];
  if (correction !== undefined && inner === (names.correctionInMemory ?? correction)) return [own + correction];
  if (inner === 'experts.gate_up_proj') return [own + stacked.up, ...each(names.gate ?? 'gate_proj', names.up)];
  if (inner === 'experts.up_proj') return [own + stacked.up, ...each(names.up)];
  if (inner === 'experts.down_proj') return [own + stacked.down, ...each(names.down)];
  return inMemory === module ? [] : [own + inner];
}

/** What a family with experts adds to one without: the layouts and names of their tensors. */
export function withExperts(family: Family, names: ExpertNames): Family {
  return {
    ...family,
    layout: (config, layer, name, shapes) =>
      expertLayout(config, layer, name, names, shapes) ?? family.layout(config, layer, name, shapes),
    alias: (name, config) => [...(family.alias?.(name, config) ?? []), ...expertAliases(name, config, names)],
  };
}

/** What a class says of its experts, and where. */
export interface ExpertFields {
  /** The field of the number of experts (default: `num_experts`). */
  readonly count?: string;
  /** The field of an expert's width (default: `moe_intermediate_size`). */
  readonly size?: string;
  /** Layers whose MLP is dense. */
  readonly dense: (fields: Fields, experts: number) => readonly number[];
  readonly more?: (fields: Fields) => Partial<NonNullable<ModelInput['experts']>>;
}

/** The experts that the fields describe; null where every layer is dense. */
export function readExperts(fields: Fields, how: ExpertFields): ModelInput['experts'] {
  const { count: countField = 'num_experts', size = 'moe_intermediate_size' } = how;
  const depth = fields.count('num_hidden_layers');
  const count = fields.count(countField, undefined, 0);
  const dense = how.dense(fields, count);
  const more = how.more?.(fields);
  if (count === 0 || dense.length >= depth) {
    for (const name of [size, 'num_experts_per_tok']) fields.count(name, undefined, 0);
    return null;
  }
  return {
    count,
    perToken: fields.count('num_experts_per_tok'),
    intermediateSize: fields.count(size),
    ...more,
    // A shared expert of no channels adds nothing.
    ...(more?.sharedSize === 0 ? { sharedSize: null, sharedGate: false } : {}),
    dense: [...dense],
  };
}

/** Layers outside of `mlp_only_layers` have experts, every `decoder_sparse_step`-th of them. */
export function qwenDense(fields: Fields): number[] {
  const only = new Set(fields.list<number>('mlp_only_layers', 'number'));
  const step = fields.count('decoder_sparse_step');
  return range(0, fields.count('num_hidden_layers')).filter((i) => only.has(i) || (i + 1) % step !== 0);
}

/** A model without experts, as classes that count them have it. */
const withoutExperts = (layers: number): HfConfigJson => ({ num_experts: 0, mlp_only_layers: range(0, layers) });

/** Experts as fields of Qwen's classes; a model without has none of them. */
export function writeQwenExperts({ experts, numLayers }: ModelConfig): HfConfigJson {
  if (experts === null) return withoutExperts(numLayers);
  return {
    num_experts: experts.count,
    num_experts_per_tok: experts.perToken,
    moe_intermediate_size: experts.intermediateSize,
    ...(experts.sharedSize === null ? {} : { shared_expert_intermediate_size: experts.sharedSize }),
    norm_topk_prob: experts.normalize,
    decoder_sparse_step: 1,
    mlp_only_layers: experts.dense,
  };
}
