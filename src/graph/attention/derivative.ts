/** Derivatives of attention. */
import { LongsightError } from '../../core/index.js';
import { build } from '../ir/emit.js';
import type { DerivativeRule } from '../ir/rules.js';
import { throughDecomposition } from '../primitives/differentiate.js';
import { ATTENTION_DECOMPOSITIONS } from './decompose.js';
import { ATTENTION } from './type.js';

/** The derivative rules of attention and its gradient. */
export const ATTENTION_DERIVATIVES: { readonly [K in 'attention' | 'attentionGrad']: DerivativeRule<K> } = {
  attention: ({ inputs, outputs: [out, lse], attrs }, [dOut, dLse]) => {
    if (dLse || !dOut) {
      throw new LongsightError("attention's log-sum-exp is a statistic without a derivative; wrap it in stopGradient");
    }
    const [q, k, v, ...optional] = inputs;
    const [dq, dk, dv, dsinks] = build(ATTENTION.attentionGrad, [q, k, v, out, lse, dOut, ...optional], attrs);
    const grads = dsinks ? [dq, dk, dv, dsinks] : [dq, dk, dv];
    return attrs.segments === true ? [...grads, null] : grads;
  },
  attentionGrad: throughDecomposition(ATTENTION_DECOMPOSITIONS.attentionGrad),
};
