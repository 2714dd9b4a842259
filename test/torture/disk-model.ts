/**
 * A disk as POSIX promises it, built from the calls that `shim.mjs` wrote down: what was written to a file is sure once the file was
 * synced, a name once its folder was, whatever the order of calls. A power cut leaves what is sure, and of the rest anything.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import type { Rng } from '../../src/core/index.js';

/** A call on files as the shim notes it. */
interface Call {
  /** Its number, over all processes. */
  readonly at: number;
  readonly kind: string;
  readonly path: string;
  readonly from: string;
  readonly to: string;
  readonly truncates?: boolean;
  readonly position?: number | null;
  readonly length?: number;
  /** Bytes in base64. */
  readonly data: string;
}

/** The calls that were written down in a folder, in order. */
export function recordedCalls(folder: string): Call[] {
  const lines = readdirSync(folder).flatMap((name) => readFileSync(join(folder, name), 'utf8').trimEnd().split('\n'));
  return lines.map((line) => JSON.parse(line) as Call).sort((a, b) => a.at - b.at);
}

class File {
  now = Buffer.alloc(0);
  sure = Buffer.alloc(0);
}

class Folder {
  readonly now = new Map<string, File | Folder>();
  sure = new Map<string, File | Folder>();
}

/** What of that which is not sure is there after a power cut: nothing, names but no contents, or whatever is drawn. */
export type Survival = 'nothing' | 'names' | Rng;

export class DiskModel {
  readonly #root: string;
  readonly #top = new Folder();

  constructor(root: string) {
    this.#root = root;
  }

  apply({ kind, path, from, to, truncates, position, length, data }: Call): void {
    switch (kind) {
      case 'open':
      case 'create': {
        const file = this.#fileAt(path);
        if (truncates === true || kind === 'create') file.now = Buffer.alloc(0);
        if (kind === 'create') file.now = Buffer.from(data, 'base64');
        return;
      }
      case 'write':
      case 'append': {
        const file = this.#fileAt(path);
        const bytes = Buffer.from(data, 'base64');
        const start = position ?? file.now.length;
        const grown = Buffer.alloc(Math.max(file.now.length, start + bytes.length));
        file.now.copy(grown);
        bytes.copy(grown, start);
        file.now = grown;
        return;
      }
      case 'truncate':
        this.#fileAt(path).now = this.#fileAt(path).now.subarray(0, length);
        return;
      case 'sync': {
        const found = this.#find(path);
        if (found instanceof File) found.sure = found.now;
        else if (found !== undefined) found.sure = new Map(found.now);
        return;
      }
      case 'mkdir':
        this.#parent(path).set(nameOf(path), new Folder());
        return;
      case 'rename': {
        const moved = this.#parent(from).get(nameOf(from));
        if (moved === undefined) throw new Error(`${from} is not in the model`);
        this.#parent(from).delete(nameOf(from));
        this.#parent(to).set(nameOf(to), moved);
        return;
      }
      case 'link': {
        const linked = this.#find(from);
        if (linked !== undefined) this.#parent(to).set(nameOf(to), linked);
        return;
      }
      case 'remove':
        this.#parent(path).delete(nameOf(path));
        return;
      default:
        throw new Error(`the model of a disk knows no call ${kind}`);
    }
  }

  /** Writes what a power cut now would leave into a folder that stands for the root. */
  leave(target: string, survival: Survival): void {
    const half = (): boolean => typeof survival !== 'string' && survival.int(2) === 0;
    const bytesOf = ({ now, sure }: File): Uint8Array => {
      if (typeof survival === 'string' || half()) return sure;
      const cut = sure.length + survival.int(Math.max(0, now.length - sure.length) + 1);
      if (half()) return now.subarray(0, cut);
      return Buffer.concat([now.subarray(0, cut), Buffer.alloc(now.length - Math.min(cut, now.length))]); // zeros
    };
    const visit = (folder: Folder, path: string): void => {
      mkdirSync(path, { recursive: true });
      const names = survival === 'names' || half() ? folder.now : folder.sure;
      for (const [name, entry] of names) {
        if (entry instanceof Folder) visit(entry, join(path, name));
        else writeFileSync(join(path, name), bytesOf(entry));
      }
    };
    visit(this.#top, target);
  }

  #find(path: string): File | Folder | undefined {
    let at: File | Folder | undefined = this.#top;
    for (const part of relative(this.#root, path)
      .split(sep)
      .filter((name) => name !== ''))
      at = at instanceof Folder ? at.now.get(part) : undefined;
    return at;
  }

  #parent(path: string): Map<string, File | Folder> {
    const folder = this.#find(join(path, '..'));
    if (!(folder instanceof Folder)) throw new Error(`${path} lies in no folder of the model`);
    return folder.now;
  }

  #fileAt(path: string): File {
    const found = this.#find(path);
    if (found instanceof File) return found;
    const made = new File();
    this.#parent(path).set(nameOf(path), made);
    return made;
  }
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf(sep) + 1);
