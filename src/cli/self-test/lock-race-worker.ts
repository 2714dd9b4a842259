/**
 * One process of the lock race. Arguments: the folder, how many turns it takes, and the turn in which it kills itself
 * (0: none). Prints how many turns it had and in how many another living process was inside, too.
 */
import { readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { at, parseHolder, stateOf, StoreError, takeLock, thisProcess, type HeldLock } from '../../core/index.js';

const [folder, turns, deadly] = [at(process.argv, 2), Number(process.argv[3]), Number(process.argv[4])];
const inside = join(folder, 'inside');
const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

async function take(): Promise<HeldLock> {
  for (;;) {
    try {
      return await takeLock(join(folder, 'lock'), folder);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      await sleep(1 + 4 * Math.random());
    }
  }
}

/** Whether a process that lives is inside. A link is made whole or not at all, with the process's name in it. */
function enter(): boolean {
  const link = () => symlinkSync(JSON.stringify(thisProcess()), inside);
  try {
    link();
    return false;
  } catch {
    const other = parseHolder(readlinkSync(inside));
    rmSync(inside, { force: true });
    link();
    // One that was killed has left, also before its parent asks for it: the lock judges the same way.
    return other === null || stateOf(other) !== 'gone';
  }
}

let overlaps = 0;
for (let turn = 1; turn <= turns; turn++) {
  const lock = await take();
  if (enter()) overlaps++;
  if (turn === deadly) process.kill(process.pid, 'SIGKILL');
  await sleep(3 * Math.random());
  rmSync(inside, { force: true });
  lock.release();
}
process.stdout.write(`${JSON.stringify({ turns, overlaps })}\n`);
