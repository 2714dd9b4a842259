import fs, { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { continuesIn } from './resume.js';

/** A folder in which another process begins a run right after the given look for one. */
function begunAfterLook(which: number): string {
  const dir = mkdtempSync(join(tmpdir(), 'longsight-resume-'));
  const { existsSync } = fs;
  let looks = 0;
  vi.spyOn(fs, 'existsSync').mockImplementation((path) => {
    const found = existsSync(path);
    if (path === join(dir, 'config.json') && ++looks === which) writeFileSync(path, '{}');
    return found;
  });
  syncBuiltinESMExports();
  onTestFinished(() => {
    vi.restoreAllMocks();
    syncBuiltinESMExports();
    rmSync(dir, { recursive: true });
  });
  return dir;
}

it.each([1, 2])('goes on with a run that another process begins after look %i', (which) => {
  expect(continuesIn(begunAfterLook(which), 'auto')).toBe(true);
});
