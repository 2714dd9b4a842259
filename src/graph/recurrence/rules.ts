/** The rules of the recurrences and the convolution: decompositions, of which each file holds some, and derivatives. */
import { build } from '../ir/emit.js';
import type { Cotangent, Decomposition, DerivativeRule } from '../ir/rules.js';
import { differentiate, throughDecomposition, zerosLike } from '../primitives/differentiate.js';
import { decomposeCausalConv } from './conv.js';
import { decomposeDeltaRule, decomposeDeltaRuleGrad } from './delta.js';
import { decomposeLinearRecurrence, decomposeLinearRecurrenceGrad } from './linear.js';
import { decomposeSelectiveScan, decomposeSelectiveScanGrad } from './selective.js';
import { deltaInputs, RECURRENCE } from './type.js';

/** Decompositions of the recurrences, their gradients and the convolution. */
export const RECURRENCE_DECOMPOSITIONS: { readonly [K in keyof typeof RECURRENCE]: Decomposition<K> } = {
  linearRecurrence: decomposeLinearRecurrence,
  linearRecurrenceGrad: decomposeLinearRecurrenceGrad,
  deltaRule: decomposeDeltaRule,
  deltaRuleGrad: decomposeDeltaRuleGrad,
  selectiveScan: decomposeSelectiveScan,
  selectiveScanGrad: decomposeSelectiveScanGrad,
  causalConv: decomposeCausalConv,
};

/** Gradients in the order of the inputs: documents, after the `fixed` ones, have none. */
const withDocuments = (grads: readonly Cotangent[], segments: boolean, fixed: number): readonly Cotangent[] =>
  segments ? [...grads.slice(0, fixed), null, ...grads.slice(fixed)] : grads;

/** The derivative rules of the recurrences, their gradients and the convolution. */
export const RECURRENCE_DERIVATIVES: { readonly [K in keyof typeof RECURRENCE]: DerivativeRule<K> } = {
  linearRecurrence: ({ inputs, outputs: [out, state], attrs }, [dOut, dState]) => {
    const cotangents = [out, dOut ?? zerosLike(out), dState ?? zerosLike(state)];
    return withDocuments(build(RECURRENCE.linearRecurrenceGrad, [...inputs, ...cotangents], attrs), attrs.segments, 4);
  },
  linearRecurrenceGrad: throughDecomposition(RECURRENCE_DECOMPOSITIONS.linearRecurrenceGrad),
  deltaRule: ({ inputs, outputs: [out, state], attrs }, [dOut, dState]) => {
    const cotangents = [out, dOut ?? zerosLike(out), dState ?? zerosLike(state)];
    return withDocuments(
      build(RECURRENCE.deltaRuleGrad, [...inputs, ...cotangents], attrs),
      attrs.segments,
      deltaInputs(attrs),
    );
  },
  deltaRuleGrad: throughDecomposition(RECURRENCE_DECOMPOSITIONS.deltaRuleGrad),
  selectiveScan: (node, cts, pullback) => {
    const { inputs, outputs, attrs } = node;
    if (!attrs.ownGradient) return differentiate(RECURRENCE_DECOMPOSITIONS.selectiveScan, node, cts, pullback);
    const cotangents = outputs.map((v, i) => cts[i] ?? zerosLike(v));
    return withDocuments(build(RECURRENCE.selectiveScanGrad, [...inputs, ...cotangents], attrs), attrs.segments, 5);
  },
  selectiveScanGrad: throughDecomposition(RECURRENCE_DECOMPOSITIONS.selectiveScanGrad),
  causalConv: throughDecomposition(RECURRENCE_DECOMPOSITIONS.causalConv),
};
