/** Where commands write: one rule for links, for every command that takes a path to write to. */
import type { Command } from 'commander';

/** The options whose value is a path that a command writes to. */
const OUTPUT_OPTIONS: readonly (string | undefined)[] = ['--out', '--csv', '--html'];

/**
 * Follows the links among the paths that a command was told to write to: of a file (`<file>`) what the link leads to is
 * written, and a folder is entered. To be called before the command does anything.
 *
 * @throws StoreError for a link that leads nowhere, and for a folder in the place of a file
 */
export async function followOutputLinks(command: Command): Promise<void> {
  // Loaded here, so that `--help` and `--version` need none of it.
  const { outputPath } = await import('../../core/index.js');
  for (const option of command.options) {
    if (!OUTPUT_OPTIONS.includes(option.long)) continue;
    const name = option.attributeName();
    const value: unknown = command.getOptionValue(name);
    if (typeof value !== 'string') continue;
    const kind = option.flags.includes('<file>') ? 'file' : 'folder';
    const followed = outputPath(value, kind);
    // Messages name a folder as the user did.
    if (kind === 'file') command.setOptionValue(name, followed);
  }
  command.registeredArguments.forEach((argument, i) => {
    const value: unknown = command.processedArgs[i];
    if (argument.name() === 'out' && typeof value === 'string') outputPath(value, 'folder');
  });
}
