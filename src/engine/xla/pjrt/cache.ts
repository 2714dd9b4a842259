/**
 * Compiled programs on disk: one file per program, plugin and device, its name the SHA-256 of what it was compiled
 * from.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fingerprint, writeFileAtomic } from '../../../core/index.js';

const MAGIC = 'longsight-xla-1\n';
const DIGEST_BYTES = 32;

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

const digest = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** The fingerprint of a key. */
export const cacheName = (key: CacheKey): string => fingerprint(key);

/** A folder of compiled programs. Entries carry the digest of their content: a damaged one is removed and said. */
export class ProgramCache {
  constructor(
    readonly folder: string,
    private readonly say: (message: string) => void,
  ) {}

  path(name: string): string {
    return join(this.folder, `${name}.xla`);
  }

  /** The bytes of an entry; null if there is none or it is damaged. */
  read(name: string): Uint8Array | null {
    const path = this.path(name);
    if (!existsSync(path)) return null;
    const whole = readFileSync(path);
    const head = MAGIC.length + DIGEST_BYTES;
    const content = whole.subarray(head);
    const good =
      whole.length > head &&
      whole.subarray(0, MAGIC.length).toString('latin1') === MAGIC &&
      digest(content).equals(whole.subarray(MAGIC.length, head));
    if (good) return content;
    this.discard(name, 'it is damaged');
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
      writeFileAtomic(this.path(name), MAGIC, digest(content), content);
    } catch (error) {
      this.say(`the compiled program was not kept: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
