// One of the processes that race for a folder in locks.test.ts. For each message { folder, host, seconds, steps } it takes the lock of
// the folder as a host of that name (null: of the system's), goes on where status.json says that the last holder came to, writes so many steps, and answers
// 'done', or 'lost' if it finds that another process has taken the lock. Says 'took' when it has the lock: the parent may kill or freeze it.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LockLostError, StoreError, takeLock, writeJsonAtomic } from '../../dist/core/index.js';
import { MetricsWriter } from '../../dist/run/metrics.js';

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function take(folder) {
  for (;;) {
    try {
      return await takeLock(join(folder, 'run.lock'), folder);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      await sleep(2 + 10 * Math.random());
    }
  }
}

async function work(folder, steps, lock) {
  const status = join(folder, 'status.json');
  const from = existsSync(status) ? JSON.parse(readFileSync(status, 'utf8')).step : 0;
  const metrics = new MetricsWriter(join(folder, 'metrics.jsonl'), from);
  try {
    for (let step = from + 1; step <= from + steps; step++) {
      metrics.write({ step, tokens: step, time: 0, holder: lock.number });
      await sleep(2 * Math.random());
      if (step % 2 === 0 || step === from + steps) writeJsonAtomic(status, { step, holder: lock.number });
    }
  } finally {
    metrics[Symbol.dispose]();
  }
}

process.on('message', async ({ folder, host, seconds, steps }) => {
  if (host !== null) process.env.LONGSIGHT_HOST = host;
  process.env.LONGSIGHT_LOCK_SECONDS = String(seconds);
  const lock = await take(folder);
  process.send('took');
  let answer = 'done';
  try {
    await work(folder, steps, lock);
  } catch (error) {
    // As every command does: what fails once the lock is lost is that.
    try {
      lock.check();
    } catch (lost) {
      if (lost instanceof LockLostError) answer = 'lost';
    }
    if (answer !== 'lost') throw error;
  } finally {
    lock.release();
  }
  process.send(answer);
});
