import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cacheFolder } from '../../../src/core/index.js';
import { realSurroundings } from '../../../src/engine/xla/pjrt/discover.js';
import { pythonPackages } from '../../../src/engine/xla/pjrt/python-packages.js';
import { temporaryFolder } from '../../support/folders.js';

const root = (): string => realpathSync(temporaryFolder());
const put = (path: string, text = ''): string => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode: 0o755 });
  return path;
};
const folder = (...parts: string[]): string => {
  const path = join(...parts);
  mkdirSync(path, { recursive: true });
  return path;
};

describe("Python's packages", () => {
  it('are those of the active environment, then of python3 on PATH, the user and the system', () => {
    const at = root();
    const venv = folder(at, 'venv', 'lib', 'python3.12', 'site-packages');
    const conda = folder(at, 'conda', 'lib', 'python3.11', 'site-packages');
    const other = folder(at, 'opt', 'lib', 'python3.9', 'site-packages');
    const running = folder(at, 'opt', 'lib', 'python3.10', 'site-packages');
    const newest = folder(at, 'opt', 'lib', 'python3.13', 'site-packages');
    put(join(at, 'opt', 'bin', 'python3.10'));
    symlinkSync('python3.10', join(at, 'opt', 'bin', 'python3'));
    const own = folder(at, 'home', '.local', 'lib', 'python3.12', 'site-packages');
    const system = [folder(at, 'usr', 'lib', 'python3', 'dist-packages')];
    const env = { VIRTUAL_ENV: join(at, 'venv'), CONDA_PREFIX: join(at, 'conda'), HOME: join(at, 'home') };
    expect(pythonPackages({ ...env, PATH: join(at, 'opt', 'bin') }, [join(at, 'usr')])).toEqual([
      ...[venv, conda, running, newest, other, own],
      ...system,
    ]);
    expect(pythonPackages({ HOME: at, PYTHONUSERBASE: join(at, 'conda') }, [])).toEqual([conda]);
  });

  it('follow an environment to what it is made on only where it sees that', () => {
    const at = root();
    const base = folder(at, 'base', 'lib', 'python3.12', 'site-packages');
    put(join(at, 'base', 'bin', 'python3'));
    const venv = folder(at, 'venv', 'lib', 'python3.12', 'site-packages');
    folder(at, 'venv', 'bin');
    symlinkSync(join(at, 'base', 'bin', 'python3'), join(at, 'venv', 'bin', 'python3'));
    const seen = (text: string): string[] => {
      put(join(at, 'venv', 'pyvenv.cfg'), `home = ${join(at, 'base', 'bin')}\n${text}\n`);
      return pythonPackages({ HOME: at, PATH: join(at, 'venv', 'bin') }, []);
    };
    expect(seen('include-system-site-packages = false')).toEqual([venv]);
    expect(seen('include-system-site-packages = true')).toEqual([venv, base]);
  });

  it('are those of the version that pyenv runs', () => {
    const at = root();
    put(join(at, 'shims', 'python3'));
    put(join(at, 'version'), '3.11.7\n../../x\n');
    folder(at, 'versions', '3.10.1', 'lib', 'python3.10', 'site-packages');
    const chosen = folder(at, 'versions', '3.11.7', 'lib', 'python3.11', 'site-packages');
    expect(pythonPackages({ HOME: at, PATH: join(at, 'shims') }, [])).toEqual([chosen]);
  });

  it('are found, and caches named, without a look at the current folder', () => {
    const at = root();
    folder(at, 'lib', 'python3.12', 'site-packages');
    folder(at, '.local', 'lib', 'python3.12', 'site-packages');
    put(join(at, 'bin', 'python3'), '#!/bin/sh\ntouch RAN\n');
    put(join(at, 'json.py'), "open('RAN', 'w').write('ran')\n");
    const before = process.cwd();
    process.chdir(at);
    try {
      const env = { HOME: '/nowhere', PATH: ':bin:./bin', VIRTUAL_ENV: '.', CONDA_PREFIX: '', PYTHONUSERBASE: '.' };
      expect(pythonPackages(env, [])).toEqual([]);
      expect(cacheFolder({ HOME: '/h', LONGSIGHT_CACHE: '', XDG_CACHE_HOME: '' })).toBe('/h/.cache/longsight');
      expect(cacheFolder({ HOME: '/h', XDG_CACHE_HOME: 'x' })).toBe('/h/.cache/longsight');
      expect(cacheFolder({ HOME: '', XDG_CACHE_HOME: '' })).toMatch(/^\/.*\.cache\/longsight$/);
      for (const path of realSurroundings().sitePackages()) expect(path.startsWith(at)).toBe(false);
    } finally {
      process.chdir(before);
    }
  });
});
