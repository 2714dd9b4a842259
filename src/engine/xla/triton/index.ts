export { KernelBuilder, type Launch, type LoadOptions, type Operand } from './builder.js';
export { callKernel } from './call.js';
export { runKernel, type InterpretOptions } from './interpret.js';
export type * from './ir.js';
export { printKernel } from './print.js';
export { kernelNode, WHOLE, type KernelWork, type Pieces } from './node.js';
