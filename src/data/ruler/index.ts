export { ESSAY_DEPTHS, essayWindow, NOISE } from './niah.js';
export { bookQuestions, readHotpot, readSquad } from './qa.js';
export * from './prepare.js';
export * from './read.js';
export { openSources, splitSentences, type SourceOptions } from './sources.js';
export { OFFLINE_TASKS, RULER_13, RULER_TASKS, rulerTask, taskName, type RulerTaskName } from './tasks.js';
export type { Draft, RulerGenerator, RulerSources, RulerTask, Scoring } from './types.js';
