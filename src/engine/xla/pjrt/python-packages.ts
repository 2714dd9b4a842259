/** The folders of Python's packages, found in the file system: no Python is run. */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { homeFolder, programsNamed } from '../../../core/index.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** A folder that Python is installed in, and its version (`python3.12`) where that is known. */
interface Prefix {
  readonly folder: string;
  readonly version?: string | undefined;
}

/**
 * The site-packages and dist-packages folders that there are: of the active environment (`VIRTUAL_ENV`,
 * `CONDA_PREFIX`), of each `python3` on `PATH`, of the user (`PYTHONUSERBASE`, else `~/.local`), of the system. Newer
 * versions come first. The current folder plays no part.
 */
export function pythonPackages(env: Environment, system: readonly string[] = ['/usr/local', '/usr']): string[] {
  const active = [env['VIRTUAL_ENV'], env['CONDA_PREFIX']].flatMap((folder) => environment(folder));
  const onPath = programsNamed('python3', env).flatMap((program) => prefixesOf(program, env));
  const userBase = env['PYTHONUSERBASE'];
  const user = userBase !== undefined && isAbsolute(userBase) ? userBase : join(homeFolder(env), '.local');
  const prefixes = [...active, ...onPath, { folder: user }, ...system.map((folder) => ({ folder }))];
  return [...new Set(prefixes.flatMap(packagesIn))];
}

/** An environment, and what it is made on where it sees the packages of that too. */
function environment(folder: string | undefined): Prefix[] {
  if (folder === undefined || !isAbsolute(folder)) return [];
  const settings = textOf(join(folder, 'pyvenv.cfg')) ?? '';
  const home = /^home\s*=\s*(\/.*)$/m.exec(settings)?.[1]?.trim();
  const seesSystem = /^include-system-site-packages\s*=\s*true\s*$/im.test(settings);
  return home !== undefined && seesSystem ? [{ folder }, { folder: dirname(home) }] : [{ folder }];
}

/** Where the packages of a `python3` on PATH are: it may be an environment's, a link, or a stand-in of pyenv's. */
function prefixesOf(program: string, env: Environment): Prefix[] {
  const folder = dirname(dirname(program));
  if (existsSync(join(folder, 'pyvenv.cfg'))) return environment(folder);
  if (basename(dirname(program)) === 'shims') return pyenvVersions(folder, env);
  const real = realpathSync(program);
  const version = /^python3\.\d+/.exec(basename(real))?.[0];
  return [
    { folder, version },
    { folder: dirname(dirname(real)), version },
  ];
}

/** The versions that pyenv runs by default. */
function pyenvVersions(root: string, env: Environment): Prefix[] {
  const chosen = (env['PYENV_VERSION'] ?? textOf(join(root, 'version')) ?? '').split(/[:\s]+/);
  return chosen.filter((name) => /^\w[\w.-]*$/.test(name)).map((name) => ({ folder: join(root, 'versions', name) }));
}

/** The package folders of a prefix that exist. */
function packagesIn({ folder, version }: Prefix): string[] {
  const minor = (name: string): number => (name === version ? Infinity : Number(name.slice('python3.'.length)));
  const found = ['lib', 'lib64', join('local', 'lib')].flatMap((lib) =>
    namesIn(join(folder, lib))
      .filter((name) => /^python3\.\d+$/.test(name))
      .sort((a, b) => minor(b) - minor(a))
      .flatMap((name) => [join(folder, lib, name, 'site-packages'), join(folder, lib, name, 'dist-packages')]),
  );
  return [...found, join(folder, 'lib', 'python3', 'dist-packages')].filter((path) => existsSync(path));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
