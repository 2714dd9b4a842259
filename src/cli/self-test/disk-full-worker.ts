/**
 * What the check of full disks does on the small file system. Arguments: the script that starts the command line, the
 * run file, the folder, and how many bytes to leave free. Prints one line of JSON; see `disk-full.ts`.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { at } from '../../core/index.js';
import { trainArguments } from './bench.js';
import { contentsOfRun } from './run-contents.js';

const [mainPath, runFile, folder] = [at(process.argv, 2), at(process.argv, 3), at(process.argv, 4)];
const leftBytes = Number(process.argv[5]);
const [filler, out] = [join(folder, 'filler'), join(folder, 'run')];

/** Writes zeros until no more than so many bytes are free. */
function fill(): void {
  const { bavail, bsize } = statfsSync(folder);
  const fd = openSync(filler, 'w');
  writeSync(fd, Buffer.alloc(Math.max(0, bavail * bsize - leftBytes)));
  closeSync(fd);
}

function train(): Promise<{ readonly code: number | null; readonly stderr: string }> {
  const child = spawn(process.execPath, [mainPath, ...trainArguments(runFile, out)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stderr })));
}

function contents(): string | null {
  try {
    return contentsOfRun(out);
  } catch {
    return null;
  }
}

fill();
const full = await train();
rmSync(filler);
const after = await train();
process.stdout.write(`${JSON.stringify({ full, after, contents: contents() })}\n`);
