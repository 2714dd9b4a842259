/** The list of metrics files whose columns are kept, in one file: a start looks at it and opens none of them. */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolder, writeFileAtomic } from '../core/index.js';
import { checksum } from './column-cache.js';

/** What is known of one metrics file. */
export interface Listed {
  /** Size, time of change and number when it was read. */
  readonly stamp: string;
  /** Its metrics. */
  readonly names: readonly string[];
  /** Lines that were no measurement. */
  readonly bad: number;
}

interface StoredList {
  /** The different lists of names; most runs have the same one. */
  readonly names: readonly (readonly string[])[];
  /** Id, stamp, place of its names, lines that were no measurement. */
  readonly runs: readonly (readonly [string, string, number, number])[];
}

/** Reads the list; nothing where it is missing or damaged. */
export function readList(path: string): ReadonlyMap<string, Listed> {
  try {
    const bytes = readFileSync(path);
    const body = bytes.subarray(8);
    if (bytes.toString('latin1', 0, 8) !== sumOf(body)) return new Map();
    // What has its checksum was written by `writeList`, in this form.
    const { names, runs } = JSON.parse(body.toString('utf8')) as StoredList;
    return new Map(runs.map(([id, stamp, place, bad]) => [id, { stamp, names: names[place] ?? [], bad }]));
  } catch {
    return new Map();
  }
}

/** Writes the list; where the disk does not take it the next start opens every file of columns. */
export function writeList(path: string, listed: ReadonlyMap<string, Listed>): void {
  const places = new Map<string, number>();
  const lists: (readonly string[])[] = [];
  const runs = [...listed].map(([id, { stamp, names, bad }]) => {
    const key = JSON.stringify(names);
    let place = places.get(key);
    if (place === undefined) places.set(key, (place = lists.push(names) - 1));
    return [id, stamp, place, bad] as const;
  });
  const body = Buffer.from(JSON.stringify({ names: lists, runs } satisfies StoredList));
  try {
    makeFolder(dirname(path));
    writeFileAtomic(path, sumOf(body), body);
  } catch {
    // As above.
  }
}

const sumOf = (bytes: Uint8Array): string => checksum(bytes).toString(16).padStart(8, '0');
