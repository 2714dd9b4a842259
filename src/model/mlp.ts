/** The MLP that every token passes. */
import { add, split, type Value } from '../graph/index.js';
import { activated, gated } from './activation.js';
import type { ModelConfig } from './config.js';
import { affine, linearParts } from './mixers/linear.js';
import type { MixerScope } from './mixer.js';
import { scaled } from './norm.js';

/** What an MLP is built from: its input as mixers have theirs, `[B,T,d]`. */
interface MlpScope extends Pick<MixerScope, 'x' | 'inputMatrix' | 'param'> {
  readonly config: ModelConfig;
  /** What is added to the products with the input matrix, `[B,T,f]` or `[B,T,2f]`; null for nothing. */
  readonly adapter?: Value | null;
}

/** What the MLP gives, `[B,T,d]`. */
export function buildMlp({ config, param, x, inputMatrix, adapter = null }: MlpScope): Value {
  const { intermediateSize: f, activation, mlpGate, mlpGateScale, mlpBias } = config;
  const bias = (name: string) => (mlpBias ? param(name) : null);
  const learned = (name: string) => param(`mlp.${name}`);
  const down = (inner: Value) => affine(inner, param('mlp.wdown'), bias('mlp.bdown'));
  if (!mlpGate) {
    const product = affine(x, inputMatrix('mlp.wup'), bias('mlp.bup'));
    return down(activated(activation, adapter === null ? product : add(product, adapter), learned));
  }
  const own = linearParts(x, inputMatrix('mlp.wgateup'), [f, f], bias('mlp.bgateup'));
  const more = adapter === null ? null : split(adapter, x.shape.length - 1, [f, f]);
  const [gate, up] = own.map((part, i) => (more === null ? part : add(part, more[i] as Value))) as [Value, Value];
  return down(gated(activation, scaled(gate, mlpGateScale), up, learned));
}
