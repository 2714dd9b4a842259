/**
 * Processes that race for the lock of a folder and write its state, with old locks in the way, killed and frozen at random moments:
 * every step stands in the metrics once, and no line or status comes from a holder whose lock was taken.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { at, thisProcess, type Rng } from '../../src/core/index.js';
import { BUNDLED } from '../support/main.js';
import { amount, inParallel, seedOf, trialOf } from './support.js';

const RACER = join(BUNDLED, 'tests', 'lock-racer.js');
const STEPS = 4;
const root = mkdtempSync(join(tmpdir(), 'longsight-races-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Race {
  readonly folder: string;
  readonly hosts: readonly string[];
  /** Seconds without a heartbeat after which a process of another host counts as dead. */
  readonly seconds: number;
  /** What happens to the process that takes the lock first, so many milliseconds after. */
  readonly fate: { readonly signal: 'SIGKILL' | 'SIGSTOP'; readonly afterMs: number; readonly frozenMs: number } | null;
}

/** What became of the racers. */
interface Count {
  done: number;
  lost: number;
  killed: number;
}

/** What earlier holders have left: nothing, a free lock, one of a dead process, or a file of an earlier version. */
function leaveLock(folder: string, rng: Rng): void {
  const lock = join(folder, 'run.lock');
  const dead = { ...thisProcess(), pid: 2 ** 22 + 1 + rng.int(1000) };
  const lease = (number: number, word: string) => {
    mkdirSync(lock, { recursive: true });
    const line = JSON.stringify({ ...dead, number, token: `dead-${number}`, seconds: 1 });
    writeFileSync(join(lock, String(number)), `${line}\n000000000003 ${word}\n`);
  };
  const kinds = [
    () => undefined,
    () => lease(7, 'free'),
    () => lease(7, 'held'),
    () => [lease(7, 'held'), lease(8, 'held')],
    () => writeFileSync(lock, JSON.stringify(dead)),
    () => writeFileSync(lock, '{"pid":'),
  ];
  at(kinds, rng.int(kinds.length))();
}

/** The hosts of the races between two. */
const TWO_HOSTS = ['node-a', 'node-b'] as const;
/** Runs a command line as on a host of that name, in a namespace of its own (Linux, as root); the process stays the same. */
const onHost = (name: string): string[] => ['unshare', '--uts', 'sh', '-c', 'hostname "$0" && exec "$@"', name];
const HAS_NAMESPACES = spawnSync('unshare', [...onHost('node-a').slice(1), 'true'], { stdio: 'ignore' }).status === 0;

/** A few processes that race again and again; those that were killed are replaced. */
class Racers {
  readonly #children = new Map<number, ChildProcess>();
  /** @param hosts names of hosts to run the processes on; undefined for this one */
  constructor(readonly hosts?: readonly string[]) {}

  #start(i: number): ChildProcess {
    const host = this.hosts?.[i];
    const [command = '', ...args] = [...(host === undefined ? [] : onHost(host)), process.execPath, RACER];
    return spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  }

  async race({ folder, hosts, seconds, fate }: Race): Promise<Count> {
    const result = { done: 0, lost: 0, killed: 0 };
    let fated = fate === null;
    await Promise.all(
      hosts.map((host, i) => {
        const child = this.#children.get(i) ?? this.#start(i);
        this.#children.set(i, child);
        child.removeAllListeners();
        let ended = false;
        return new Promise<void>((resolve, reject) => {
          child.on('message', (message) => {
            if (message === 'took') {
              if (fated || fate === null) return;
              fated = true;
              setTimeout(() => {
                child.kill(fate.signal);
                if (fate.signal === 'SIGSTOP') setTimeout(() => child.kill('SIGCONT'), fate.frozenMs);
              }, fate.afterMs);
              return;
            }
            ended = true; // the signal may come after that
            result[message as 'done' | 'lost']++;
            resolve();
          });
          child.on('exit', (code, signal) => {
            this.#children.delete(i);
            if (signal !== 'SIGKILL') return reject(new Error(`a racer ended with code ${code}, ${signal}`));
            if (!ended) result.killed++;
            resolve();
          });
          // One that is killed behind its last race may have lost its channel: its exit comes, and counts.
          child.send({ folder, host: this.hosts === undefined ? host : null, seconds, steps: STEPS }, () => undefined);
        });
      }),
    );
    return result;
  }

  stop(): void {
    for (const child of this.#children.values()) child.kill('SIGKILL');
  }
}

/** Every step once and in order, each by a holder at least as late as that of the step before; the status by the last. */
function checkState(folder: string, { done }: Count, what: string): void {
  const text = readFileSync(join(folder, 'metrics.jsonl'), 'utf8');
  const lines = text
    .slice(0, text.lastIndexOf('\n') + 1)
    .trimEnd()
    .split('\n');
  const rows = lines.map((line) => JSON.parse(line) as { step: number; holder: number });
  expect(
    rows.map(({ step }) => step),
    what,
  ).toEqual(rows.map((_, i) => i + 1));
  expect(
    rows.map(({ holder }) => holder),
    what,
  ).toEqual(rows.map(({ holder }) => holder).sort((a, b) => a - b));
  const status = JSON.parse(readFileSync(join(folder, 'status.json'), 'utf8')) as { step: number; holder: number };
  expect(status.step, what).toBeGreaterThanOrEqual(done * STEPS);
  expect(status.step, what).toBeLessThanOrEqual(rows.length);
  expect(status.holder, what).toBeLessThanOrEqual(rows.at(-1)?.holder ?? 0);
  // Nothing is left but what belongs there, and the lock is free.
  expect(
    readdirSync(folder)
      .filter((name) => !name.endsWith('.tmp'))
      .sort(),
    what,
  ).toEqual(['metrics.jsonl', 'run.lock', 'status.json']);
}

async function races(
  count: number,
  width: number,
  racersOf: () => Racers,
  make: (trial: number) => Race,
): Promise<Count> {
  const total = { done: 0, lost: 0, killed: 0 };
  const trials = Array.from({ length: count }, (_, trial) => trial);
  const chunks = Array.from({ length: width }, (_, i) => trials.filter((trial) => trial % width === i));
  await inParallel(chunks, width, async (chunk) => {
    const racers = racersOf();
    try {
      for (const trial of chunk) {
        const race = make(trial);
        const result = await racers.race(race);
        checkState(race.folder, result, `seed ${seedOf('locks')}, trial ${trial}, ${JSON.stringify(race)}`);
        for (const key of ['done', 'lost', 'killed'] as const) total[key] += result[key];
        rmSync(race.folder, { recursive: true });
      }
    } finally {
      racers.stop();
    }
  });
  return total;
}

const folderOf = (name: string): string => {
  const folder = join(root, name);
  mkdirSync(folder);
  return folder;
};

describe('processes that race for a folder', () => {
  it('on one host write each step once, whoever is killed or frozen', async () => {
    const count = amount(1000);
    const total = await races(
      count,
      2,
      () => new Racers(),
      (trial) => {
        const rng = trialOf('locks', `one ${trial}`);
        const folder = folderOf(`one-${trial}`);
        leaveLock(folder, rng);
        const fates = [null, 'SIGKILL', 'SIGSTOP'] as const;
        const signal = at(fates, rng.int(fates.length));
        const fate = signal === null ? null : { signal, afterMs: rng.int(12), frozenMs: 10 + rng.int(40) };
        return { folder, hosts: [hostname(), hostname(), hostname()], seconds: 60, fate };
      },
    );
    process.stderr.write(`one host: ${count} races, ${JSON.stringify(total)}\n`);
    expect(total).toMatchObject({ done: 3 * count - total.killed, lost: 0 });
    expect(total.killed).toBeGreaterThan(0);
  });

  const betweenTwo = async (kind: string, racersOf: () => Racers): Promise<void> => {
    const count = amount(200);
    const seconds = 2;
    const total = await races(count, 6, racersOf, (trial) => {
      const rng = trialOf('locks', `${kind} ${trial}`);
      const folder = folderOf(`${kind}-${trial}`);
      const signal = trial % 4 === 0 ? null : trial % 4 === 1 ? 'SIGKILL' : 'SIGSTOP';
      const fate =
        signal === null
          ? null
          : ({ signal, afterMs: rng.int(8), frozenMs: 1000 * seconds + 200 + rng.int(1200) } as const);
      return { folder, hosts: TWO_HOSTS, seconds, fate };
    });
    process.stderr.write(`${kind} hosts: ${count} races, ${JSON.stringify(total)}\n`);
    expect(total.done + total.killed + total.lost).toBe(2 * count);
    expect(total.killed).toBeGreaterThan(0);
    expect(total.lost).toBeGreaterThan(0);
  };

  it('on two hosts never take the lock of one that lives, and take that of a dead or frozen one, which notices', async () => {
    await betweenTwo('two', () => new Racers());
  });

  // The system gives the names here, one to each namespace, as two machines have them.
  it.skipIf(!HAS_NAMESPACES)('in namespaces with host names of their own do so too', async () => {
    await betweenTwo('named', () => new Racers(TWO_HOSTS));
  });
});
