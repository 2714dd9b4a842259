/** Loops, recomputation, order, and kernels of engines. */
import { LongsightError, at, invariant } from '../../core/index.js';
import { sameType, show, type Operands } from '../ir/checks.js';
import { build, define } from '../ir/emit.js';
import { traceGraph } from '../ir/graph.js';
import type { Graph, TensorType, Value } from '../ir/types.js';

/** A device's own kernel in place of the ops that it computes; engines put it in while they prepare a graph. */
export interface KernelAttrs {
  readonly name: string;
  readonly types: readonly TensorType[];
  /** The program, which only the engine that put it in understands. */
  readonly program: object;
  /** What it computes, on row-major float64 arrays. */
  evaluate(inputs: readonly Float64Array[]): readonly Float64Array[];
}

/** How a scan runs its body. */
export interface ScanAttrs {
  /** Inputs: carries, one slice of each xs, consts. Outputs: new carries, one slice of each ys. */
  readonly body: Graph;
  /** The number of steps. */
  readonly length: number;
  readonly numCarry: number;
  readonly numXs: number;
  /** Visit slices from the last to the first; ys keep the place of their x. */
  readonly reverse: boolean;
  /** The last `numCarry` outputs are the carries as each step found them, stacked; kept for the derivative. */
  readonly savesCarry: boolean;
}

declare module '../ir/types.js' {
  interface OpSignatures {
    readonly scan: Signature<ScanAttrs, readonly Value[], readonly Value[]>;
    /** The identity on each input; no output is computed before every input is, and nothing is merged across it. */
    readonly barrier: Signature<NoAttrs, readonly Value[], readonly Value[]>;
    /** Runs `body`; its derivative recomputes the body instead of keeping its insides. */
    readonly remat: Signature<{ readonly body: Graph }, readonly Value[], readonly Value[]>;
    readonly kernel: Signature<KernelAttrs, readonly Value[], readonly Value[]>;
  }
}

const plain = ({ dtype, shape }: TensorType): TensorType => ({ dtype, shape });

/** Checks that each input has the type that `wanted` gives for its place. */
function requireTypes(inputs: Operands, wanted: (i: number) => TensorType): void {
  inputs.types.forEach((t, i) => {
    const want = wanted(i);
    if (!sameType(t, want)) throw inputs.shapeError(`input ${i} must be ${show(want)}, got ${show(t)}`);
  });
}

/** Definitions of the ops that steer a computation. */
export const CONTROL = {
  scan: define('scan', null, { precision: 'f32', locality: 'any', merging: 'keep' }, (inputs, attrs) => {
    const { body, length, numCarry, numXs, savesCarry } = attrs;
    const stacked = ({ dtype, shape }: TensorType): TensorType => ({ dtype, shape: [length, ...shape] });
    if (!Number.isInteger(length) || length < 1) throw inputs.shapeError(`length ${length} is not a whole number >= 1`);
    if (inputs.length !== body.inputs.length)
      throw inputs.shapeError(`the body takes ${body.inputs.length} inputs, got ${inputs.length}`);
    requireTypes(inputs, (i) => {
      const { value } = at(body.inputs, i);
      return i >= numCarry && i < numCarry + numXs ? stacked(value) : value;
    });
    const results = body.outputs.map(({ value }, i) => {
      if (i >= numCarry) return stacked(value);
      if (!sameType(value, inputs.at(i)))
        throw inputs.shapeError(`carry ${i} leaves the body as ${show(value)}, but enters as ${show(inputs.at(i))}`);
      return plain(value);
    });
    return [...results, ...results.slice(0, savesCarry ? numCarry : 0).map(stacked)];
  }),
  barrier: define('barrier', null, { precision: 'follows', locality: 'identity', merging: 'keep' }, (inputs) =>
    inputs.types.map(plain),
  ),
  remat: define('remat', null, { precision: 'body', locality: 'any', merging: 'keep' }, (inputs, { body }) => {
    inputs.requireCount(body.inputs.length);
    requireTypes(inputs, (i) => at(body.inputs, i).value);
    return body.outputs.map(({ value }) => plain(value));
  }),
  kernel: define('kernel', null, { precision: 'f32', locality: 'any', merging: 'keep' }, (_, { types }) => types),
};

/** What a scan gives. */
export interface ScanResult {
  /** The carries after the last step. */
  readonly carry: readonly Value[];
  /** The outputs of all steps, stacked: each `[length, ...]`. */
  readonly ys: readonly Value[];
  /** The carries as each step found them, each `[length, ...]`; free unless used (`simplify` drops them). */
  readonly saved: readonly Value[];
}

/**
 * Loops over the leading axis of `xs`: `body(carry, x, consts) -> { carry, ys }`. Values from outside must be passed as
 * `consts`. `length` is needed only without xs. `reverse` visits slices last to first; ys keep the place of their x.
 */
export function scan(
  args: {
    readonly carry: readonly Value[];
    readonly xs?: readonly Value[];
    readonly consts?: readonly Value[];
    readonly length?: number;
    readonly reverse?: boolean;
  },
  body: (
    carry: Value[],
    x: Value[],
    consts: Value[],
  ) => { readonly carry: readonly Value[]; readonly ys?: readonly Value[] },
): ScanResult {
  const { carry, xs = [], consts = [], reverse = false } = args;
  const length = args.length ?? xs[0]?.shape[0];
  if (length === undefined) throw new LongsightError('scan needs xs or a length');
  const types: TensorType[] = [...carry, ...xs.map((x) => ({ dtype: x.dtype, shape: x.shape.slice(1) })), ...consts];
  const [numCarry, numXs] = [carry.length, xs.length];
  const graph = traceGraph(types, (inputs) => {
    const out = body(
      inputs.slice(0, numCarry),
      inputs.slice(numCarry, numCarry + numXs),
      inputs.slice(numCarry + numXs),
    );
    invariant(out.carry.length === numCarry, `a scan body returned ${out.carry.length} carries for ${numCarry}`);
    return [...out.carry, ...(out.ys ?? [])];
  });
  // Carries are always saved, since a derivative may need them; `simplify` drops what nothing reads.
  const attrs = { body: graph, length, numCarry, numXs, reverse, savesCarry: true };
  const outputs = build(CONTROL.scan, [...carry, ...xs, ...consts], attrs);
  const numYs = graph.outputs.length - numCarry;
  return {
    carry: outputs.slice(0, numCarry),
    ys: outputs.slice(numCarry, numCarry + numYs),
    saved: outputs.slice(numCarry + numYs),
  };
}

/**
 * `body(inputs)`, whose insides are recomputed in the backward pass instead of kept (Chen et al. 2016). Values from
 * outside must be among `inputs`.
 */
export function remat(inputs: readonly Value[], body: (inputs: Value[]) => readonly Value[]): readonly Value[] {
  return build(CONTROL.remat, inputs, { body: traceGraph(inputs, body) });
}

/**
 * The values themselves: an identity on several values at once that keeps order. No result is computed before every
 * value is there, and engines merge nothing across it. The results are in the order of the values.
 */
export function barrier<const T extends readonly Value[]>(values: T): { readonly [I in keyof T]: Value } {
  return build(CONTROL.barrier, values, {}) as { readonly [I in keyof T]: Value };
}

/** A node that runs a device's own kernel on `operands`; results have the types that its attributes say. */
export function kernel(operands: readonly Value[], attrs: KernelAttrs): readonly Value[] {
  return build(CONTROL.kernel, operands, attrs);
}
