/**
 * Files to token shards: in parallel, resumable at any moment, with the same bytes whatever the number of workers.
 *
 * Work is cut into chunks before it starts, from sizes alone; each chunk becomes one shard a split. While work is under
 * way `.prepare/` holds the plan and what is done; the manifest is written last, and `.prepare/` removed.
 */
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { byteTokenizer, openTokenizer, type TextTokenizer } from '../../checkpoint/index.js';
import {
  parseStored,
  i32At,
  at,
  canonicalJson,
  ConfigError,
  copyFileAtomic,
  DataError,
  fileError,
  fingerprintFile,
  InterruptedError,
  isTemporary,
  LongsightError,
  type LockTicket,
  namesIn,
  readJson,
  removePath,
  renamePath,
  StoreError,
  underLock,
  writeJsonAtomic,
  turn,
} from '../../core/index.js';
import { listInputs, planChunks, unpackInputs, type ListedInput, type Range, type ReadOptions } from '../documents.js';
import { isUrl } from '../kinds.js';
import { ShardFile } from '../shards/format.js';
import { hasShards, MANIFEST_FILE, readManifest, type Manifest, type ShardEntry } from '../shards/manifest.js';
import { chunkResultSchema, encodeChunk, type ChunkResult, type WorkOptions } from './work.js';
import type { WorkerReply, WorkerSetup, WorkerTask } from './worker.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readI32 = i32At;

/** What `prepareShards` makes token shards from, and how. */
export interface PrepareOptions {
  /** Files, sorted as they are to be read: text, `.jsonl`, `.parquet`, or URLs of Parquet files. */
  readonly files: readonly string[];
  /** The folder of the tokenizer; null for bytes. */
  readonly tokenizerFolder: string | null;
  /** The folder of the shards. */
  readonly dir: string;
  /** The share of documents that is held out, chosen by hash, from 0 to 1 (default 0). */
  readonly heldOut?: number;
  readonly field?: string;
  readonly invalid?: ReadOptions['invalid'];
  /** Bytes of the files that become one shard. */
  readonly chunkBytes?: number;
  /** Threads; 1 works in the calling thread. Default: as many as the process may use. */
  readonly workers?: number;
  /** Text of the token that ends documents, if the tokenizer's own is not to be used. */
  readonly endOfText?: string;
  /**
   * Whether to wait less long for the heartbeat of a process that cannot be seen from here, such as one of another
   * host; see `takeLock`.
   */
  readonly takeOver?: boolean | undefined;
  /** Called once, with a sentence, if it takes time to find out whether a process of another host lives. */
  readonly waiting?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal;
  readonly progress?: (progress: PrepareProgress) => void;
}

/** How far `prepareShards` is. */
export interface PrepareProgress {
  /** Bytes of the files that are done, those of earlier starts included. */
  readonly bytes: number;
  /** Bytes of all files. */
  readonly totalBytes: number;
  /** Bytes that were done since this start. */
  readonly freshBytes: number;
}

/** What `prepareShards` made. */
export interface PrepareResult {
  readonly manifest: Manifest;
  /** Chunks that an earlier start had finished; null if nothing was left to do. */
  readonly resumed: number | null;
}

/** The bytes of input that become one shard by default: 32 MiB. */
export const DEFAULT_CHUNK_BYTES = 32 * 2 ** 20;
const WORK_FOLDER = '.prepare';
const UNPACKED_FOLDER = 'unpacked';
const PLAN_FILE = 'plan.json';
/** 2: files by content; 1 had paths and times. */
const PLAN_FORMAT = 2;
const LOCK_FILE = 'prepare.lock';
const RESULT = /^\d{6}\.json$/;
const SHARD = /^(train|held-out)-\d{6}\.tokens$/;

/**
 * Makes token shards. The same call on the same folder goes on where it was stopped or killed, and does nothing where
 * all is done.
 *
 * @throws DataError naming file and place where the input is wrong
 * @throws StoreError if the folder holds something else, other shards, or the disk does not take them
 * @throws InterruptedError if the signal aborts
 */
export async function prepareShards(options: PrepareOptions): Promise<PrepareResult> {
  const { dir, tokenizerFolder } = options;
  const tokenizer = tokenizerFolder === null ? byteTokenizer() : openTokenizer(tokenizerFolder);
  const field = options.field ?? 'text';
  const listed = await listInputs(options.files, field, options.signal);
  const read = { field, invalid: options.invalid ?? 'refuse', cut: tokenizer.cuttable } as const;
  const heldOut = options.heldOut ?? 0;
  const settings = { read, heldOut, endOfText: endOfTextOf(tokenizer, options.endOfText) };
  const chunkBytes = options.chunkBytes ?? DEFAULT_CHUNK_BYTES;
  const empty = new DataError(`no text in ${options.files.join(', ')}; add files that are not empty`);
  if (listed.every(({ bytes }) => bytes === 0)) throw empty;
  const plan = planRecord(settings, listed, tokenizer, chunkBytes, options.signal);
  checkFolder(dir);
  const { takeOver, signal, waiting } = options;
  return underLock(join(dir, LOCK_FILE), dir, { takeOver, signal, waiting }, async (lock, stop) => {
    if (hasShards(dir)) {
      checkSamePlan(dir, readJson(join(dir, PLAN_FILE)), plan);
      removePath(join(dir, WORK_FOLDER));
      return { manifest: readManifest(dir), resumed: null };
    }
    checkResumed(dir, plan);
    const inputs = await unpackInputs(listed, field, join(dir, WORK_FOLDER, UNPACKED_FOLDER), stop);
    const work: WorkOptions = { dir, inputs, ...settings };
    const chunks = planChunks(inputs, chunkBytes, tokenizer.cuttable);
    if (chunks.length === 0) throw empty;
    const done = startOrResume(dir, plan, chunks.length, tokenizerFolder);
    await encodeAll({ ...options, signal: stop, ticket: lock.ticket }, work, tokenizer, chunks, done);
    const manifest = manifestOf(work, listed, tokenizer, chunks.length);
    const resumed = done.size;
    if (manifest.train.tokens === 0 && manifest.heldOutSplit.tokens === 0) {
      throw new DataError(`the files hold no documents that are not empty: ${options.files.join(', ')}`);
    }
    rename(join(dir, WORK_FOLDER, PLAN_FILE), join(dir, PLAN_FILE));
    writeJsonAtomic(join(dir, MANIFEST_FILE), manifest);
    removePath(join(dir, WORK_FOLDER));
    return { manifest, resumed };
  });
}

function endOfTextOf(tokenizer: TextTokenizer, wanted: string | undefined): number {
  if (wanted === undefined) {
    if (tokenizer.endOfText !== null) return tokenizer.endOfText;
    throw new ConfigError('the tokenizer names no token that ends a text; name one (--end-of-text)');
  }
  const ids = tokenizer.encode(wanted);
  if (ids.length === 1) return readI32(ids, 0);
  throw new ConfigError(
    `end of text ${wanted} (--end-of-text): that is ${ids.length} tokens, not one of the vocabulary`,
  );
}

/**
 * What decides the shards, as JSON: files by content and in order, wherever they lie (URLs by address and size),
 * options, tokenizer. Reads each file once from front to back.
 */
function planRecord(
  { heldOut, endOfText, read }: Pick<WorkOptions, 'heldOut' | 'endOfText' | 'read'>,
  listed: readonly ListedInput[],
  tokenizer: TextTokenizer,
  chunkBytes: number,
  signal?: AbortSignal,
): object {
  const files = listed.map(({ path, bytes }) => {
    signal?.throwIfAborted();
    return isUrl(path) ? { url: path, bytes } : { name: basename(path), bytes, sha256: fingerprintFile(path) };
  });
  return { format: PLAN_FORMAT, tokenizer: tokenizer.fingerprint, endOfText, heldOut, ...read, chunkBytes, files };
}

function checkSamePlan(dir: string, stored: unknown, plan: object): void {
  const [a, b] = [stored as Record<string, unknown>, plan as Record<string, unknown>];
  if (a['format'] !== PLAN_FORMAT) {
    throw new StoreError(
      `${dir} was made by a version that kept no contents of files; choose another folder or remove it`,
      {
        details: { dir },
      },
    );
  }
  const differing = Object.keys(b).filter((key) => canonicalJson(a[key]) !== canonicalJson(b[key]));
  if (differing.length === 0) return;
  const file = changedFile(a['files'], b['files']);
  throw new StoreError(
    `${dir} holds shards of other files or options (${differing.join(', ')} differ)${file === undefined ? '' : `, such as ${file}`}; ` +
      'choose another folder or remove it',
    { details: { dir, differing } },
  );
}

/** The first file that is not the one in its place before. */
function changedFile(before: unknown, now: unknown): string | undefined {
  const listOf = (value: unknown) => (Array.isArray(value) ? (value as { name?: string; url?: string }[]) : []);
  const old = listOf(before);
  const file = listOf(now).find((entry, i) => canonicalJson(entry) !== canonicalJson(old[i]));
  return file?.name ?? file?.url;
}

/** Throws `StoreError` if the folder holds anything but a preparation, done or under way. */
function checkFolder(dir: string): void {
  let names: string[];
  try {
    names = namesIn(dir);
  } catch (cause) {
    throw fileError('make folder', dir, cause);
  }
  if (names.length === 0 || names.includes(MANIFEST_FILE) || names.includes(WORK_FOLDER)) return;
  if (names.every((name) => name.startsWith(LOCK_FILE))) return;
  throw new StoreError(`${dir} exists, is not empty and holds no token shards; choose another folder`, {
    details: { dir },
  });
}

/** Throws `StoreError` if the folder holds results of another preparation. */
function checkResumed(dir: string, plan: object): void {
  const folder = join(dir, WORK_FOLDER);
  const hasResults = existsSync(folder) && readdirSync(folder).some((name) => RESULT.test(name));
  // The plan was moved out if the process died right before the manifest was written.
  for (const path of [join(folder, PLAN_FILE), join(dir, PLAN_FILE)]) {
    if (hasResults && existsSync(path)) checkSamePlan(dir, readJson(path), plan);
  }
}

/** Starts a preparation, or finds what an earlier start has done. */
function startOrResume(
  dir: string,
  plan: object,
  numChunks: number,
  tokenizerFolder: string | null,
): Map<number, ChunkResult> {
  const folder = join(dir, WORK_FOLDER);
  // The plan first: its folder tells a later start that the rest was made here.
  writeJsonAtomic(join(folder, PLAN_FILE), plan);
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    const source = tokenizerFolder === null ? null : join(tokenizerFolder, name);
    if (source !== null && existsSync(source)) copyFileAtomic(source, join(dir, name));
  }
  const done = new Map<number, ChunkResult>();
  for (let index = 0; index < numChunks; index++) {
    const path = resultPath(dir, index);
    if (!existsSync(path)) continue;
    const result = readResult(path);
    if ([result.train, result.heldOut].every((entry) => entry === null || isThere(dir, entry))) done.set(index, result);
  }
  const wanted = new Set([...done.values()].flatMap((r) => [r.train?.file, r.heldOut?.file]));
  for (const name of readdirSync(dir)) {
    if (isTemporary(name) || (SHARD.test(name) && !wanted.has(name))) removePath(join(dir, name));
  }
  return done;
}

const readResult = (path: string): ChunkResult =>
  parseStored(chunkResultSchema, readJson(path), path, '; remove the file to encode its chunk again');

function isThere(dir: string, entry: ShardEntry): boolean {
  try {
    using shard = new ShardFile(join(dir, entry.file));
    return shard.numTokens === entry.tokens && shard.sha256 === entry.sha256;
  } catch (error) {
    if (error instanceof StoreError) return false;
    throw error;
  }
}

function resultPath(dir: string, index: number): string {
  return join(dir, WORK_FOLDER, `${String(index).padStart(6, '0')}.json`);
}

async function encodeAll(
  options: PrepareOptions & { readonly ticket: LockTicket },
  work: WorkOptions,
  tokenizer: TextTokenizer,
  chunks: readonly (readonly Range[])[],
  done: ReadonlyMap<number, ChunkResult>,
): Promise<void> {
  const sizeOf = (range: Range) => {
    const { groups, bytes } = at(work.inputs, range.input);
    return ((range.end - range.begin) / (groups > 0 ? groups : bytes)) * bytes;
  };
  const bytesOf = (chunk: readonly Range[]) => chunk.reduce((sum, range) => sum + sizeOf(range), 0);
  const totalBytes = chunks.reduce((sum, chunk) => sum + bytesOf(chunk), 0);
  let freshBytes = 0;
  const before = [...done.keys()].reduce((sum, index) => sum + bytesOf(chunks[index] ?? []), 0);
  const report = (bytes: number): void => {
    freshBytes = Math.min(totalBytes - before, freshBytes + bytes);
    options.progress?.({ bytes: before + freshBytes, totalBytes, freshBytes });
  };
  report(0);
  const tasks = chunks.map((chunk, index) => ({ chunk, index })).filter(({ index }) => !done.has(index));
  const store = (index: number, result: ChunkResult) => writeJsonAtomic(resultPath(work.dir, index), result);
  const workers = Math.min(options.workers ?? availableParallelism(), tasks.length);
  if (workers > 1) {
    await encodeInThreads({ work, tokenizerFolder: options.tokenizerFolder, ticket: options.ticket }, tasks, workers, {
      ...{ report, store },
      signal: options.signal,
    });
    return;
  }
  const stoppable = { ...work, read: { ...work.read, signal: options.signal } };
  for (const { index, chunk } of tasks) {
    const step = async (bytes: number): Promise<void> => {
      report(bytes);
      await turn();
      if (options.signal?.aborted === true) throw stopped();
    };
    store(index, await encodeChunk(stoppable, tokenizer, index, chunk, step));
  }
}

function stopped(): InterruptedError {
  return new InterruptedError('preparing was stopped; the same command goes on from there');
}

interface Threads {
  readonly report: (bytes: number) => void;
  readonly store: (index: number, result: ChunkResult) => void;
  readonly signal: AbortSignal | undefined;
}

/** Every thread takes the next chunk when it has done one. The first failure ends all of them. */
async function encodeInThreads(
  setup: WorkerSetup,
  tasks: readonly WorkerTask[],
  count: number,
  { report, store, signal }: Threads,
): Promise<void> {
  const queue = [...tasks];
  const threads = Array.from(
    { length: count },
    () => new Worker(new URL('./worker.js', import.meta.url), { workerData: setup }),
  );
  try {
    await Promise.all(
      threads.map(
        (thread) =>
          new Promise<void>((resolve, reject) => {
            const next = (): void => {
              const task = queue.shift();
              if (task === undefined) resolve();
              else thread.postMessage(task);
            };
            // Chunks are handed out one by one, not in equal shares: their documents take unequal time to encode.
            signal?.addEventListener('abort', () => reject(stopped()), { once: true });
            if (signal?.aborted === true) reject(stopped());
            thread.on('error', reject);
            thread.on('exit', (code) => reject(new LongsightError(`a worker thread ended with code ${code}`)));
            thread.on('message', (reply: WorkerReply) => {
              try {
                if (reply.type === 'progress') report(reply.bytes);
                else if (reply.type === 'failed') reject(errorOf(reply));
                else {
                  store(reply.index, reply.result);
                  next();
                }
              } catch (error) {
                reject(error instanceof Error ? error : new LongsightError(String(error)));
              }
            });
            next();
          }),
      ),
    );
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}

/** An error that crossed from a thread, of its class where users' mistakes are concerned. */
function errorOf({ name, message }: { name: string; message: string }): LongsightError {
  const known: Readonly<Record<string, new (message: string) => LongsightError>> = {
    DataError,
    StoreError,
    ConfigError,
  };
  return new (known[name] ?? LongsightError)(message);
}

function manifestOf(
  work: WorkOptions,
  listed: readonly ListedInput[],
  tokenizer: TextTokenizer,
  numChunks: number,
): Manifest {
  const { dir } = work;
  const results = Array.from({ length: numChunks }, (_, index) => readResult(resultPath(dir, index)));
  const split = (which: 'train' | 'heldOut') => {
    const shards = results.map((r) => r[which]).filter((entry) => entry !== null);
    const sum = (of: (entry: ShardEntry) => number) => shards.reduce((total, entry) => total + of(entry), 0);
    return { tokens: sum((e) => e.tokens), documents: sum((e) => e.documents), shards };
  };
  return {
    format: 1,
    tokenizer: { fingerprint: tokenizer.fingerprint, vocabSize: tokenizer.vocabSize, endOfText: work.endOfText },
    heldOut: work.heldOut,
    files: listed.map(({ path, bytes }) => ({ name: basename(path), bytes })),
    textBytes: results.reduce((total, r) => total + r.textBytes, 0),
    nullTexts: results.reduce((total, r) => total + r.nullTexts, 0),
    train: split('train'),
    heldOutSplit: split('heldOut'),
  };
}

function rename(from: string, to: string): void {
  try {
    renamePath(from, to);
  } catch (cause) {
    throw fileError('rename', from, cause);
  }
}
