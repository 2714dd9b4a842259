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
  prepareScalarKernel,
  scalarGradsKernel,
} from './delta.js';
import { linearGradsKernel, outputsKernel, stateGradsKernel, statesKernel } from './linear.js';
import type { RecurrenceShape } from './shared.js';

/** Arrays by the names of a kernel's buffers; more may be given than a kernel reads. */
export type Arrays<X> = Readonly<Record<string, X>>;

/** Runs a kernel, or writes its call: operands by name in, results by name out. */
export type Run<X> = (kernel: Kernel, operands: Arrays<X>) => Arrays<X>;

/** q, k, v, g, [segments], initial -> o, last. */
export function linearForward<X>(run: Run<X>, shape: RecurrenceShape, given: Arrays<X>): Arrays<X> {
  const states = run(statesKernel(shape), given);
  return { ...states, ...run(outputsKernel(shape), { ...given, ...states }) };
}

/** The inputs of the forward pass, do, dstate -> dq, dk, dv, dg, dinitial. */
export function linearBackward<X>(run: Run<X>, shape: RecurrenceShape, given: Arrays<X>): Arrays<X> {
  const states = run(statesKernel(shape), given);
  const grads = run(stateGradsKernel(shape), given);
  return { ...grads, ...run(linearGradsKernel(shape), { ...given, ...states, ...grads }) };
}

/** Chunks made ready, the written values and the states, beside what was given. */
function deltaStates<X>(run: Run<X>, shape: RecurrenceShape, given: Arrays<X>): Arrays<X> {
  const gated = shape.channels ? { ...given, ...run(channelSumsKernel(shape), given) } : given;
  const ready = { ...gated, ...run((shape.channels ? prepareChannelKernel : prepareScalarKernel)(shape), gated) };
  return { ...ready, ...run(deltaStatesKernel(shape), ready) };
}

/** q, k, v, g, beta, [segments], initial -> o, last. */
export function deltaForward<X>(run: Run<X>, shape: RecurrenceShape, given: Arrays<X>): Arrays<X> {
  const states = deltaStates(run, shape, given);
  return { ...states, ...run(deltaOutputsKernel(shape), states) };
}

/** The inputs of the forward pass, do, dstate -> dq, dk, dv, dg, dbeta, dinitial. */
export function deltaBackward<X>(run: Run<X>, shape: RecurrenceShape, given: Arrays<X>): Arrays<X> {
  const states = deltaStates(run, shape, given);
  const asked = { ...states, ...run(deltaAskedKernel(shape), states) };
  const grads = { ...asked, ...run(deltaStateGradsKernel(shape), asked) };
  return { ...grads, ...run((shape.channels ? channelGradsKernel : scalarGradsKernel)(shape), grads) };
}
