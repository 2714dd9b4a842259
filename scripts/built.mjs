// Builds dist/ where it is not built from the sources as they are now: `npm run longsight` calls this each time. Types are checked by `npm run build`.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const STAMP = join(ROOT, 'dist/.built');
const SOURCES = ['src', 'web', 'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json'];

/** What tells sources apart: the path, size and time of change of each file. */
function sources() {
  const hash = createHash('sha256');
  for (const source of SOURCES) {
    const isFolder = statSync(join(ROOT, source)).isDirectory();
    const names = isFolder ? readdirSync(join(ROOT, source), { recursive: true, encoding: 'utf8' }).sort() : [''];
    for (const name of names) {
      const { size, mtimeMs } = statSync(join(ROOT, source, name));
      if (!name.endsWith('.test.ts')) hash.update(`${source} ${name} ${size} ${mtimeMs}\n`);
    }
  }
  return hash.digest('hex');
}

const now = sources();
if (!existsSync(STAMP) || readFileSync(STAMP, 'utf8') !== now) {
  const options = { cwd: ROOT, stdio: 'inherit', shell: process.platform === 'win32' };
  for (const script of ['build:js', 'build:web']) execFileSync('npm', ['run', '-s', script], options);
  writeFileSync(STAMP, now);
}
