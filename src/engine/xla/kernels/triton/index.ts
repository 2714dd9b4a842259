export { KernelBuilder } from './builder.js';
export { runKernel } from './interpret.js';
export type * from './ir.js';
export { printKernel } from './print.js';
