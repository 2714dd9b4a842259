/** Derivatives of softmax and cross entropy. */
import { build } from '../ir/emit.js';
import type { DerivativeRule } from '../ir/rules.js';
import { throughDecomposition, zerosLike } from '../primitives/differentiate.js';
import * as L from '../primitives/index.js';
import { LOSS_DECOMPOSITIONS } from './decompose.js';
import { LOSS } from './type.js';

/** The derivative rules of softmax, cross entropy and its gradient. */
export const LOSS_DERIVATIVES: { readonly [K in 'softmax' | 'crossEntropy' | 'crossEntropyGrad']: DerivativeRule<K> } =
  {
    softmax: ({ outputs: [y], attrs: { axis } }, [ct]) => {
      const inner = L.reduceSum(L.mul(ct, y), [axis], true);
      return [L.mul(y, L.sub(ct, inner))];
    },
    crossEntropy: ({ inputs: [logits, targets], outputs: [loss, lse] }, [dloss, dlse]) => {
      const inputs = [logits, targets, lse, dloss ?? zerosLike(loss), dlse ?? zerosLike(loss)] as const;
      return [...build(LOSS.crossEntropyGrad, inputs, {}), null];
    },
    crossEntropyGrad: throughDecomposition(LOSS_DECOMPOSITIONS.crossEntropyGrad),
  };
