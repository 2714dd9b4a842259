/**
 * Draws figures and finds words for metrics on a thread of its own: a study takes seconds, and loading what knows
 * models a part of one, in which pages go on being answered.
 */
import { parentPort } from 'node:worker_threads';
import { messageOf } from '../core/index.js';
import { workedOut, type ThreadTask } from './thread-tasks.js';

parentPort?.on('message', ({ number, task }: { readonly number: number; readonly task: ThreadTask }) => {
  workedOut(task).then(
    (answer) => parentPort?.postMessage({ number, answer, problem: null }),
    (error: unknown) => parentPort?.postMessage({ number, answer: null, problem: messageOf(error) }),
  );
});
