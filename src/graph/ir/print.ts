/** Graphs as text, one node a line; stable, so that it can be compared and hashed. */
import { formatShape, toNumbers, type HostTensor } from '../../core/index.js';
import type { Graph, Node, TensorType, Value } from './types.js';

const formatType = (t: TensorType): string => `${t.dtype}${formatShape(t.shape)}`;

function formatTensor(tensor: HostTensor): string {
  const values = toNumbers(tensor);
  const shown = Array.from(values.subarray(0, 8), String).join(', ');
  return values.length === 1 && tensor.shape.length === 0 ? shown : `[${shown}${values.length > 8 ? ', ...' : ''}]`;
}

function isGraph(x: unknown): x is Graph {
  return typeof x === 'object' && x !== null && 'nodes' in x;
}

function isTensor(x: unknown): x is HostTensor {
  return typeof x === 'object' && x !== null && 'data' in x;
}

function formatAttr(value: unknown): string {
  if (isTensor(value)) return formatTensor(value);
  if (Array.isArray(value)) {
    const shown = value.slice(0, 8).map(String).join(',');
    return `[${shown}${value.length > 8 ? ',...' : ''}]`;
  }
  return String(value);
}

function formatNode(node: Node, name: (v: Value) => string, indent: string): string {
  const attrs = Object.entries(node.attrs as Record<string, unknown>);
  const plain = attrs.filter(([key, v]) => !isGraph(v) && !(node.op === 'input' && key !== 'name'));
  const tail = plain.length > 0 ? ` {${plain.map(([k, v]) => `${k}: ${formatAttr(v)}`).join(', ')}}` : '';
  const results = node.outputs.map(name).join(', ');
  const types = node.outputs.map(formatType).join(', ');
  const line = `${indent}${results} = ${node.op}(${node.inputs.map(name).join(', ')})${tail} : ${types}`;
  const bodies = attrs.flatMap(([, v]) => (isGraph(v) ? [printGraph(v, `${indent}  `)] : []));
  return [line, ...bodies].join('\n');
}

/**
 * The graph as text: `%3 = add(%1, %2) : f32[4]`, inputs by name, then a line `return`. Long constants and lists show
 * their first 8 entries.
 */
export function printGraph(graph: Graph, indent = ''): string {
  const names = new Map<Value, string>();
  for (const node of graph.nodes) for (const v of node.outputs) names.set(v, `%${names.size}`);
  const name = (v: Value): string => names.get(v) ?? '%?';
  const lines = graph.nodes.map((node) => formatNode(node, name, indent));
  const results = graph.outputs.map((p) => `${p.name}=${name(p.value)}`).join(', ');
  return [...lines, `${indent}return ${results}`].join('\n');
}
