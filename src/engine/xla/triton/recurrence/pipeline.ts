/** Which kernels make a recurrence, in which order, and what goes from one to the next. */
import type { Kernel } from '../ir.js';
import { askedKernel, deltaGradsKernel, deltaStateGradsKernel, deltaStatesKernel, prepareKernel } from './delta.js';
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

/** The written values and states; v with a row for each head. */
function deltaStates<X>(run: Run<X>, shape: RecurrenceShape, given: Arrays<X>): Arrays<X> {
  const prepared = run(prepareKernel(shape), given);
  return { ...prepared, ...run(deltaStatesKernel(shape), { ...given, ...prepared }) };
}

/** q, k, v, g, beta, [segments], initial -> o, last. */
export function deltaForward<X>(run: Run<X>, shape: RecurrenceShape, given: Arrays<X>): Arrays<X> {
  const states = deltaStates(run, shape, given);
  const perHead = { ...shape, vHeads: shape.heads };
  return { ...states, ...run(outputsKernel(perHead), { ...given, ...states, v: states.n as X }) };
}

/** The inputs of the forward pass, do, dstate -> dq, dk, dv, dg, dbeta, dinitial. */
export function deltaBackward<X>(run: Run<X>, shape: RecurrenceShape, given: Arrays<X>): Arrays<X> {
  const forward = { ...given, ...deltaStates(run, shape, given) };
  const asked = { ...forward, ...run(askedKernel(shape), given) };
  const grads = { ...asked, ...run(deltaStateGradsKernel(shape), asked) };
  return { ...grads, ...run(deltaGradsKernel(shape), grads) };
}
