/** Options of commands that serve a page. */
import type { Command } from 'commander';
import { ConfigError } from '../../core/index.js';
import type { CliContext } from './context.js';

/** The flags of `addServerOptions`. */
export interface ServerFlags {
  readonly host: string;
  readonly port?: string;
}

/** Adds `--host` and `--port`. */
export function addServerOptions(command: Command): Command {
  return command
    .option('--host <address>', 'address to listen at; any but this machine gets a token in the URL', '127.0.0.1')
    .option('--port <n>', 'port (default: the first that is free from 8642 on; 0: any)');
}

/** The text of `--port` as a number; null where it is left out. Throws `ConfigError`. */
export function portOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (port <= 65_535) return port;
  throw new ConfigError(`--port must be a number from 0 to 65535, got "${text}"`);
}

/** Waits until the user ends the command. */
export function untilAborted({ signal }: CliContext): Promise<void> {
  return new Promise<void>((done) => {
    if (signal.aborted) done();
    signal.addEventListener('abort', () => done(), { once: true });
  });
}
