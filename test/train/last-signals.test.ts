/** The built command line: signals that come while Node takes a stopped command down. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { folderWith } from '../support/folders.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
/** Processes for each signal. One is nearly enough: where a signal can end a process in place of its code, it does. */
const TRIALS = 3;
/** Signals that are sent before this process looks whether the other one is gone. */
const AT_ONCE = 100;

const RUN = `model: { layers: full, hiddenSize: 8, numHeads: 2, intermediateSize: 16 }
data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
train: { steps: 1000000, seqLen: 16, batchSize: 4, warmupSteps: 2, evalEvery: 0, checkpointEvery: 0, logEvery: 100 }
`;

const AT_END = 'nothing is left to do';
// Says that nothing but Node's own end is left, and waits for the end of the standard input.
const HELD = `data:text/javascript,import{readSync,writeSync}from"node:fs";import{isMainThread}from"node:worker_threads";
if(isMainThread)process.on("exit",()=>{writeSync(2,"${AT_END}");readSync(0,Buffer.alloc(1))})`;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setTimeout(done, 10));
}

it.each(['SIGUSR1', 'SIGTERM'] as const)(
  'a command that %s has stopped ends with code 75 while the same signal comes without a pause',
  async (signal) => {
    for (let trial = 0; trial < TRIALS; trial++) {
      const cwd = folderWith({ 'r.yaml': RUN });
      const args = ['--import', HELD, MAIN, 'train', 'r.yaml', '--out', 'r', '--engine', 'onnx', '--threads', '1'];
      const child = spawn(process.execPath, args, { cwd, stdio: ['pipe', 'ignore', 'pipe'] });
      let said = '';
      child.stderr.on('data', (part) => (said += String(part)));
      const ended = new Promise((done) => child.on('close', (...how) => done(how)));
      onTestFinished(() => void child.kill('SIGKILL'));
      const isOver = () => child.exitCode !== null || child.signalCode !== null;
      const isAtEnd = () => said.includes(AT_END) || isOver();
      await until(() => existsSync(join(cwd, 'r', 'metrics.jsonl')) || isAtEnd());
      child.kill(signal);
      await until(isAtEnd);
      expect(said).toContain('training was stopped after step');
      for (let isHeld = true; !isOver(); isHeld = false) {
        for (let i = 0; i < AT_ONCE; i++) child.kill(signal);
        if (isHeld) child.stdin.end();
        await new Promise((done) => setImmediate(done));
      }
      expect(await ended, said).toEqual([75, null]);
    }
  },
);
