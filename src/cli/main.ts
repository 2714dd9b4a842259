#!/usr/bin/env node
/** Wires the command line to the process: streams, signals, exit code. */
import { fileURLToPath } from 'node:url';
import { EXIT, reportError } from './terminal/errors.js';
import { standardStreams } from './terminal/streams.js';
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

// Results that nobody gets are no results: the work ends as it would on Ctrl-C, and the exit code says so.
const lost: { error: Promise<Error> | null } = { error: null };
const streams = standardStreams((name, cause) => {
  lost.error = import('../core/index.js').then(({ fileError }) => fileError('write to', name, cause));
  void lost.error.then((error) => abort.abort(error));
});
const context = { ...streams, env: process.env, signal: abort.signal, mainPath: fileURLToPath(import.meta.url) };
process.exitCode = await runCli(process.argv.slice(2), context);
await new Promise((done) => setImmediate(done)); // what streams that are no files have failed at is known then
if (lost.error !== null && process.exitCode !== EXIT.usage)
  process.exitCode = await reportError(await lost.error, context);
// Native threads and the channel to a parent process must not keep a finished command alive.
if (process.connected) process.disconnect();
