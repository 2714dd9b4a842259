/** The command line inside the test's process, its output caught. */
import { runCli } from '../../src/cli/program.js';

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function cli(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CliResult> {
  const text = { stdout: '', stderr: '' };
  const code = await runCli(args, {
    stdout: { write: (s: string) => (text.stdout += s), columns: 100 },
    stderr: { write: (s: string) => (text.stderr += s) },
    env,
    signal: new AbortController().signal,
    isPreempted: () => false,
    endNow: () => undefined,
    mainPath: '/no/main',
  });
  return { code, ...text };
}
