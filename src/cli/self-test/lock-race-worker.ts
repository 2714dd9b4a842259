/**
 * One process of the lock race. Arguments: the folder, how many turns it takes, and the turn in which it kills itself
 * (0: none). Prints how many turns it had and in how many another living process was inside, too.
 */
import { readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { at, StoreError, takeLock, type HeldLock } from '../../core/index.js';

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

/** Whether a process that lives is inside. A link is made whole or not at all, with the process's number in it. */
function enter(): boolean {
  try {
    symlinkSync(String(process.pid), inside);
    return false;
  } catch {
    const alive = isAlive(Number(readlinkSync(inside)));
    rmSync(inside, { force: true });
    symlinkSync(String(process.pid), inside);
    return alive;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
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
