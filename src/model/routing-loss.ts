/** What training adds to the loss so that experts get tokens evenly, and how evenly they do. */
import { add, concat, log, max, mul, reduceMax, reduceSum, reshape, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';
import { choicesOf } from './experts-config.js';
import type { Routing } from './experts.js';

/** How evenly a model's experts get tokens. */
export interface RoutingNumbers {
  /** The load-balancing loss, mean over layers: `perToken` where it is even, up to `count`. */
  readonly balance: number;
  /** The entropy of the shares of the tokens that experts get over that of even shares, mean over layers: 0 to 1. */
  readonly entropy: number;
  /** The largest share of an expert over an even one, of all layers: 1 where it is even. */
  readonly peak: number;
}

const mean = (values: readonly Value[]): Value =>
  mul(
    values.reduce((a, b) => add(a, b)),
    1 / values.length,
  );

/** What the routers of all layers add to the loss, a scalar; null where nothing is. */
export function routingLoss({ experts }: ModelConfig, routing: ReadonlyMap<number, Routing>): Value | null {
  const layers = [...routing.values()];
  if (experts === null || layers.length === 0) return null;
  const { balanceLoss, routerZLoss } = experts;
  const parts = [
    ...(balanceLoss > 0 ? [mul(mean(layers.map((r) => r.balance)), balanceLoss)] : []),
    ...(routerZLoss > 0 ? [mul(mean(layers.map((r) => r.z)), routerZLoss)] : []),
  ];
  return parts.length === 0 ? null : parts.reduce((a, b) => add(a, b));
}

/** The numbers of `RoutingNumbers`, `[3]` in that order; null for a model without experts. */
export function routingNumbers({ experts }: ModelConfig, routing: ReadonlyMap<number, Routing>): Value | null {
  const layers = [...routing.values()];
  if (experts === null || layers.length === 0) return null;
  const entropy = layers.map(({ load }) => reduceSum(mul(load, log(max(load, 1e-30)))));
  // One expert is even by itself.
  const share =
    choicesOf(experts) === 1 ? add(mean(entropy), 1) : mul(mean(entropy), -1 / Math.log(choicesOf(experts)));
  const peaks = layers.map(({ load }) => reshape(reduceMax(load), [1]));
  return concat(
    [
      reshape(mean(layers.map((r) => r.balance)), [1]),
      reshape(share, [1]),
      reshape(mul(reduceMax(concat(peaks, 0)), choicesOf(experts)), [1]),
    ],
    0,
  );
}
