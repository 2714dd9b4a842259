// A stand-in for a study's worker process: does what the second part of its run's name says. With a third part, it stays
// for further runs.
// Usage: node fake-worker.mjs STUDY_DIR RUN_NAME
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [study, first] = process.argv.slice(2);
let name = first;
let again = false;
const status = (state, message) =>
  writeFileSync(join(study, 'runs', name, 'status.json'), JSON.stringify({ state, step: 1, tokens: 1, message }));

function begin() {
  const dir = join(study, 'runs', name);
  mkdirSync(dir, { recursive: true });
  again = existsSync(join(dir, 'config.json'));
  writeFileSync(join(dir, 'config.json'), '{}');
  appendFileSync(join(study, 'starts.txt'), `${name} ${process.pid}\n`);
  status('running');
}
/** As a worker does: a parent that is gone is no error, `disconnect` says it. */
const tell = (message) => process.connected && process.send(message, undefined, undefined, () => undefined);
const report = (step) => tell({ type: 'progress', step, steps: 2, tokens: step * 64, tokPerSec: 1000, loss: 2 });

const acts = {
  ok() {
    report(1);
    tell({ type: 'note', text: 'a remark' });
    report(2);
    status('done');
  },
  fails() {
    tell({ type: 'failed', code: 'DIVERGED', message: 'training diverged at step 3' });
    status('failed', 'training diverged at step 3');
    process.exitCode = 1;
  },
  mute() {
    console.error('Error: out of ideas\n    at somewhere');
    process.exitCode = 3;
  },
  crashes() {
    process.kill(process.pid, 'SIGKILL');
  },
  stumbles() {
    if (!again) process.kill(process.pid, 'SIGKILL');
    status('done');
  },
  waits() {
    process.on('message', () => {
      status('interrupted');
      process.exit(130);
    });
    process.on('disconnect', () => {
      appendFileSync(join(study, 'starts.txt'), `${name} orphaned\n`);
      process.exit(130);
    });
    report(1);
    setInterval(() => undefined, 1000);
  },
  // Holds the device of FAKE_DEVICE for a moment; one that FAKE_BROKEN lists is busy.
  device() {
    const device = process.env.FAKE_DEVICE ?? 'cpu';
    const log = (what) => appendFileSync(join(study, 'devices.txt'), `${what} ${device} ${name}\n`);
    if ((process.env.FAKE_BROKEN ?? '').split(' ').includes(device)) {
      log('busy');
      tell({ type: 'failed', code: 'DEVICE_BUSY', message: 'xla: the device is busy' });
      status('failed', 'xla: the device is busy');
      process.exitCode = 1;
      process.disconnect();
      return;
    }
    log('start');
    report(1);
    setTimeout(() => {
      log('end');
      status('done');
      process.disconnect();
    }, 60);
  },
  deaf() {
    report(1);
    setInterval(() => undefined, 1000);
  },
};

function perform() {
  const [, what, stays] = name.split('_');
  begin();
  acts[what]();
  if (stays === undefined) {
    if (what !== 'waits' && what !== 'deaf' && what !== 'device') process.disconnect();
    return;
  }
  if (process.exitCode !== undefined) return process.disconnect();
  process.once('message', (message) => {
    if (message.type !== 'run') return process.disconnect();
    name = message.run;
    perform();
  });
  tell({ type: 'done' });
}
process.on('exit', () => appendFileSync(join(study, 'ends.txt'), `${process.pid}\n`));
perform();
