/** Changes of files go through one layer, so that what is synced and what is never followed is one decision. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));

/** Files that may make such calls themselves, and why. */
const MAY: Readonly<Record<string, string>> = {
  'core/disk.ts': 'the layer',
  'core/files.ts': 'the layer',
  'core/temporary.ts': 'the layer',
  'core/lock.ts': 'files of locks are made by links, not renamed',
  'core/lease-file.ts': 'files of locks are made by links, not renamed',
  'core/leftovers.ts': 'what a process that lost its lock was writing',
  'core/heartbeat.ts': 'heartbeats are written in their place',
  'cli/terminal/streams.ts': 'standard streams are no files of ours',
  'engine/xla/pjrt/cache.ts': 'the secret of a cache is made by a link, with its own mode',
  'data/corpora/download.ts': 'a download grows in its place, to be gone on with',
  'cli/self-test/': 'plays with files of its own in a scratch folder',
  'cli/commands/doctor-self-test.ts': 'makes and removes that scratch folder',
  'engine/xla/pjrt/hosts/io-worker.ts': 'writes to a file descriptor that is no file',
  'study/executors/slurm-submissions.ts': 'the secret of nodes is made with its own mode',
  'study/worker-process.ts': 'logs of workers are handed to them open',
};

const CHANGES =
  /\b(?:(?:write|append)File|writev?|mkdtemp|mkdir|rename|rm|rmdir|unlink|copyFile|cp|link|symlink|f?truncate|f?chmod|l?utimes|futimes)Sync\b|\bcreateWriteStream\b|fs\/promises|openSync\((?![^()]*(?:\([^()]*\))?[^()]*'r'\))/g;

function* sources(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* sources(path);
    else if (entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts')) yield path;
  }
}

describe('the layer of files', () => {
  it('is the only one that changes any', () => {
    const found = [...sources(SRC)].flatMap((path) => {
      const name = relative(SRC, path);
      const calls = Object.keys(MAY).some((place) => name.startsWith(place))
        ? []
        : (readFileSync(path, 'utf8').match(CHANGES) ?? []);
      return calls.map((call) => `${name}: ${call}`);
    });
    expect(found).toEqual([]);
  });

  it.each([
    ["writeFileSync(path, 'x')", 1],
    ["openSync(path, 'w')", 1],
    ["openSync(join(a, 'b'), 'a+')", 1],
    ["openSync(join(a, 'b'), 'r')", 0],
    ["openSync(path, 'r')", 0],
    ['readFileSync(path)', 0],
  ])('is told apart from readers: %s', (text, count) => {
    expect(text.match(CHANGES) ?? []).toHaveLength(count);
  });
});
