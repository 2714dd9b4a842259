/** Draws figures on a thread of its own: a study takes seconds, in which pages go on being answered. */
import { parentPort } from 'node:worker_threads';
import { messageOf } from '../core/index.js';
import { drawFigures, type FiguresTask } from './study-figures.js';

parentPort?.on('message', ({ number, task }: { readonly number: number; readonly task: FiguresTask }) => {
  try {
    parentPort?.postMessage({ number, answer: drawFigures(task), problem: null });
  } catch (error) {
    parentPort?.postMessage({ number, answer: null, problem: messageOf(error) });
  }
});
