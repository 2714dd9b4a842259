/** From the archive of a corpus to JSON Lines in shuffled order. */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, existsSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import {
  present,
  messageOf,
  AtomicFile,
  DataError,
  field,
  fileError,
  InterruptedError,
  LongsightError,
  needFolder,
  openScratch,
  readJson,
  removePath,
  StoreError,
  tryToRemove,
  underLock,
  writeAll,
  writeJsonAtomic,
} from '../../core/index.js';
import type { PrepareProgress } from '../prepare/prepare.js';
import { archiveFiles } from './archive.js';
import type { CorpusArchive, CorpusDefinition } from './definition.js';
import { checkFile, download, sha256OfFile, type DownloadOptions } from './download.js';

/** Where a corpus is made, and from which archive. */
export interface MakeCorpusOptions {
  /** The folder of the corpus. */
  readonly dir: string;
  /** The archive as a file that the user has; nothing is loaded then. */
  readonly from?: string | undefined;
  /** Whether `from` may be another version than the one that the definition names. */
  readonly anyVersion?: boolean | undefined;
  /** Bytes of text to take instead of the definition's. */
  readonly bytes?: number | undefined;
  readonly takeOver?: boolean | undefined;
  /** Called once, with a sentence, if it takes time to find out whether a process of another host lives. */
  readonly waiting?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called while the archive is loaded, then while it is read. */
  readonly progress?: ((phase: 'load' | 'read', progress: PrepareProgress) => void) | undefined;
  readonly fetch?: DownloadOptions['fetch'];
}

/** What a corpus folder holds: `corpus.json`. */
export const recordSchema = z.strictObject({
  format: field(z.literal(1), 'version of the format'),
  name: field(z.string(), 'name of the corpus'),
  description: field(z.string(), 'what its documents are'),
  license: field(z.string(), 'under which license they are'),
  archive: field(
    z.strictObject({
      file: field(z.string(), 'name of the archive'),
      bytes: field(z.int(), 'its size', 'bytes'),
      sha256: field(z.string(), 'its SHA-256'),
    }),
    'the archive that it was made from',
  ),
  wanted: field(
    z.strictObject({
      bytes: field(z.int().nullable(), 'text to take; null for all', 'bytes'),
      seed: field(z.int(), 'seed of the order of documents'),
    }),
    'what was asked for',
  ),
  documents: field(z.int(), 'documents of all files', 'documents'),
  bytes: field(z.int(), 'UTF-8 of their texts', 'bytes'),
  files: field(
    z.array(
      z.strictObject({
        file: field(z.string().regex(/^[\w.-]+\.jsonl$/), 'name of the file'),
        documents: field(z.int(), 'documents in it', 'documents'),
        bytes: field(z.int(), 'UTF-8 of their texts', 'bytes'),
      }),
    ),
    'the files, in order',
  ),
});

/** What a corpus folder holds: `corpus.json`, written last. */
export type CorpusRecord = z.output<typeof recordSchema>;

/** The name of the file that says what a corpus was made of. */
export const CORPUS_FILE = 'corpus.json';
/** Bytes of text in a file of the corpus: as much as a vocabulary of 8,192 is trained on. */
const PART_BYTES = 60_000_000;
const WORK_FOLDER = '.fetch';

/**
 * Makes the corpus in a folder: `NAME-00.jsonl` and on, about 60 MB of text each, a document a line (`text`, and its
 * path as `source`), and `corpus.json`. The same call on the same folder goes on with a download that was stopped, and
 * does nothing where all is done.
 *
 * @returns what the folder holds, and whether it did before
 * @throws DataError if the archive cannot be loaded or is another file than the definition says
 * @throws StoreError if the folder holds another corpus, or the disk does not take it
 * @throws InterruptedError if the signal aborts
 */
export async function makeCorpus(
  definition: CorpusDefinition,
  options: MakeCorpusOptions,
): Promise<{ readonly record: CorpusRecord; readonly existed: boolean }> {
  const { dir } = options;
  const wanted = { bytes: options.bytes ?? definition.bytes, seed: definition.seed };
  if (options.from !== undefined) checkGiven(options.from);
  needFolder(dir);
  const { takeOver, signal, waiting } = options;
  return underLock(join(dir, 'fetch.lock'), dir, { takeOver, signal, waiting }, async (_lock, stop) => {
    const within = { ...options, signal: stop };
    const found = foundRecord(definition, wanted, options);
    if (found !== null) return { record: found, existed: true };
    const work = join(dir, WORK_FOLDER);
    const path = options.from ?? join(work, definition.archive.file);
    const archive = await archiveOf(definition, path, within);
    for (const name of readdirSync(dir)) if (isPart(definition, name)) removePath(join(dir, name));
    const made = await readArchive(definition, path, archive.bytes, wanted, within);
    const { name, description, license } = definition;
    const record: CorpusRecord = { format: 1, name, description, license, archive, wanted, ...made };
    writeJsonAtomic(join(dir, CORPUS_FILE), record);
    removePath(work);
    return { record, existed: false };
  });
}

function checkGiven(path: string): void {
  if (!existsSync(path) || !statSync(path).isFile())
    throw new DataError(`there is no file ${path}; name the archive that you have`);
}

const isPart = (definition: CorpusDefinition, file: string): boolean =>
  file.startsWith(`${definition.name}-`) && /^\d{2,}\.jsonl$/.test(file.slice(definition.name.length + 1));

/** The corpus that the folder holds; null if it holds none. Throws `StoreError` for another one. */
function foundRecord(
  definition: CorpusDefinition,
  wanted: CorpusRecord['wanted'],
  { dir, anyVersion = false }: MakeCorpusOptions,
): CorpusRecord | null {
  const path = join(dir, CORPUS_FILE);
  if (!existsSync(path)) return null;
  const parsed = recordSchema.safeParse(readJson(path));
  const fail = (what: string) => new StoreError(`${what}; choose another folder`, { details: { dir } });
  if (!parsed.success) throw fail(`${path} is no record of a corpus`);
  const { name, wanted: had, files, archive } = parsed.data;
  if (name !== definition.name || had.bytes !== wanted.bytes || had.seed !== wanted.seed) {
    const mb = (bytes: number | null) => (bytes === null ? 'all' : `${bytes / 1e6} MB`);
    throw fail(`${dir} holds the corpus ${name} (${mb(had.bytes)}), not ${definition.name} (${mb(wanted.bytes)})`);
  }
  if (!anyVersion && archive.sha256 !== definition.archive.sha256) {
    throw fail(
      `${dir} holds the corpus ${name} of another archive (${archive.file}, taken as any version, --any-version)`,
    );
  }
  const missing = files.find(({ file }) => !existsSync(join(dir, file)));
  if (missing === undefined) return parsed.data;
  throw new StoreError(`${dir} lacks ${missing.file}; remove ${path} and make the corpus again`, { details: { dir } });
}

/** Loads or checks the archive at `path`, and says what it is. */
async function archiveOf(
  { name, archive }: CorpusDefinition,
  path: string,
  options: MakeCorpusOptions,
): Promise<CorpusRecord['archive']> {
  if (options.from === undefined) {
    await load(archive, path, options);
    return { file: archive.file, bytes: archive.bytes, sha256: archive.sha256 };
  }
  if (options.anyVersion === true) {
    return { file: basename(path), bytes: statSync(path).size, sha256: await sha256OfFile(path) };
  }
  const wrong = await checkFile(path, archive);
  if (wrong === null) return { file: archive.file, bytes: archive.bytes, sha256: archive.sha256 };
  throw new DataError(
    `${path} is not the ${archive.file} that the corpus ${name} is made of: ${wrong}; get it ${archive.elsewhere}; ` +
      'if any version may be taken (--any-version), it is taken as it is, and the corpus is another one',
    { details: { path } },
  );
}

/** Tries the addresses in turn. */
async function load(archive: CorpusArchive, path: string, options: MakeCorpusOptions): Promise<void> {
  const { bytes, sha256, urls, file, elsewhere } = archive;
  const { signal, fetch } = options;
  const progress = (p: PrepareProgress) => options.progress?.('load', p);
  const failures: string[] = [];
  for (const url of urls) {
    try {
      return await download(url, path, { bytes, sha256, signal, fetch, progress });
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      failures.push(error.message);
    }
  }
  throw new DataError(
    `${failures.join('; ')}. Start the command again, or get ${file} (${(bytes / 1e6).toFixed(0)} MB) ${elsewhere}, ` +
      'and name the file (--from)',
    { details: { urls } },
  );
}

type Made = Pick<CorpusRecord, 'documents' | 'bytes' | 'files'>;

async function readArchive(
  definition: CorpusDefinition,
  path: string,
  totalBytes: number,
  wanted: CorpusRecord['wanted'],
  { dir, signal, progress }: MakeCorpusOptions,
): Promise<Made> {
  let bytes = 0;
  async function* source(): AsyncGenerator<Uint8Array> {
    for await (const piece of createReadStream(path) as AsyncIterable<Uint8Array>) {
      if (signal?.aborted === true)
        throw new InterruptedError('the corpus was not finished; start the same command again');
      bytes += piece.length;
      progress?.('read', { bytes, totalBytes, freshBytes: bytes });
      yield piece;
    }
  }
  needFolder(join(dir, WORK_FOLDER));
  using spool = new Spool(join(dir, WORK_FOLDER, 'documents'));
  try {
    for await (const file of archiveFiles(basename(path), source(), join(dir, WORK_FOLDER))) {
      if (!definition.isDocument(file.path, file.size)) continue;
      const text = definition.textOf(await file.bytes(), file.path);
      if (text !== null && text !== '') spool.add(file.path, text);
    }
  } catch (cause) {
    if (cause instanceof LongsightError && !(cause instanceof DataError)) throw cause;
    throw new DataError(`cannot read ${path}: ${messageOf(cause)}`, { details: { path }, cause });
  }
  if (spool.documents.length === 0) {
    throw new DataError(`${path} holds no document of the corpus ${definition.name} (${definition.description})`);
  }
  return writeParts(definition, spool, wanted, dir);
}

/** The documents in shuffled order, cut into files. */
function writeParts(definition: CorpusDefinition, spool: Spool, wanted: CorpusRecord['wanted'], dir: string): Made {
  const limit = wanted.bytes ?? Infinity;
  const files: { file: string; documents: number; bytes: number }[] = [];
  let total = 0;
  const documents = shuffled(spool.documents, wanted.seed);
  for (let at = 0; at < documents.length && total < limit;) {
    const file = `${definition.name}-${String(files.length).padStart(2, '0')}.jsonl`;
    using out = new AtomicFile(join(dir, file));
    const part = { file, documents: 0, bytes: 0 };
    for (; at < documents.length && part.bytes < PART_BYTES && total < limit; at++) {
      const document = present(documents[at]);
      out.write(`${JSON.stringify({ source: document.path, text: spool.read(document) })}\n`);
      part.documents++;
      part.bytes += document.bytes;
      total += document.bytes;
    }
    out.commit();
    files.push(part);
  }
  return { documents: files.reduce((n, f) => n + f.documents, 0), bytes: total, files };
}

/** An order that each document's own path decides, whatever else the archive holds. */
function shuffled<T extends { readonly path: string }>(documents: readonly T[], seed: number): T[] {
  const key = ({ path }: T) => createHash('sha256').update(`${seed} ${path}`).digest('hex');
  const keyed = documents.map((document) => ({ document, key: key(document) }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)).map(({ document }) => document);
}

interface SpooledDocument {
  readonly path: string;
  readonly start: number;
  readonly bytes: number;
}

/** Texts in a file beside the corpus, so that memory does not grow with them; the file goes when disposed. */
class Spool implements Disposable {
  readonly documents: SpooledDocument[] = [];
  readonly #path: string;
  readonly #fd: number;
  #end = 0;

  constructor(path: string) {
    this.#path = path;
    try {
      this.#fd = openScratch(path);
    } catch (cause) {
      throw fileError('write', path, cause);
    }
  }

  add(path: string, text: string): void {
    const bytes = Buffer.from(text);
    try {
      writeAll(this.#fd, bytes, this.#end);
    } catch (cause) {
      throw fileError('write', this.#path, cause);
    }
    this.documents.push({ path, start: this.#end, bytes: bytes.length });
    this.#end += bytes.length;
  }

  read({ start, bytes }: SpooledDocument): string {
    const buffer = Buffer.alloc(bytes);
    for (let at = 0; at < bytes;) at += readSync(this.#fd, buffer, at, bytes - at, start + at);
    return buffer.toString();
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
    tryToRemove(this.#path);
  }
}
