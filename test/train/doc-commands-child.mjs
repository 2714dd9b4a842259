// Runs commands of the built command line in this one process, in turns: a JSON array of a command's words a line in; a line out, on
// descriptor 3 (children print too), with its exit code and what it printed. What serves is stopped, as by Ctrl-C, once it has said its address.
// Usage: node doc-commands-child.mjs MAIN.js    MAIN.js: the script that commands start processes by
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { runCli } from '../../dist/cli/program.js';

const [mainPath] = process.argv.slice(2);

for await (const line of createInterface({ input: process.stdin })) {
  const abort = new AbortController();
  const text = { stdout: '', stderr: '' };
  const print = (piece) => {
    text.stdout += piece;
    if (/^Ctrl-C ends/m.test(text.stdout)) abort.abort();
    return true;
  };
  const code = await runCli(JSON.parse(line), {
    stdout: { write: print, columns: 100 },
    stderr: { write: (piece) => (text.stderr += piece) },
    ...{ env: process.env, signal: abort.signal, isPreempted: () => false, endNow: () => undefined, mainPath },
  });
  writeSync(3, `${JSON.stringify({ code, ...text })}\n`);
}
