/** A training that is killed twice and started again leaves the same bits as one that nothing stops. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { hasCheckpoint, lastLine, until, type Bench } from './bench.js';
import type { SelfCheck } from './definition.js';
import { contentsOfRun } from './run-contents.js';

/** A fast run may end before the kill reaches it: then another one is tried. */
const ATTEMPTS = 3;

/** The check of kills. */
export const killAndResume: SelfCheck = {
  name: 'kill and resume',
  run: async (bench) => {
    const whole = await bench.whole();
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const out = join(bench.folder, `killed-${attempt}`);
      const killed = (await kill(bench, out, begun)) && (await kill(bench, out, hasCheckpoint));
      if (!killed) continue;
      const { code, stderr } = await bench.train(out).ended;
      if (code !== 0) return { state: 'failed', text: `the training did not go on: ${lastLine(stderr)}` };
      const how = `killed at its first file and after a checkpoint, on ${bench.engine}`;
      if (contentsOfRun(out) === whole) return { state: 'ok', text: `${how}: the same bits as without a kill` };
      return { state: 'failed', text: `${how}: weights or metrics differ from those of a training without a kill` };
    }
    return { state: 'failed', text: `${ATTEMPTS} trainings ended before they could be killed` };
  },
};

const begun = (out: string): boolean => existsSync(out) && readdirSync(out).length > 0;

/** Trains until something holds, then kills; false if the training was faster. */
async function kill(bench: Bench, out: string, when: (out: string) => boolean): Promise<boolean> {
  const { child, ended } = bench.train(out);
  await until(() => when(out), ended);
  child.kill('SIGKILL');
  const { code } = await ended;
  return code === null;
}
