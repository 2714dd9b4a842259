/** `data prepare` in processes of its own: several threads, killed. They run what is built in `dist`; `npm test` builds it first. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Rng } from '../../src/core/index.js';
import { openCorpus } from '../../src/data/index.js';
import { MAIN } from '../support/main.js';
import { temporaryFolder } from './support.js';

const TOKENIZER = fileURLToPath(new URL('../data/tokenizer/variants/llama3', import.meta.url));

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

function prepare(files: readonly string[], out: string, workers: number, killAfterMs?: number): Promise<Ending> {
  const args = ['data', 'prepare', ...files, '--tokenizer', TOKENIZER, '--out', out, '--held-out', '0.1'];
  const child = spawn(process.execPath, [MAIN, ...args, '--chunk-mb', '1', '--workers', String(workers)]);
  let output = '';
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output });
    });
  });
}

const contents = (dir: string) =>
  Object.fromEntries(
    readdirSync(dir)
      .filter((name) => name !== 'plan.json' && name !== 'prepare.lock')
      .map((name) => [name, readFileSync(join(dir, name)).toString('base64')]),
  );

/** A book as one document, and its paragraphs as many, twice over: five parts for up to three threads. */
function write(folder: string): string[] {
  const text = openCorpus('moby-dick').text();
  const lines = text.split('\n\n').map((paragraph) => JSON.stringify({ text: paragraph }));
  const [book, paragraphs] = [join(folder, 'book.txt'), join(folder, 'paragraphs.jsonl')];
  writeFileSync(book, text);
  writeFileSync(paragraphs, [...lines, ...lines].join('\n'));
  return [book, paragraphs];
}

describe('a preparation in its own process', () => {
  it('gives the same bytes with one, two and three threads', async () => {
    const folder = temporaryFolder();
    const files = write(folder);
    for (const workers of [1, 2, 3]) {
      const ending = await prepare(files, join(folder, `out-${workers}`), workers);
      expect(ending.code, ending.output).toBe(0);
    }
    const [one, two, three] = [1, 2, 3].map((workers) => contents(join(folder, `out-${workers}`)));
    expect(Object.keys(one ?? {}).length).toBeGreaterThan(8);
    expect(two).toEqual(one);
    expect(three).toEqual(one);
  });

  it('killed at any moment goes on to the same bytes', async () => {
    const folder = temporaryFolder();
    const files = write(folder);
    const begin = performance.now();
    expect((await prepare(files, join(folder, 'whole'), 2)).code).toBe(0);
    let spanMs = performance.now() - begin;
    const seed = Date.now();
    const rng = Rng.of(seed, 'kill');
    const out = join(folder, 'killed');
    let killed = 0;
    for (let attempt = 0; attempt < 12; attempt++) {
      const ending = await prepare(files, out, 2, spanMs * (0.3 + 0.6 * rng.uniform()));
      if (ending.signal !== null) killed++;
      else if (killed > 0) break;
      else {
        // Done before the kill, as on a machine that was busy when the whole preparation was timed: once more, killed sooner.
        rmSync(out, { recursive: true });
        spanMs /= 2;
      }
    }
    expect(killed, `seed ${seed}`).toBeGreaterThan(0);
    const last = await prepare(files, out, 2);
    expect(last.code, `seed ${seed}: ${last.output}`).toBe(0);
    expect(contents(out), `seed ${seed}`).toEqual(contents(join(folder, 'whole')));
  });

  it('passes on what a thread finds wrong, with exit code 2', async () => {
    const folder = temporaryFolder();
    const files = [...write(folder), join(folder, 'wrong.jsonl')];
    writeFileSync(files[2] as string, '{"text": "fine"}\n{"text": \n');
    const ending = await prepare(files, join(folder, 'out'), 2);
    expect(ending.code).toBe(2);
    expect(ending.output).toMatch(
      /longsight: .*wrong\.jsonl, line 2: not valid JSON .*; correct or remove the line\n$/,
    );
  });
});
