/** Two host names on one file system, as two nodes of a cluster have: neither takes the other's run folder by itself. */
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

it.skipIf(why !== '')(`a host of another name is refused, and takes over when told to ${why}`, async () => {
  const path = join(folder, 'run.lock');
  const take = (options: string) =>
    `import { takeLock } from '${CORE}'; takeLock(${JSON.stringify(path)}, 'the folder', ${options}); console.log('taken');`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', `${take('{}')} setInterval(() => {}, 1000);`]);
  try {
    await once(holder.stdout, 'data');
    const onOtherHost = (options: string) =>
      spawnSync(
        'unshare',
        [
          '--uts',
          'sh',
          '-c',
          'hostname longsight-b; exec "$0" --input-type=module -e "$1"',
          process.execPath,
          take(options),
        ],
        {
          encoding: 'utf8',
        },
      );
    const refused = onOtherHost('{}');
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toContain(
      `the folder is in use by process ${holder.pid} on host ${hostname()}, which cannot be seen from here`,
    );
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ pid: holder.pid, host: hostname() });
    const told = onOtherHost('{ takeOver: true }');
    expect(told.stdout).toBe('taken\n');
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ host: 'longsight-b' });
  } finally {
    holder.kill();
  }
});
