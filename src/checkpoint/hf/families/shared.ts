/**
 * Where the shared blocks of Zamba lie in files: Transformers keeps a block in the first of the layers that use it, and
 * the adapters of all its uses there too. Files may hold copies in the other layers. Blocks are tied where the output
 * head is; without that, and where copies hold other values, each layer has a block of its own.
 */
import { isShared, type ModelConfig } from '../../../model/index.js';
import type { Family, StoredValues, TensorShapes } from '../family/family.js';
import { matrix, rows, whole, type ParameterLayout, type Source } from '../family/layout.js';

/** How a family calls the parts of its shared blocks. */
export interface SharedNames {
  /** The module of a layer that holds the block. */
  readonly module: string;
  /** Whether the gate and the other projection of the MLP are one tensor, `gate_up_proj`. */
  readonly fusedMlp: boolean;
}

/** The layers that use shared blocks, in order. */
const usingLayers = ({ layers }: ModelConfig): number[] => layers.flatMap((plan, i) => (isShared(plan) ? [i] : []));

/** The layers that use a block, in order. */
const usesOf = (config: ModelConfig, block: number): number[] =>
  usingLayers(config).filter((_, use) => use % (config.shared?.blocks ?? 1) === block);

/** What finds the tensors of a block or a use: by the end of a name, with the rows that it has. */
type Find = (suffix: string, rows: number) => Source;

/** Tensors in the first of `layers` that has them; those of files to be written in the first. */
function finder({ module }: SharedNames, layers: readonly number[], shapes: TensorShapes): Find {
  return (suffix, count) => {
    const names = layers.map((layer) => `model.layers.${layer}.${module}.${suffix}`);
    return whole(names.find((name) => shapes(name) !== undefined) ?? names[0] ?? suffix, count);
  };
}

function blockLayout(config: ModelConfig, { fusedMlp }: SharedNames, name: string, find: Find): ParameterLayout | null {
  const { hiddenSize: d, intermediateSize: f, headDim, numHeads, numKvHeads } = config;
  const input = (kind: string): readonly Source[] =>
    fusedMlp
      ? [find(`feed_forward.gate_up_proj.${kind}`, 2 * f)]
      : [find(`feed_forward.gate_proj.${kind}`, f), find(`feed_forward.up_proj.${kind}`, f)];
  const heads = (which: string, count: number) => find(`self_attn.${which}_proj.weight`, count * headDim);
  switch (name) {
    case 'norm1.weight':
      return rows(find('input_layernorm.weight', 2 * d));
    case 'norm2.weight':
      return rows(find('pre_ff_layernorm.weight', d));
    case 'attn.wqkv':
      return matrix(heads('q', numHeads), heads('k', numKvHeads), heads('v', numKvHeads));
    case 'attn.wo':
      return matrix(find('self_attn.o_proj.weight', d));
    case 'mlp.wgateup':
      return { transposed: true, sources: input('weight') };
    case 'mlp.bgateup':
      return { transposed: false, sources: input('bias') };
    case 'mlp.wdown':
      return matrix(find('feed_forward.down_proj.weight', d));
    case 'mlp.bdown':
      return rows(find('feed_forward.down_proj.bias', d));
    default:
      return null;
  }
}

/** The modules of adapters, by what ours are called after. */
const ADAPTERS: Readonly<Record<string, string>> = {
  ...{
    q: 'self_attn.linear_q_adapter_list',
    k: 'self_attn.linear_k_adapter_list',
    v: 'self_attn.linear_v_adapter_list',
  },
  mlp: 'feed_forward.gate_up_proj_adapter_list',
};

function adapterLayout(config: ModelConfig, use: number, name: string, find: Find): ParameterLayout | null {
  const [, of = '', side] = /^w(q|k|v|mlp)(down|up)$/.exec(name) ?? [];
  const { shared, headDim, numHeads, numKvHeads, intermediateSize } = config;
  const rank = of === 'mlp' ? shared?.mlpRank : shared?.attentionRank;
  const output = of === 'mlp' ? 2 * intermediateSize : (of === 'q' ? numHeads : numKvHeads) * headDim;
  if (side === undefined || rank == null) return null;
  const module = `${ADAPTERS[of] ?? ''}.${use}`;
  return matrix(side === 'down' ? find(`${module}.0.weight`, rank) : find(`${module}.1.weight`, output));
}

/** The tensors of a shared block, or of a layer's use of one; null for other parameters. */
export function sharedLayout(
  config: ModelConfig,
  names: SharedNames,
  layer: number | null,
  name: string,
  shapes: TensorShapes = () => undefined,
): ParameterLayout | null {
  if (layer === null) {
    const [, block, own = ''] = /^shared\.(\d+)\.(.*)$/.exec(name) ?? [];
    if (block === undefined) return null;
    return blockLayout(config, names, own, finder(names, usesOf(config, Number(block)), shapes));
  }
  const own = /^shared\.(.*)$/.exec(name)?.[1];
  if (own === undefined) return null;
  if (own === 'wout') return matrix(whole(`model.layers.${layer}.linear.weight`, config.hiddenSize));
  const use = usingLayers(config).indexOf(layer);
  // Written files have adapters where the block is; a layer with a block of its own reads those that lie there.
  const among = usesOf(config, use % (config.shared?.blocks ?? 1));
  const stored = among.length > 1 ? among : [layer];
  return adapterLayout(config, use, own, finder(names, stored, shapes));
}

/** The ends of the names of all tensors that the uses of a block may hold. */
function suffixes(config: ModelConfig, names: SharedNames, block: number): string[] {
  const uses = usesOf(config, block);
  const find: Find = (suffix) => whole(suffix, 0);
  const ofBlock = [
    ...['norm1.weight', 'norm2.weight', 'attn.wqkv', 'attn.wo'],
    ...['mlp.wgateup', 'mlp.bgateup', 'mlp.wdown', 'mlp.bdown'],
  ];
  const adapters = ['q', 'k', 'v', 'mlp'].flatMap((of) => [`w${of}down`, `w${of}up`]);
  const order = usingLayers(config);
  return [
    ...ofBlock.map((name) => blockLayout(config, names, name, find)),
    ...uses.flatMap((layer) => adapters.map((name) => adapterLayout(config, order.indexOf(layer), name, find))),
  ].flatMap((layout) => layout?.sources.map(({ tensor }) => tensor) ?? []);
}

/** The name of a tensor that files hold in several layers with different values; undefined if copies are equal. */
function differingCopy(config: ModelConfig, names: SharedNames, read: StoredValues): string | undefined {
  for (let block = 0; block < (config.shared?.blocks ?? 0); block++) {
    const layers = usesOf(config, block);
    for (const suffix of suffixes(config, names, block)) {
      let first: Float32Array | undefined;
      for (const layer of layers) {
        const name = `model.layers.${layer}.${names.module}.${suffix}`;
        const values = read(name)?.values;
        if (values !== undefined && first?.some((v, i) => !Object.is(v, values[i])) === true) return name;
        first ??= values;
      }
    }
  }
  return undefined;
}

/** What files say of shared blocks beside `config.json`: which tensors are copies, and where copies differ. */
export const sharedCopies = (names: SharedNames): Pick<Family, 'adopt' | 'ignored'> => ({
  adopt: (config, read) => {
    const { shared } = config;
    const blocks = usingLayers(config).length;
    const differing = shared === null || shared.blocks === blocks ? undefined : differingCopy(config, names, read);
    if (shared === null || differing === undefined) return { config, notes: [] };
    const note =
      `config.json ties the shared blocks, but ${differing} holds other values than the tensor that it is tied to: ` +
      'each layer has a block of its own, as in Transformers 5';
    return { config: { ...config, shared: { ...shared, blocks } }, notes: [note] };
  },
  // Copies of tied tensors, which `adopt` has compared, and adapters of other uses than the layer's own.
  ignored: (name, config) => {
    const [, layer, module, suffix] = /^model\.layers\.(\d+)\.([^.]+)\.(.*)$/.exec(name) ?? [];
    if (layer === undefined || suffix === undefined || module !== names.module) return false;
    const layers = usingLayers(config);
    if (!layers.includes(Number(layer))) return false;
    const blocks = Array.from({ length: config.shared?.blocks ?? 0 }, (_, block) => block);
    const known = (block: number) => suffixes(config, names, block).includes(suffix);
    const [own] = blocks.filter((block) => usesOf(config, block).includes(Number(layer)));
    if (own !== undefined && known(own)) return true;
    return blocks.length === layers.length && /adapter_list\.\d+\.[01]\.weight$/.test(suffix) && blocks.some(known);
  },
});
