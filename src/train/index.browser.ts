/** What needs no Node: programs for browsers get this in place of `index.ts`. */
export * from './config.js';
export * from './optimizers/index.js';
export * from './schedule.js';
export { stepProgram, type StepConfig, type StepOptions } from './step-programs.js';
export { Trainer, type PendingStep, type StepResult, type TrainerOptions } from './trainer.js';
