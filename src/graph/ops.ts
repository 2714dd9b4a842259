/** The op functions of every family: each takes values (and plain attributes), checks them and returns new values. */
export * from './primitives/index.js';
export * from './attention/op.js';
export * from './gate/op.js';
export * from './loss/op.js';
export * from './norm/op.js';
export * from './recurrence/op.js';
export { rotaryAt } from './rotary/at.js';
export * from './rotary/op.js';
