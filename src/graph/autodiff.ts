/** Reverse-mode differentiation. */
import { DTypeError, ShapeError, formatShape, isFloat } from '../core/index.js';
import { DERIVATIVE_RULES } from './derivatives.js';
import { nodesOf } from './ir/graph.js';
import { scalar } from './ir/leaves.js';
import type { Cotangent, Pullback } from './ir/rules.js';
import type { Node, Value } from './ir/types.js';
import { add } from './primitives/elementwise.js';
import { full } from './primitives/layout.js';

type AnyRule = (node: Node, cts: readonly Cotangent[], pullback: Pullback) => readonly Cotangent[];

/**
 * The cotangents of `wrt` given those of `outputs` (null = zero): a vector-Jacobian product. A result is null where
 * no output depends on the value through a differentiable path.
 */
export function vjp(
  outputs: readonly Value[],
  cotangents: readonly Cotangent[],
  wrt: readonly Value[],
): readonly Cotangent[] {
  const cts = new Map<Value, Value>();
  const accumulate = (v: Value, ct: Cotangent | undefined): void => {
    if (!ct || !isFloat(v.dtype)) return;
    const old = cts.get(v);
    cts.set(v, old ? add(old, ct) : ct);
  };
  outputs.forEach((v, i) => accumulate(v, cotangents[i]));
  const targets = new Set(wrt.map((v) => v));
  const active = new Set<Node>();
  const order = nodesOf(outputs);
  const isActive = (v: Value): boolean => targets.has(v) || active.has(v.node);
  for (const node of order) if (node.inputs.some(isActive)) active.add(node);
  for (const node of order.reverse()) {
    if (!active.has(node)) continue;
    const own = node.outputs.map((v) => cts.get(v) ?? null);
    if (own.every((c) => c === null)) continue;
    // The table is keyed by op: its entry for this node's op takes this node.
    const rule = DERIVATIVE_RULES[node.op] as AnyRule;
    const grads = rule(node, own, vjp);
    node.inputs.forEach((v, i) => {
      if (isActive(v)) accumulate(v, grads[i]);
    });
  }
  return wrt.map((v) => cts.get(v) ?? null);
}

/**
 * Gradients of a scalar with respect to each of `wrt`, of the same dtype and shape; zeros where it does not depend on
 * one. Throws `ShapeError` if `loss` is not a scalar, `DTypeError` if something is not floating-point.
 */
export function grad(loss: Value, wrt: readonly Value[]): Value[] {
  if (loss.shape.length !== 0)
    throw new ShapeError(`grad needs a scalar, got shape ${formatShape(loss.shape)}; sum it first`);
  for (const v of [loss, ...wrt]) {
    if (!isFloat(v.dtype))
      throw new DTypeError(`grad needs floating-point values, got ${v.dtype}${formatShape(v.shape)}`);
  }
  const grads = vjp([loss], [scalar(1, loss.dtype)], wrt);
  return wrt.map((v, i) => grads[i] ?? full(v.dtype, v.shape, 0));
}
