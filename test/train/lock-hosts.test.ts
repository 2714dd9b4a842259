/** Two host names on one file system, as two nodes of a cluster have: a living holder keeps its folder, a frozen one loses it. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';

const CORE = new URL('../../dist/core/index.js', import.meta.url).href;
const folder = mkdtempSync(join(tmpdir(), 'longsight-hosts-'));
afterAll(() => rmSync(folder, { recursive: true }));

const why = existsSync('/usr/bin/unshare')
  ? spawnSync('unshare', ['--uts', 'hostname', 'longsight-b'], { encoding: 'utf8' }).stderr.trim()
  : 'there is no unshare';

it.skipIf(why !== '')(`a host of another name is refused, and takes what a frozen process holds ${why}`, async () => {
  const path = join(folder, 'run.lock');
  const env = { ...process.env, LONGSIGHT_LOCK_SECONDS: '3' };
  const take = (options: string) =>
    `import { takeLock, writeFileAtomic } from '${CORE}'; await takeLock(${JSON.stringify(path)}, 'the folder', ${options}); console.log('taken');`;
  const late = `try { writeFileAtomic(${JSON.stringify(join(folder, 'state'))}, 'late'); } catch (e) { console.log(e.exitCode, e.message); process.exit(e.exitCode); }`;
  const holder = spawn(
    process.execPath,
    ['--input-type=module', '-e', `${take('{}')} setInterval(() => { ${late} }, 50);`],
    { env },
  );
  let said = '';
  holder.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  try {
    await once(holder.stdout, 'data');
    const onOtherHost = (options: string) =>
      spawnSync(
        'unshare',
        [
          ...['--uts', 'sh', '-c', 'hostname longsight-b; exec "$0" --input-type=module -e "$1"'],
          ...[process.execPath, take(options)],
        ],
        { encoding: 'utf8', env },
      );
    for (const options of ['{}', '{ takeOver: true }']) {
      const refused = onOtherHost(options);
      expect(refused.status).not.toBe(0);
      expect(refused.stderr).toContain(
        `the folder is in use by process ${holder.pid} on host ${hostname()}, which is alive`,
      );
    }
    holder.kill('SIGSTOP');
    expect(onOtherHost('{}').stdout).toBe('taken\n');
    const text = readFileSync(join(path, '2'), 'utf8');
    expect(text).toContain('"host":"longsight-b"');
    rmSync(join(folder, 'state'));
    holder.kill('SIGCONT');
    const [code] = (await once(holder, 'close')) as [number];
    expect(code).toBe(1);
    expect(said).toMatch(/1 this process has lost the folder to process \d+ on host longsight-b, /);
    expect(existsSync(join(folder, 'state'))).toBe(false);
    expect(readFileSync(join(path, '2'), 'utf8')).toBe(text);
  } finally {
    holder.kill('SIGKILL');
  }
});
