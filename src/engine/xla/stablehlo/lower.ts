/** Longsight graph -> StableHLO text. */
import type { Graph, Node, Value } from '../../../graph/index.js';
import { divides } from './attention.js';
import { isKeptFor } from './composites.js';
import { cudnnAttention, fitsCudnn } from './cudnn.js';
import { prepareForXla, withTileKernels } from '../passes/prepare.js';
import { separateProjections } from '../passes/projections.js';
import { fitsRecurrenceKernels } from './recurrence.js';
import { fitsSelectiveKernels } from './selective.js';
import { isDecodeStep } from '../../passes/decode-step.js';
import { gainsInNorms } from '../../passes/norm-gains.js';
import { projectionsByPart } from '../../passes/projections.js';
import { lowerNodes } from './rules.js';
import { withoutScatters } from '../passes/scatter.js';
import type { Scope } from './scope.js';
import { isStored, narrowTakes, originsOf } from '../mesh/fsdp.js';
import { meshText, shardingText, type Mesh, type Sharding } from '../mesh/sharding.js';
import { TextBuilder, typeText } from '../mlir/text.js';

/** How a graph becomes StableHLO. */
export interface LowerOptions {
  /** Input name -> output name whose memory it gives. */
  readonly donate?: Readonly<Record<string, string>>;
  /** Keep attention for cuDNN's kernels where they can do it. */
  readonly cudnn?: boolean;
  /** Tile kernels where they are faster; on a mesh each device runs them on its shards. Default as `cudnn`. */
  readonly kernels?: boolean;
  /** Sums in a fixed order only, so that every run gives the same bits. */
  readonly deterministic?: boolean;
  readonly mesh?: Mesh | null;
  /** The shardings of inputs and outputs, by name; others are replicated. */
  readonly shardings?: Readonly<Record<string, Sharding>>;
}

/** The graph with gains and projections in the form that the devices are fastest with. */
function suitedGraph(graph: Graph, donate: Readonly<Record<string, string>>, dividesHeads: boolean): Graph {
  if (isDecodeStep(graph, donate)) return gainsInNorms(graph);
  return dividesHeads ? projectionsByPart(graph) : graph;
}

/** A module with one function `main`; the same graph and options give the same text. */
export function lowerToStableHlo(graph: Graph, options: LowerOptions = {}): string {
  const { donate = {}, cudnn = false, kernels = cudnn, mesh = null, shardings = {} } = options;
  const kernel = cudnnAttention(options.deterministic ?? false);
  const kernelOf: Scope['kernelOf'] = (node) =>
    cudnn && isKeptFor('attention', node) && fitsCudnn(node) === true ? kernel : null;
  const keep = (node: Node): boolean => {
    if (isKeptFor('always', node)) return true;
    if (isKeptFor('recurrence', node)) return kernels && fitsRecurrenceKernels(node) === true;
    if (isKeptFor('selectiveScan', node)) return kernels && fitsSelectiveKernels(node, mesh) === true;
    return isKeptFor('attention', node) && (kernelOf(node) !== null || (mesh !== null && divides(mesh, node)));
  };
  const dividesHeads = mesh !== null && mesh.axes.tensor > 1;
  // The order matters: kernels match composite ops, so they are put in before composites are expanded, and scatters are
  // replaced last, where expansion has made all of them.
  const suited = suitedGraph(graph, donate, dividesHeads);
  const divided = mesh !== null && mesh.axes.fsdp > 1 ? narrowTakes(suited) : suited;
  const fused = kernels ? withTileKernels(divided, { dividesHeads }) : divided;
  const readByCudnn = (node: Node): boolean => node.op === 'attention' && kernelOf(node) !== null;
  const expanded = prepareForXla(dividesHeads ? fused : separateProjections(fused, readByCudnn), keep);
  const prepared = options.deterministic ? withoutScatters(expanded) : expanded;
  const builder = new TextBuilder();
  const scope: Scope = {
    ...{ builder, names: new Map(), statistics: new Map(), stored: new Map(), mesh, kernelOf },
    origins: mesh ? originsOf(prepared, shardings) : new Map(),
  };
  const place = new Map(prepared.outputs.map((p, i) => [p.name, i]));
  const attributes = (parts: readonly string[]): string => (parts.length === 0 ? '' : ` {${parts.join(', ')}}`);
  const sharding = (name: string, value: Value): string[] =>
    mesh ? [`sdy.sharding = ${shardingText(shardings[name] ?? [], value.shape.length)}`] : [];
  const args = prepared.inputs.map(({ name, value }, i) => {
    scope.names.set(value, `%arg${i}`);
    const given = shardings[name] ?? [];
    if (mesh && isStored(given, mesh.axes.fsdp)) scope.stored.set(value, { sharding: given, gathered: null });
    const target = donate[name];
    const alias = target === undefined ? [] : [`tf.aliasing_output = ${place.get(target)} : i32`];
    return `%arg${i}: ${typeText(value)}${attributes([...sharding(name, value), ...alias])}`;
  });
  const results = lowerNodes(prepared, scope);
  const types = prepared.outputs.map(({ value }) => typeText(value));
  const annotated = prepared.outputs.map(({ name, value }, i) => `${types[i]}${attributes(sharding(name, value))}`);
  const partitions = mesh ? mesh.size : 1;
  const returned = results.length === 0 ? 'return' : `return ${results.join(', ')} : ${types.join(', ')}`;
  return [
    `module @longsight attributes {mhlo.num_partitions = ${partitions} : i32, mhlo.num_replicas = 1 : i32} {`,
    ...(mesh ? [`  ${meshText(mesh)}`] : []),
    `  func.func public @main(${args.join(', ')}) -> (${annotated.join(', ')}) {`,
    builder.text(),
    `    ${returned}`,
    '  }',
    '}',
    '',
  ].join('\n');
}
