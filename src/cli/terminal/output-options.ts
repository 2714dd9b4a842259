/** The options of everything that prints, apart from those of engines: a command that computes nothing loads none. */
import { Option, type Command } from 'commander';

/** The options `--json` and `--quiet`. */
export interface OutputFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Adds `--json` and `--quiet` to a command. */
export function addOutputOptions(command: Command): Command {
  return command
    .addOption(new Option('--json', 'print results and events as one JSON object a line').conflicts('quiet'))
    .option('--quiet', 'print errors only');
}
