// Fetches a stand-alone PJRT CPU plugin (a Python wheel, by pip) into the cache folder: this version and these bytes, or nothing.
// Then checks that it loads.
// usage: node scripts/fetch-pjrt-cpu.mjs        cache: $LONGSIGHT_CACHE, else $XDG_CACHE_HOME/longsight, else ~/.cache/longsight
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/** One wheel per machine: the package with its version, the SHA-256 of the wheel and of the plugin in it. */
const WHEELS = {
  'linux x64': {
    name: 'lammps-jax-pjrt-cpu',
    version: '0.11.2',
    wheel: '1319390d948b39f69f7dade496b7c385149d9ca6097a6b62114da113216d9ad1',
    folder: 'lammps_jax_pjrt_cpu',
    file: 'pjrt_c_api_cpu_plugin.so',
    plugin: 'ad1309ac822b1b24d51b7f9947c7c9fa9ef5d67f390584cbc3d1fa2428fed9c2',
  },
};

const { LONGSIGHT_CACHE: own = '', XDG_CACHE_HOME: shared = '' } = process.env;
const cache = own !== '' ? resolve(own) : join(isAbsolute(shared) ? shared : join(homedir(), '.cache'), 'longsight');
const target = join(cache, 'pjrt');

/** SHA-256 of a file, as 64 hexadecimal digits. */
async function sha256(path) {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest('hex');
}

async function expect(path, wanted) {
  const found = await sha256(path);
  if (found !== wanted) throw new Error(`${path} has the SHA-256 ${found}, not ${wanted}; nothing of it is used`);
}

/** Standard output of a command, run in a folder of its own; throws with the last lines of its standard error. */
function run(cwd, command, args) {
  try {
    return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  } catch (error) {
    const lines = String(error.stderr ?? '').trim();
    const detail = lines.split('\n').slice(-2).join(' | ');
    throw new Error(`${command} ${args.slice(0, 3).join(' ')}: ${detail || error.message}`, { cause: error });
  }
}

/** Loads the plugin in another process (a bad one could take this one down) and returns its version. */
function check(scratch, path) {
  const code = `
    const { default: koffi } = await import(process.argv[1]);
    const table = koffi.load(process.argv[2]).func('GetPjrtApi', 'void *', [])();
    console.log('PJRT ' + koffi.decode(table, 32, 'int32_t') + '.' + koffi.decode(table, 36, 'int32_t'));
    process.reallyExit(0);`;
  return run(scratch, process.execPath, ['--input-type=module', '-e', code, import.meta.resolve('koffi'), path]);
}

/** Python is isolated (-I), and started in a folder of its own: it runs nothing of the current folder. */
async function fetchWheel(scratch, { name, version, wheel, folder, file, plugin }) {
  const requirements = join(scratch, 'requirements.txt');
  writeFileSync(requirements, `${name}==${version} --hash=sha256:${wheel}\n`);
  const exact = ['--no-deps', '--only-binary=:all:', '--require-hashes'];
  run(scratch, 'python3', ['-I', '-m', 'pip', 'download', ...exact, '-q', '-d', scratch, '-r', requirements]);
  const found = readdirSync(scratch).find((entry) => entry.endsWith('.whl'));
  if (found === undefined) throw new Error(`pip loaded no wheel of ${name} ${version}`);
  await expect(join(scratch, found), wheel);
  run(scratch, 'python3', ['-I', '-m', 'zipfile', '-e', join(scratch, found), scratch]);
  await expect(join(scratch, folder, file), plugin);
  rmSync(join(target, folder), { recursive: true, force: true });
  renameSync(join(scratch, folder), join(target, folder));
}

const machine = `${process.platform} ${process.arch}`;
const pinned = WHEELS[machine];
if (pinned === undefined) {
  console.error(
    `there is no PJRT CPU plugin for ${machine} whose bytes are known; there is one for ${Object.keys(WHEELS).join(', ')}`,
  );
  process.exit(1);
}
process.umask(0o077);
mkdirSync(target, { recursive: true });
const scratch = mkdtempSync(join(target, 'fetch-'));
try {
  const path = join(target, pinned.folder, pinned.file);
  // What is there already comes first: a second run asks no registry.
  const isThere = existsSync(path) && (await sha256(path)) === pinned.plugin;
  if (!isThere) await fetchWheel(scratch, pinned);
  console.log(`${pinned.name} ${pinned.version}: ${path} loads (${check(scratch, path)})`);
} catch (error) {
  console.error(`no PJRT CPU plugin could be fetched: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
