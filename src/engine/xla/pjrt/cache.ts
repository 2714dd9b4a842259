/**
 * Compiled programs on disk: one file per program, plugin and device, its name the SHA-256 of what it was compiled
 * from. They are code, so the folder is the user's alone, and each file is authenticated under its name.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmodSync, existsSync, linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  fileError,
  fingerprint,
  makeFolder,
  messageOf,
  writableByOthers,
  writeFileAtomic,
} from '../../../core/index.js';

const MAGIC = 'longsight-xla-2\n';
const MAC_BYTES = 32;
const SECRET_FILE = 'secret';
const SECRET_BYTES = 32;
const OWNER_ONLY = 0o700;
const ANYBODY_ELSE = 0o077;

/** What a compiled program depends on. */
export interface CacheKey {
  readonly program: string;
  /** The serialized `CompileOptionsProto`. */
  readonly options: Uint8Array;
  /** Plugin, platform and versions. */
  readonly plugin: string;
  readonly device: string;
  /** XLA's flags in force. */
  readonly flags: string;
}

/** The fingerprint of a key. */
export const cacheName = (key: CacheKey): string => fingerprint(key);

/**
 * A folder of compiled programs. Each entry carries an HMAC-SHA256 over its name and content, made with a secret that
 * is in the folder: one that was damaged, changed or moved to another name is removed, said and compiled anew.
 */
export class ProgramCache {
  private constructor(
    readonly folder: string,
    private readonly secret: Uint8Array,
    private readonly say: (message: string) => void,
  ) {}

  /**
   * Opens the folder, which is made if need be and becomes the user's alone (mode 0700). Null, which is said, where
   * others could have written it or nothing can be written: programs are compiled at every start then.
   */
  static open(folder: string, say: (message: string) => void): ProgramCache | null {
    try {
      makeFolder(folder);
      const why = writableByOthers(folder);
      if (why !== null) {
        say(`the cache of compiled programs ${folder} is not used: ${why}`);
        return null;
      }
      if ((statSync(folder).mode & ANYBODY_ELSE) !== 0) chmodSync(folder, OWNER_ONLY);
      return new ProgramCache(folder, secretOf(folder), say);
    } catch (cause) {
      say(`compiled programs are not kept: ${fileError('use', folder, cause).message}`);
      return null;
    }
  }

  path(name: string): string {
    return join(this.folder, `${name}.xla`);
  }

  /** The bytes of an entry; null if there is none or it is not what was written under this name. */
  read(name: string): Uint8Array | null {
    const path = this.path(name);
    if (!existsSync(path)) return null;
    const whole = readFileSync(path);
    const head = MAGIC.length + MAC_BYTES;
    const content = whole.subarray(head);
    const good =
      whole.length > head &&
      whole.subarray(0, MAGIC.length).toString('latin1') === MAGIC &&
      timingSafeEqual(this.#mac(name, content), whole.subarray(MAGIC.length, head));
    if (good) return content;
    this.discard(name, 'it is damaged, or was not written here under this name');
    return null;
  }

  /** Removes an entry that cannot be used. */
  discard(name: string, why: string): void {
    rmSync(this.path(name), { force: true });
    this.say(`the compiled program ${this.path(name)} cannot be used (${why}); compiling anew`);
  }

  /** Failing to write costs a compilation next time and nothing else: it is said, not thrown. */
  write(name: string, content: Uint8Array): void {
    try {
      writeFileAtomic(this.path(name), MAGIC, this.#mac(name, content), content);
    } catch (error) {
      this.say(`the compiled program was not kept: ${messageOf(error)}`);
    }
  }

  #mac(name: string, content: Uint8Array): Buffer {
    return createHmac('sha256', this.secret).update(`${MAGIC}${name}\n`).update(content).digest();
  }
}

/** The secret of a folder; made if there is none, of several starts at once by the first. */
function secretOf(folder: string): Uint8Array {
  const path = join(folder, SECRET_FILE);
  const found = readSecret(path);
  if (found !== null) return found;
  if (existsSync(path)) rmSync(path);
  const temporary = join(folder, `${SECRET_FILE}.${randomBytes(8).toString('hex')}.tmp`);
  try {
    writeFileSync(temporary, randomBytes(SECRET_BYTES), { flag: 'wx', mode: 0o600 });
    placeOnce(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
  const made = readSecret(path);
  if (made === null) throw new Error(`${path} is no secret of ${SECRET_BYTES} bytes; remove it`);
  return made;
}

/** Gives a file its name unless another has it; without hard links the last one wins, which costs entries. */
function placeOnce(temporary: string, path: string): void {
  try {
    linkSync(temporary, path);
  } catch (cause) {
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    if (!isThere) renameSync(temporary, path);
  }
}

/** What the file holds; null if it is missing, too short, or others may read it. */
function readSecret(path: string): Uint8Array | null {
  if (!existsSync(path) || (statSync(path).mode & ANYBODY_ELSE) !== 0) return null;
  const secret = readFileSync(path);
  return secret.length === SECRET_BYTES ? secret : null;
}
