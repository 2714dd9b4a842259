#!/usr/bin/env node
/** Wires the command line to the process: streams, signals, exit code. */
import { fileURLToPath } from 'node:url';
import { EXIT } from './terminal/errors.js';
import { runCli } from './program.js';

const abort = new AbortController();
const asked = { toStop: false };
const stop = async (): Promise<void> => {
  if (asked.toStop) process.exit(EXIT.interrupted); // asked twice: at once
  asked.toStop = true;
  // Loaded here, so that commands that need none of it start at once.
  const { InterruptedError } = await import('../core/index.js');
  abort.abort(new InterruptedError('stopped'));
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void stop());
// A reader that goes away (`| head`) ends the printing, not the work.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: abort.signal,
  mainPath: fileURLToPath(import.meta.url),
});
// Native threads and the channel to a parent process must not keep a finished command alive.
if (process.connected) process.disconnect();
