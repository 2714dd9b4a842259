/** `longsight dashboard [FOLDER...]`: runs and studies in a browser, live. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { cacheFolder, ConfigError, plural } from '../../core/index.js';
import { serveDashboard } from '../../dashboard/index.js';
import type { CliContext } from '../terminal/context.js';
import { addOutputOptions, type OutputFlags } from '../terminal/output-options.js';
import { Output } from '../terminal/output.js';
import { addServerOptions, portOf, untilAborted, type ServerFlags } from '../terminal/server.js';

interface Flags extends OutputFlags, ServerFlags {
  readonly cache: boolean;
  readonly control: boolean;
}

/** Registers `longsight dashboard`. */
export function addDashboard(program: Command, context: CliContext): void {
  const command = program
    .command('dashboard')
    .summary('runs and studies in a browser, live')
    .description(
      'Serves a page over run and study folders as they are on disk: a table of runs, curves, heads, recall by distance, ' +
        'comparisons. What is written shows within two seconds. Ctrl-C ends it; runs go on.',
    )
    .argument('[folders...]', 'folders of runs and studies, searched below (default: runs)');
  addServerOptions(command)
    .option('--no-cache', 'keep nothing between starts')
    .option('--no-control', 'without buttons that stop and continue runs');
  addOutputOptions(command).action((folders: readonly string[], flags: Flags) => dashboard(folders, flags, context));
}

async function dashboard(given: readonly string[], flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  if (given.length === 0 && !existsSync('runs'))
    throw new ConfigError('there is no folder runs here; name folders of runs or studies: longsight dashboard FOLDER');
  const served = await serveDashboard({
    folders: given.length === 0 ? ['runs'] : given,
    host: flags.host,
    port: portOf(flags.port),
    cache: flags.cache ? join(cacheFolder(context.env), 'dashboard') : null,
    mainPath: flags.control ? context.mainPath : null,
  });
  const { url, runs, studies } = served;
  const what = `${plural(runs, 'run')}${studies === 0 ? '' : studies === 1 ? ', 1 study' : `, ${studies} studies`}`;
  output.result(`${what}: ${url}\nCtrl-C ends the dashboard; runs go on.`, {
    ...{ event: 'serving', url, runs, studies },
  });
  await untilAborted(context);
  await served.close();
}
