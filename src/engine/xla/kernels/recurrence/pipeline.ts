/** Which kernels make a recurrence, in which order, and what goes from one to the next. */
import type { Kernel } from '../triton/ir.js';
import {
  channelGradsKernel,
  channelSumsKernel,
  deltaAskedKernel,
  deltaOutputsKernel,
  deltaStateGradsKernel,
  deltaStatesKernel,
  prepareChannelKernel,
  prepareRemovalKernel,
  prepareScalarKernel,
  removalReadGradsKernel,
  removalOutputsKernel,
  removalScoreGradsKernel,
  removalWriteGradsKernel,
  scalarGradsKernel,
} from './delta.js';
import { linearGradsKernel, outputsKernel, stateGradsKernel, statesKernel } from './linear.js';
import type { RecurrenceShape } from './shared.js';

/** Arrays by the names of a kernel's buffers; a kernel ignores those that it does not read. */
export type Arrays<X> = Readonly<Record<string, X>>;

/** Runs a kernel, or writes its call: operands by name in, results by name out. */
export type Run<X> = (kernel: Kernel, operands: Arrays<X>) => Arrays<X>;

/** q, k, v, g, [segments], initial -> o, last. */
export function linearForward<X>(run: Run<X>, shape: RecurrenceShape, operands: Arrays<X>): Arrays<X> {
  const states = run(statesKernel(shape), operands);
  return { ...states, ...run(outputsKernel(shape), { ...operands, ...states }) };
}

/** The inputs of the forward pass, do, dstate -> dq, dk, dv, dg, dinitial. */
export function linearBackward<X>(run: Run<X>, shape: RecurrenceShape, operands: Arrays<X>): Arrays<X> {
  const states = run(statesKernel(shape), operands);
  const grads = run(stateGradsKernel(shape), operands);
  return { ...grads, ...run(linearGradsKernel(shape), { ...operands, ...states, ...grads }) };
}

type KernelOf = (shape: RecurrenceShape) => Kernel;

/** The kernels that depend on decays and keys of removal. */
interface DeltaKernels {
  /** Cumulative decays, where no other kernel makes them. */
  readonly sums: KernelOf | null;
  readonly prepare: KernelOf;
  readonly outputs: KernelOf;
  /** One after the other. */
  readonly grads: readonly KernelOf[];
}

function kernelsOf({ channels, removal }: RecurrenceShape): DeltaKernels {
  if (removal)
    return {
      sums: null,
      prepare: prepareRemovalKernel,
      outputs: removalOutputsKernel,
      grads: [removalScoreGradsKernel, removalReadGradsKernel, removalWriteGradsKernel],
    };
  return {
    sums: channels ? channelSumsKernel : null,
    prepare: channels ? prepareChannelKernel : prepareScalarKernel,
    outputs: deltaOutputsKernel,
    grads: [channels ? channelGradsKernel : scalarGradsKernel],
  };
}

/** The operands with the intra-chunk matrices, the written values and the states of the chunks. */
function deltaStates<X>(run: Run<X>, shape: RecurrenceShape, operands: Arrays<X>): Arrays<X> {
  const { sums, prepare } = kernelsOf(shape);
  const gated = sums ? { ...operands, ...run(sums(shape), operands) } : operands;
  const ready = { ...gated, ...run(prepare(shape), gated) };
  return { ...ready, ...run(deltaStatesKernel(shape), ready) };
}

/** q, k, v, g, beta, [read, erase], [segments], initial -> o, last. */
export function deltaForward<X>(run: Run<X>, shape: RecurrenceShape, operands: Arrays<X>): Arrays<X> {
  const states = deltaStates(run, shape, operands);
  return { ...states, ...run(kernelsOf(shape).outputs(shape), states) };
}

/** The inputs of the forward pass, do, dstate -> dq, dk, dv, dg, dbeta, [dread, derase], dinitial. */
export function deltaBackward<X>(run: Run<X>, shape: RecurrenceShape, operands: Arrays<X>): Arrays<X> {
  const states = deltaStates(run, shape, operands);
  const asked = { ...states, ...run(deltaAskedKernel(shape), states) };
  const ofStates = { ...asked, ...run(deltaStateGradsKernel(shape), asked) };
  return kernelsOf(shape).grads.reduce((given, of) => ({ ...given, ...run(of(shape), given) }), ofStates);
}
