/** A worker thread of `prepareShards`: encodes the chunks it is sent, one after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { byteTokenizer, openTokenizer } from '../../checkpoint/index.js';
import { invariant, joinLock, LongsightError, messageOf, type LockTicket } from '../../core/index.js';
import type { Range } from '../documents.js';
import { encodeChunk, type ChunkResult, type WorkOptions } from './work.js';

/** What a worker thread is started with. */
export interface WorkerSetup {
  readonly work: WorkOptions;
  /** The folder of the tokenizer; null for bytes. */
  readonly tokenizerFolder: string | null;
  /** The lock that the process holds while its threads write. */
  readonly ticket: LockTicket;
}

/** A chunk for a worker thread to encode. */
export interface WorkerTask {
  /** The chunk's number, from 0, which names its shards. */
  readonly index: number;
  readonly chunk: readonly Range[];
}

/** What a worker thread reports: bytes that were read, a chunk that is done, or an error. */
export type WorkerReply =
  | { readonly type: 'progress'; readonly bytes: number }
  | { readonly type: 'done'; readonly index: number; readonly result: ChunkResult }
  | { readonly type: 'failed'; readonly name: string; readonly message: string };

/** Bytes between two messages of progress. */
const REPORT_BYTES = 4 * 2 ** 20;

const port = parentPort;
invariant(port, 'this file runs as a worker thread only');
const { work, tokenizerFolder, ticket } = workerData as WorkerSetup;
joinLock(ticket);
const tokenizer = tokenizerFolder === null ? byteTokenizer() : openTokenizer(tokenizerFolder);
const send = (reply: WorkerReply) => port.postMessage(reply);

async function run({ index, chunk }: WorkerTask): Promise<void> {
  let unreported = 0;
  const report = (bytes: number): void => {
    unreported += bytes;
    if (unreported < REPORT_BYTES) return;
    send({ type: 'progress', bytes: unreported });
    unreported = 0;
  };
  try {
    const result = await encodeChunk(work, tokenizer, index, chunk, report);
    send({ type: 'progress', bytes: unreported });
    send({ type: 'done', index, result });
  } catch (error) {
    const known = error instanceof LongsightError;
    const text = messageOf(error);
    send({ type: 'failed', name: known ? error.name : 'Error', message: text });
  }
}

port.on('message', (task: WorkerTask) => void run(task));
