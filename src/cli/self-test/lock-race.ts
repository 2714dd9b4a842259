/** Processes that take one lock again and again, one of which dies with it: never two at once, no waiting for ever. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { lastLine } from './bench.js';
import type { SelfCheck } from './definition.js';

const PROCESSES = 4;
const TURNS = 15;
const LIMIT_MS = 30_000;
/** The turn in which the first process kills itself while it holds the lock. */
const DEADLY_TURN = 5;

const reportSchema = z.object({ turns: z.int(), overlaps: z.int() });

/** The check of locks. */
export const lockRace: SelfCheck = {
  name: 'lock race',
  run: async (bench) => {
    const folder = join(bench.folder, 'locked');
    mkdirSync(folder);
    const script = fileURLToPath(new URL('./lock-race-worker.js', import.meta.url));
    const started = Array.from({ length: PROCESSES }, (_, i) =>
      bench.script(script, [folder, String(TURNS), String(i === 0 ? DEADLY_TURN : 0)]),
    );
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      for (const { child } of started) child.kill('SIGKILL');
    }, LIMIT_MS);
    const [dead, ...others] = await Promise.all(started.map(({ ended }) => ended)).finally(() => clearTimeout(timer));
    if (late)
      return { state: 'failed', text: `${PROCESSES} processes had not had their turns after ${LIMIT_MS / 1000} s` };
    if (dead?.code !== null)
      return { state: 'failed', text: `a process could not kill itself: ${lastLine(dead?.stderr ?? '')}` };
    let [turns, overlaps] = [DEADLY_TURN, 0];
    for (const { code, stdout, stderr } of others) {
      if (code !== 0) return { state: 'failed', text: `a process failed: ${lastLine(stderr)}` };
      const report = reportSchema.parse(JSON.parse(lastLine(stdout)));
      turns += report.turns;
      overlaps += report.overlaps;
    }
    if (overlaps > 0)
      return { state: 'failed', text: `two processes held the lock at once in ${overlaps} of ${turns} turns` };
    return {
      state: 'ok',
      text: `${turns} turns of ${PROCESSES} processes, one killed while it held the lock: never two at once`,
    };
  },
};
