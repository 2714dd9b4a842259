/** A disk that stops taking writes in the middle of a run. */
import fs, { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { StoreError } from '../../src/core/index.js';
import { prepareShards } from '../../src/data/index.js';
import { createReferenceEngine } from '../../src/engine/index.js';
import { trainRun } from '../../src/train/index.js';
import { temporaryFolder, tinyRun } from './support.js';
import { latestCheckpoint, listCheckpoints } from '../../src/run/index.js';

const disk = { writesLeft: Infinity, code: 'ENOSPC' };

/** Puts calls that may fail in the place of those that write; other files of this process get them back. */
const { writeSync, mkdirSync, openSync } = fs;
const failing = <A extends unknown[], R>(real: (...args: A) => R, isWrite: (...args: A) => boolean) =>
  ((...args: A) => {
    if (isWrite(...args) && --disk.writesLeft < 0) throw Object.assign(new Error(disk.code), { code: disk.code });
    return real(...args);
  }) as (...args: A) => R;
Object.assign(fs, {
  writeSync: failing(writeSync as (...args: unknown[]) => number, () => true),
  mkdirSync: failing(mkdirSync as (...args: unknown[]) => unknown, () => disk.code === 'EROFS'),
  openSync: failing(
    openSync as (...args: unknown[]) => number,
    (_path, flags) => disk.code === 'EROFS' && flags !== 'r',
  ),
});
syncBuiltinESMExports();
afterAll(() => {
  Object.assign(fs, { writeSync, mkdirSync, openSync });
  syncBuiltinESMExports();
});

const engine = createReferenceEngine();
const run = tinyRun({ train: { steps: 6, checkpointEvery: 2, logEvery: 1 } });
const model = (dir: string) => readFileSync(join(dir, 'checkpoints', 'step-000006', 'model.safetensors'));

beforeEach(() => {
  disk.writesLeft = Infinity;
});

describe('a disk that takes no more', () => {
  it('ends the run with the reason, whenever it happens, breaks nothing, and lets it be resumed', async () => {
    const whole = temporaryFolder();
    disk.writesLeft = 1e9;
    await trainRun({ dir: whole, run, engine });
    const writes = 1e9 - disk.writesLeft;
    expect(writes).toBeGreaterThan(40);
    for (let n = 0; n < writes; n += 7) {
      const dir = join(temporaryFolder(), 'run');
      disk.code = 'ENOSPC';
      disk.writesLeft = n;
      const failed = trainRun({ dir, run, engine });
      await expect(failed, `write ${n}`).rejects.toThrow(StoreError);
      await expect(failed, `write ${n}`).rejects.toThrow(/the disk is full; free some space/);
      disk.writesLeft = Infinity;
      const found = listCheckpoints(dir);
      expect(latestCheckpoint(dir)).toMatchObject({ damaged: [] });
      if (found.length > 0) {
        expect(readdirSync(join(dir, 'checkpoints')).every((name) => name.startsWith('step-'))).toBe(true);
      }
      const config = existsSync(join(dir, 'config.json'));
      await trainRun({ dir, run, engine, resume: config ? 'yes' : 'no' });
      expect(model(dir).equals(model(whole)), `write ${n}`).toBe(true);
    }
  });

  it('ends a preparation of shards with the reason, whenever it happens, and lets it be resumed', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'text.jsonl');
    writeFileSync(file, Array.from({ length: 40 }, (_, i) => JSON.stringify({ text: `document ${i}` })).join('\n'));
    const prepare = (dir: string) =>
      prepareShards({ files: [file], tokenizerFolder: null, dir, chunkBytes: 300, heldOut: 0.2, workers: 1 });
    const shards = (dir: string) =>
      readdirSync(dir, { withFileTypes: true })
        .filter((entry) => entry.isFile()) // the lock is a folder
        .map(({ name }) => [name, readFileSync(join(dir, name)).toString('base64')])
        .sort();
    disk.code = 'ENOSPC';
    disk.writesLeft = 1e9;
    const whole = join(folder, 'whole');
    await prepare(whole);
    const writes = 1e9 - disk.writesLeft;
    expect(writes).toBeGreaterThan(15);
    for (let n = 0; n < writes; n += 5) {
      const dir = join(folder, `out-${n}`);
      disk.writesLeft = n;
      const failed = await prepare(dir).catch((error: unknown) => error);
      expect(failed, `write ${n}`).toBeInstanceOf(StoreError);
      expect((failed as Error).message, `write ${n}`).toMatch(/the disk is full; free some space/);
      disk.writesLeft = Infinity;
      await prepare(dir);
      expect(shards(dir), `write ${n}`).toEqual(shards(whole));
    }
  });

  it('that is read-only is named before anything is computed', async () => {
    const dir = join(temporaryFolder(), 'run');
    disk.code = 'EROFS';
    disk.writesLeft = 0;
    await expect(trainRun({ dir, run, engine })).rejects.toThrow(
      /cannot .*run.*: the file system is read-only; choose another/,
    );
    disk.writesLeft = Infinity;
    expect(existsSync(dir)).toBe(false);
  });
});
