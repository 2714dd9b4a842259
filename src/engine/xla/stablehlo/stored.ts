/**
 * Tensors that lie divided over `fsdp` only to save memory. What is computed from one element by itself (conversion, the
 * optimizer's update) is computed on the parts; a product, or anything else, reads the tensor gathered over `fsdp`. Left to
 * itself the partitioner moves activations instead, which are larger.
 */
import type { Node, OpName, Value } from '../../../graph/index.js';
import { BINARY_OPS, COMPARE_OPS, LOGICAL_OPS, UNARY_FLOAT_OPS, UNARY_NUMERIC_OPS } from '../../../graph/index.js';
import type { Scope } from './scope.js';
import { shardingText, type Sharding } from './sharding.js';
import { typeText } from './text.js';

/** Ops whose results lie as their inputs do. */
const ELEMENTWISE: ReadonlySet<OpName> = new Set<OpName>([
  ...[...BINARY_OPS, ...COMPARE_OPS, ...LOGICAL_OPS, ...UNARY_FLOAT_OPS, ...UNARY_NUMERIC_OPS],
  ...(['convert', 'not', 'select', 'stopGradient'] as const),
]);

/** Sums over the parts need no whole tensor. */
const REDUCING: ReadonlySet<OpName> = new Set<OpName>(['reduceSum', 'reduceMax']);

/** Whether a sharding divides over `fsdp` axes that a batch may divide over too. */
export function isStored(sharding: Sharding, parts: number): boolean {
  return parts > 1 && sharding.some((axes) => axes.length === 1 && axes[0] === 'fsdp');
}

const withoutFsdp = (sharding: Sharding): Sharding => sharding.map((axes) => axes.filter((a) => a !== 'fsdp'));

function constrained({ builder }: Scope, name: string, value: Value, sharding: Sharding): string {
  const where = shardingText(sharding, value.shape.length).slice('#sdy.sharding'.length);
  return builder.define(`sdy.sharding_constraint ${name} ${where} : ${typeText(value)}`);
}

/** The names that a node reads: gathered, unless it works on parts. */
export function readNames(node: Node, scope: Scope): string[] {
  const { names, stored } = scope;
  const onParts = ELEMENTWISE.has(node.op) || REDUCING.has(node.op) || node.op === 'barrier' || node.op === 'transpose';
  return node.inputs.map((value) => {
    const name = names.get(value) as string;
    const entry = stored.get(value);
    if (entry === undefined || onParts) return name;
    if (entry.gathered === null) {
      // Said for the parts first: else the conversion would come after gathering, which would move twice the bytes.
      const parts = value.node.op === 'input' ? name : constrained(scope, name, value, entry.sharding);
      entry.gathered = constrained(scope, parts, value, withoutFsdp(entry.sharding));
    }
    return entry.gathered;
  });
}

/** Notes which results of a node lie in parts as its inputs do. */
export function followParts(node: Node, { stored }: Scope): void {
  if (stored.size === 0) return;
  const follow = (value: Value, sharding: Sharding | undefined): void => {
    if (sharding) stored.set(value, { sharding, gathered: null });
  };
  const shardingOf = (value: Value | undefined): Sharding | undefined => value && stored.get(value)?.sharding;
  if (node.op === 'barrier') node.outputs.forEach((value, i) => follow(value, shardingOf(node.inputs[i])));
  const [result] = node.outputs;
  if (result === undefined) return;
  if (node.op === 'transpose') {
    const sharding = shardingOf(node.inputs[0]);
    const { permutation } = (node as Node<'transpose'>).attrs;
    follow(result, sharding && permutation.map((axis) => sharding[axis] ?? []));
  }
  if (!ELEMENTWISE.has(node.op)) return;
  const like = node.inputs.find(
    (v) => stored.has(v) && v.shape.length === result.shape.length && v.shape.every((d, i) => d === result.shape[i]),
  );
  follow(result, shardingOf(like));
}
