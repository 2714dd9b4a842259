/** Reads metrics files on a thread of its own: gigabytes take minutes, in which pages go on being answered. */
import { parentPort } from 'node:worker_threads';
import { indexFile, type IndexTask } from './indexing.js';

parentPort?.on('message', (task: IndexTask) => {
  let isRead = false;
  try {
    isRead = indexFile(task);
  } catch {
    // Said as false: the file is then read by the server itself, which says what is wrong with it.
  }
  parentPort?.postMessage(isRead);
});
