/** The run and study files that come with the package, by name: `preset:recall`, `preset:studies/quickstart`. */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../../core/index.js';

const PREFIX = 'preset:';
const FOLDER = fileURLToPath(new URL('../../../presets', import.meta.url));

/** The names of the package's run and study files, without `preset:`. */
function presetFiles(): string[] {
  return readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.split(sep).join('/').slice(0, -'.yaml'.length))
    .sort();
}

/**
 * The path of a file that a command is given: `preset:NAME` is a file of the package, anything else a path as it is.
 *
 * @param folder where relative paths start
 * @throws ConfigError for a preset that there is not, and for a path such as `presets/NAME.yaml` that is not here but
 *   in the package
 */
export function givenFile(given: string, folder = process.cwd()): string {
  if (given.startsWith(PREFIX)) {
    const name = given.slice(PREFIX.length);
    if (presetFiles().includes(name)) return join(FOLDER, `${name}.yaml`);
    throw new ConfigError(`${given} is no file of the package; there are ${presetFiles().join(', ')}`);
  }
  const [, name] = /^(?:\.[/\\])?presets[/\\](.*)\.yaml$/.exec(given) ?? [];
  if (name === undefined || existsSync(resolve(folder, given)) || !presetFiles().includes(name.replaceAll('\\', '/')))
    return given;
  throw new ConfigError(`there is no file ${given} here; the package's own is ${PREFIX}${name.replaceAll('\\', '/')}`);
}
