export { KernelBuilder, type Launch, type LoadOptions, type Operand } from './builder.js';
export { runKernel, type InterpretOptions } from './interpret.js';
export type * from './ir.js';
export { printKernel } from './print.js';
