/** A training on a small file system that fills up says so in a line, and goes on to the same bits with room again. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { findProgram, messageOf } from '../../core/index.js';
import { lastLine, type Bench } from './bench.js';
import type { Outcome, SelfCheck } from './definition.js';

/** The small file system: room for the run, which takes about half a MiB. */
const SIZE = '4m';
/** Bytes that are left free: enough to begin, too little for all checkpoints. */
const LEFT_BYTES = 200_000;
/** What the shell ends with where mounting is not allowed. */
const NOT_MOUNTED = 97;
const MOUNT = `mount -t tmpfs -o size=${SIZE},mode=0700 tmpfs "$1" || exit ${NOT_MOUNTED}; shift; exec "$@"`;

const reportSchema = z.object({
  /** How the training on the full disk ended. */
  full: z.object({ code: z.int().nullable(), stderr: z.string() }),
  /** How it ended once there was room again. */
  after: z.object({ code: z.int().nullable(), stderr: z.string() }),
  /** What the run folder holds at last; null if it cannot be read. */
  contents: z.string().nullable(),
});

/** The check of full disks. */
export const diskFull: SelfCheck = {
  name: 'disk full',
  run: async (bench) => {
    const [unshare, shell] = ['unshare', 'sh'].map((name) => findProgram(name, process.env));
    if (unshare === null || unshare === undefined || shell === null || shell === undefined) {
      return {
        state: 'skipped',
        text: 'a small file system needs the program unshare (util-linux), which is not here',
      };
    }
    const whole = await bench.whole();
    const folder = join(bench.folder, 'small');
    mkdirSync(folder);
    const worker = fileURLToPath(new URL('./disk-full-worker.js', import.meta.url));
    const inside = [process.execPath, worker, bench.mainPath, bench.runFile, folder, String(LEFT_BYTES)];
    const own = ['--user', '--map-root-user', '--mount'];
    return judge(await tryMount(bench, unshare, [...own, shell, '-c', MOUNT, 'sh', folder, ...inside]), whole);
  },
};

async function tryMount(bench: Bench, unshare: string, args: readonly string[]) {
  try {
    return await bench.start(unshare, args).ended;
  } catch (error) {
    if (bench.signal.aborted) throw error;
    return { code: NOT_MOUNTED, stdout: '', stderr: messageOf(error) };
  }
}

function judge({ code, stdout, stderr }: Awaited<ReturnType<typeof tryMount>>, whole: string): Outcome {
  const why = lastLine(stderr);
  if (code === NOT_MOUNTED || (code !== 0 && /^unshare: /.test(why))) {
    return { state: 'skipped', text: `a small file system of one's own is not allowed here (${why})` };
  }
  if (code !== 0) return { state: 'failed', text: `the check ended with code ${code}: ${why}` };
  const { full, after, contents } = reportSchema.parse(JSON.parse(lastLine(stdout)));
  const lines = full.stderr.trim().split('\n');
  if (full.code === 0) return { state: 'failed', text: 'the training ended as if nothing had been wrong' };
  if (lines.length !== 1 || !/the disk is full/.test(full.stderr)) {
    return { state: 'failed', text: `the training did not say in one line that the disk is full: ${lines.at(-1)}` };
  }
  if (after.code !== 0)
    return { state: 'failed', text: `the training did not go on with room again: ${lastLine(after.stderr)}` };
  if (contents !== whole) return { state: 'failed', text: 'after the disk was full, weights or metrics differ' };
  return { state: 'ok', text: 'said in one line; with room again the training went on to the same bits' };
}
