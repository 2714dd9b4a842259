#!/usr/bin/env node
/** Wires the command line to the process: streams, signals, exit code. */
import { fileURLToPath } from 'node:url';
import type { CliContext } from './terminal/context.js';
import { EXIT, reportError } from './terminal/errors.js';
import { PREEMPTING, STOP_SIGNALS, type StopSignal } from './terminal/stopping.js';
import { standardStreams } from './terminal/streams.js';
import { runCli } from './program.js';

const abort = new AbortController();
/** The signals that have come; of several at once the system may deliver any first. */
const asked = new Set<StopSignal>();
const stop = async (by: StopSignal): Promise<void> => {
  const isFirst = asked.size === 0;
  asked.add(by);
  if (!isFirst) {
    // A person who asks twice wants it at once; schedulers say it twice by themselves, with the state yet to be saved.
    if (by === 'SIGINT') process.exit(codeOf(EXIT.interrupted));
    return;
  }
  // Loaded here, so that commands that need none of it start at once.
  const { InterruptedError } = await import('../core/index.js');
  abort.abort(new InterruptedError('stopped'));
};
for (const signal of STOP_SIGNALS) process.on(signal, () => void stop(signal));

/** Whether a scheduler wants the process gone and its work taken up again. */
const isPreempted = (): boolean => [...asked].some((signal) => PREEMPTING[signal]);
const codeOf = (code: number): number => (code === EXIT.interrupted && isPreempted() ? EXIT.again : code);

// Results that nobody gets are no results: the work ends as it would on Ctrl-C, and the exit code says so.
const lost: { error: Promise<Error> | null } = { error: null };
const streams = standardStreams((name, cause) => {
  lost.error = import('../core/index.js').then(({ fileError }) => fileError('write to', name, cause));
  void lost.error.then((error) => abort.abort(error));
});
const context: Omit<CliContext, 'exitWith'> = {
  ...streams,
  ...{ env: process.env, signal: abort.signal, isPreempted, mainPath: fileURLToPath(import.meta.url) },
  endNow: (reason) => {
    if (lost.error === null) void reportError(reason, context).then((code) => process.exit(codeOf(code)));
  },
};
process.exitCode = codeOf(await runCli(process.argv.slice(2), context));
await new Promise((done) => setImmediate(done)); // what streams that are no files have failed at is known then
if (lost.error !== null && process.exitCode !== EXIT.usage)
  process.exitCode = await reportError(await lost.error, context);
// While Node takes itself down, a signal that comes again would end the process by itself, in place of the code.
if (asked.size > 0 || process.exitCode === EXIT.again) process.on('exit', () => process.exit());
// Native threads and the channel to a parent process must not keep a finished command alive.
if (process.connected) process.disconnect();
