/** How errors end a command: one sentence for people, an exit code for programs. */
import { CommanderError } from 'commander';
import type { CliContext } from './context.js';

/**
 * Exit codes: 0 done, 1 it failed, 2 the input is wrong, 130 stopped by the user; 75 for schedulers: the same command
 * may do later (`EX_TEMPFAIL` of sysexits.h), of every command that SIGTERM or SIGUSR1 stopped, and of `study run`.
 */
export const EXIT = { ok: 0, failed: 1, usage: 2, again: 75, interrupted: 130 } as const;

/** Prints what went wrong and returns the exit code. The stack shows with LONGSIGHT_DEBUG=1, and for our own bugs. */
export async function reportError(
  error: unknown,
  { stderr, env }: Pick<CliContext, 'stderr' | 'env'>,
): Promise<number> {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  // Loaded here: most command lines end without an error.
  const { LongsightError, printable } = await import('../../core/index.js');
  const debug = env['LONGSIGHT_DEBUG'] === '1';
  if (error instanceof LongsightError) {
    stderr.write(`longsight: ${error.message}\n`);
    if (debug) stderr.write(`${stackOf(error)}\n`);
    return error.exitCode;
  }
  stderr.write(`longsight: unexpected error, please report it: ${printable(stackOf(error), '\n')}\n`);
  return EXIT.failed;
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
