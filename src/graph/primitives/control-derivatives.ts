/** Derivatives of loops, recomputation and order. */
import { LongsightError, at, isFloat } from '../../core/index.js';
import { inline } from '../ir/graph.js';
import type { Cotangent, DerivativeRule } from '../ir/rules.js';
import type { Value } from '../ir/types.js';
import { barrier, scan } from './control.js';
import { none, zerosLike } from './differentiate.js';
import { add } from './elementwise.js';

/** The places of the floating-point values, which alone have derivatives. */
const floats = (vs: readonly Value[]): number[] => vs.flatMap((v, i) => (isFloat(v.dtype) ? [i] : []));

const pick = <T>(vs: readonly T[], places: readonly number[]): T[] => places.map((i) => at(vs, i));

/**
 * A scan the other way round. Its carry holds the cotangents of the carries and the sums of those of the consts; each
 * step inlines the body at the carries that the forward pass saved and differentiates it.
 */
const scanRule: DerivativeRule<'scan'> = (node, cts, pullback) => {
  const { body, length, numCarry, numXs, reverse, savesCarry } = node.attrs;
  const carry0 = node.inputs.slice(0, numCarry);
  const xs = node.inputs.slice(numCarry, numCarry + numXs);
  const consts = node.inputs.slice(numCarry + numXs);
  const numYs = node.outputs.length - numCarry - (savesCarry ? numCarry : 0);
  const saved = savesCarry
    ? node.outputs.slice(numCarry + numYs)
    : scan({ carry: carry0, xs, consts, length, reverse }, (c, x, k) => {
        return { carry: inline(body, [...c, ...x, ...k]).slice(0, numCarry) };
      }).saved;
  const ctOr = (ct: Cotangent | undefined, v: Value): Value => ct ?? zerosLike(v);
  const [fc, fk, fx] = [floats(carry0), floats(consts), floats(xs)];
  const ys = node.outputs.slice(numCarry, numCarry + numYs);
  const fy = floats(ys);
  const back = scan(
    {
      carry: [...fc.map((i) => ctOr(cts[i], at(carry0, i))), ...pick(consts, fk).map(zerosLike)],
      xs: [...saved, ...xs, ...fy.map((i) => ctOr(cts[numCarry + i], at(ys, i)))],
      consts,
      length,
      reverse: !reverse,
    },
    (carry, x, k) => {
      const [c, rest] = [x.slice(0, numCarry), x.slice(numCarry)];
      const [xi, dy] = [rest.slice(0, numXs), rest.slice(numXs)];
      const [dc, dk] = [carry.slice(0, fc.length), carry.slice(fc.length)];
      const outs = inline(body, [...c, ...xi, ...k]);
      const outCts: Cotangent[] = outs.map(() => null);
      fc.forEach((i, j) => (outCts[i] = at(dc, j)));
      fy.forEach((i, j) => (outCts[numCarry + i] = at(dy, j)));
      const wrt = [...pick(c, fc), ...pick(k, fk), ...pick(xi, fx)];
      const grads = pullback(outs, outCts, wrt).map((g, i) => g ?? zerosLike(at(wrt, i)));
      // Every step reads the consts: their cotangents add up.
      const dConsts = dk.map((v, j) => add(v, at(grads, fc.length + j)));
      return { carry: [...grads.slice(0, fc.length), ...dConsts], ys: grads.slice(fc.length + fk.length) };
    },
  );
  const result: Cotangent[] = node.inputs.map(() => null);
  fc.forEach((i, j) => (result[i] = at(back.carry, j)));
  fx.forEach((i, j) => (result[numCarry + i] = at(back.ys, j)));
  fk.forEach((i, j) => (result[numCarry + numXs + i] = at(back.carry, fc.length + j)));
  return result;
};

const rematRule: DerivativeRule<'remat'> = (node, cts, pullback) => {
  const live = cts.filter((c): c is Value => c !== null);
  // The barrier ties the recomputation to the cotangents: it cannot start, or be merged with the first one, before
  // them.
  const tied = barrier<readonly Value[]>([...node.inputs, ...live]);
  const inputs = tied.slice(0, node.inputs.length);
  let next = node.inputs.length;
  const tiedCts = cts.map((c) => (c ? at(tied, next++) : null));
  const outs = inline(node.attrs.body, inputs);
  return pullback(outs, tiedCts, inputs);
};

type Control = 'input' | 'constant' | 'iota' | 'scan' | 'barrier' | 'remat' | 'kernel';

/** The derivative rules of control and leaves. */
export const CONTROL_DERIVATIVES: { readonly [K in Control]: DerivativeRule<K> } = {
  input: none,
  constant: none,
  iota: none,
  scan: scanRule,
  barrier: (_, cts) => cts,
  remat: rematRule,
  kernel: ({ attrs: { name } }) => {
    throw new LongsightError(`internal error: kernel ${name} has no derivative; differentiate before preparing`);
  },
};
