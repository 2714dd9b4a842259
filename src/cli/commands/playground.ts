/** `longsight playground`: two hybrids learn in a browser, side by side. */
import type { Command } from 'commander';
import { ConfigError } from '../../core/index.js';
import { servePlayground, writePlayground } from '../../dashboard/index.js';
import type { CliContext } from '../terminal/context.js';
import { addOutputOptions, type OutputFlags } from '../terminal/options.js';
import { Output } from '../terminal/output.js';
import { addServerOptions, portOf, untilAborted, type ServerFlags } from '../terminal/server.js';

interface Flags extends OutputFlags, ServerFlags {
  readonly site?: string;
}

/** Registers `longsight playground`. */
export function addPlayground(program: Command, context: CliContext): void {
  const command = program
    .command('playground')
    .summary('two hybrids learn in your browser, side by side')
    .description(
      'Serves a page on which two small hybrids train in the browser: choose windows, positions and mixers, and watch ' +
        'loss, recall by distance and heads. Nothing leaves the page. Ctrl-C ends the server; an open page goes on.',
    );
  addServerOptions(command).option('--site <dir>', 'write the page as files for any web server, and serve nothing');
  addOutputOptions(command).action((flags: Flags) => playground(flags, context));
}

async function playground(flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  if (flags.site !== undefined) {
    if (flags.port !== undefined) throw new ConfigError('--site serves nothing, so it takes no --port; leave one out');
    const { index, bytes } = writePlayground(flags.site);
    output.result(`${(bytes / 1e6).toFixed(1)} MB: ${index}`, { event: 'site', index, bytes });
    return;
  }
  const served = await servePlayground(flags.host, portOf(flags.port));
  output.result(`${served.url}\nCtrl-C ends the server; an open page goes on.`, { event: 'serving', url: served.url });
  await untilAborted(context);
  await served.close();
}
