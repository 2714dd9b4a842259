import { appendFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { takeLock } from '../../../src/core/index.js';
import { cli } from '../../support/cli.js';

const MODEL = join(import.meta.dirname, '..', '..', 'data', 'retrieval-heads');
const folder = mkdtempSync(join(tmpdir(), 'longsight-ruler-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const COMMON = ['--cache', join(folder, 'cache'), '--seed', '1', '--quiet'];
const ENGINE = ['--engine', 'onnx', '--threads', '1'];
const TASKS = ['--tasks', 'passkey,vt', '--lengths', '512,1024', '--samples', '3'];

async function done(...args: string[]): Promise<void> {
  const { code, stderr } = await cli(['ruler', ...args, ...COMMON]);
  expect(stderr).toBe('');
  expect(code).toBe(0);
}

async function refused(message: string | RegExp, ...args: string[]): Promise<void> {
  const { code, stderr } = await cli(['ruler', ...args, ...COMMON]);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(code).toBe(2);
}

interface Row {
  readonly task: string;
  readonly length: number;
  readonly score: number | null;
  readonly why?: string;
}

const scores = (out: string) => (JSON.parse(readFileSync(join(out, 'scores.json'), 'utf8')) as { rows: Row[] }).rows;

describe('longsight ruler', () => {
  it('answers and scores tasks by length, and says which do not fit', async () => {
    const out = join(folder, 'out');
    await done('run', MODEL, '--out', out, ...TASKS, ...ENGINE);
    const rows = scores(out);
    expect(rows.map((r) => [r.task, r.length, r.score === null])).toEqual([
      ['passkey', 512, false],
      ['passkey', 1024, false],
      ['vt', 512, true],
      ['vt', 1024, true],
    ]);
    expect(rows[2]?.why).toMatch(/vt does not fit 512 tokens/);
    const csv = readFileSync(join(out, 'scores.csv'), 'utf8').split('\r\n');
    expect(csv[0]).toBe('task,length,score,low,high,exact,samples,empty');
    expect(csv).toHaveLength(4);
    const [first] = readFileSync(join(out, 'passkey-512.jsonl'), 'utf8').split('\n');
    const row = JSON.parse(first ?? '') as { pred: string; length: number };
    expect(row.length).toBeLessThanOrEqual(512 - 16);
  });

  it('answers into a folder that no other process is answering into', async () => {
    const out = join(folder, 'held');
    const run = ['run', MODEL, '--out', out, '--tasks', 'passkey', '--lengths', '512', '--samples', '1', ...ENGINE];
    const lock = await takeLock(join(out, 'ruler.lock'), out);
    await refused(`${out} is in use by process ${process.pid}`, ...run);
    expect(readdirSync(out)).toEqual(['ruler.lock']);
    lock.release();
    await done(...run);
  });

  it('goes on where it was stopped, to the same files', async () => {
    const [whole, stopped] = [join(folder, 'whole'), join(folder, 'stopped')];
    const tasks = ['--tasks', 'passkey', '--lengths', '512', '--samples', '3'];
    await done('run', MODEL, '--out', whole, ...tasks, ...ENGINE);
    const file = readFileSync(join(whole, 'passkey-512.jsonl'), 'utf8');
    cpSync(whole, stopped, { recursive: true });
    const cut = join(stopped, 'passkey-512.jsonl');
    writeFileSync(cut, file.slice(0, file.indexOf('\n') + 20));
    await done('run', MODEL, '--out', stopped, ...tasks, ...ENGINE);
    expect(readFileSync(cut, 'utf8')).toBe(file);
    expect(scores(stopped)).toEqual(scores(whole));
    await refused(
      /holds predictions of another model or other samples/,
      'run',
      MODEL,
      '--out',
      whole,
      ...tasks,
      '--samples',
      '4',
    );
  });

  it('takes samples of the user, and cuts long prompts only if told', async () => {
    const data = join(folder, 'mine.jsonl');
    writeFileSync(data, `${JSON.stringify({ input: 'word '.repeat(80), answer_prefix: ' so', outputs: ['zzz'] })}\n`);
    const args = ['--data', data, '--lengths', '64', '--max-tokens', '4', ...ENGINE];
    await refused(
      /mine 64: the prompt of sample 0 has \d+ tokens, more than 6\d/,
      'run',
      MODEL,
      '--out',
      join(folder, 'a'),
      ...args,
    );
    const out = join(folder, 'b');
    await done('run', MODEL, '--out', out, ...args, '--truncate');
    const row = JSON.parse(readFileSync(join(out, 'mine-64.jsonl'), 'utf8')) as { truncation: boolean; length: number };
    expect(row).toMatchObject({ truncation: true, length: 64 });
    // What the model answers, asked for, scores in full; what it does not, not at all.
    const { pred } = JSON.parse(readFileSync(join(out, 'mine-64.jsonl'), 'utf8')) as { pred: string };
    expect(scores(out).map((r) => r.score)).toEqual([0]);
    const wanted = { input: 'word '.repeat(80), answer_prefix: ' so', outputs: [pred.trim()] };
    writeFileSync(data, `${JSON.stringify(wanted)}\n`);
    await done('run', MODEL, '--out', join(folder, 'e'), ...args, '--truncate');
    expect(scores(join(folder, 'e')).map((r) => r.score)).toEqual([100]);
    appendFileSync(data, '{"input": 3}\n');
    await refused(/mine\.jsonl:2: input must be a string, got 3/, 'run', MODEL, '--out', join(folder, 'c'), ...args);
  });

  it('keeps answers by content and place, whatever paths and indices say', async () => {
    const [data, out, model] = [join(folder, 's.jsonl'), join(folder, 'f'), join(folder, 'model')];
    const row = (input: string) => `${JSON.stringify({ index: 7, input, outputs: ['zzz'] })}\n`;
    const rows = () => readFileSync(join(out, 's-64.jsonl'), 'utf8').trim().split('\n');
    cpSync(MODEL, model, { recursive: true });
    writeFileSync(data, row('one') + row('two words'));
    const args = ['run', model, '--out', out, '--data', data, '--lengths', '64', ...ENGINE];
    await done(...args, '--max-tokens', '4');
    const answers = rows();
    expect(answers).toHaveLength(2);
    expect(answers[0]).not.toBe(answers[1]);
    await refused(
      /\(s-64: answer tokens was 4, now 5\); choose another folder \(--out\)/,
      ...args,
      '--max-tokens',
      '5',
    );
    await refused(/\(s-64: truncation was false, now true\)/, ...args, '--max-tokens', '4', '--truncate');
    writeFileSync(data, row('one') + row('two terms'));
    await refused(/\(s-64: sample 1 differs\)/, ...args, '--max-tokens', '4');
    writeFileSync(data, row('one') + row('two words'));
    const weights = readFileSync(join(model, 'model.safetensors'));
    const last = weights.length - 1;
    weights[last] = (weights[last] ?? 0) ^ 1;
    writeFileSync(join(model, 'model.safetensors'), weights);
    await refused(/\(weights differ\)/, ...args, '--max-tokens', '4');
    expect(rows()).toEqual(answers);
    rmSync(model, { recursive: true });
    // Elsewhere, but the same.
    cpSync(MODEL, join(folder, 'elsewhere'), { recursive: true });
    await done('run', join(folder, 'elsewhere'), ...args.slice(2), '--max-tokens', '4');
    expect(rows()).toEqual(answers);
  });

  it('prepares files, and refuses lengths, tasks and tokenizers that do not do', async () => {
    const { stdout } = await cli([
      'ruler',
      'prepare',
      MODEL,
      '--tasks',
      'passkey',
      '--lengths',
      '512',
      '--samples',
      '2',
      '--json',
      '--cache',
      join(folder, 'p'),
    ]);
    const event = JSON.parse(stdout) as { path: string; cached: boolean };
    expect(event.cached).toBe(false);
    expect(readFileSync(event.path, 'utf8').trim().split('\n')).toHaveLength(2);
    await refused(/does not fit 64 tokens/, 'prepare', MODEL, '--tasks', 'niah_single_1', '--lengths', '64');
    await refused(/no RULER task "niah"/, 'prepare', MODEL, '--tasks', 'niah');
    await refused(/--squad FILE/, 'prepare', MODEL, '--tasks', 'qa_1', '--lengths', '4096');
    await refused(/cannot read .*tokenizer\.json/, 'prepare', folder, '--tasks', 'passkey');
    await refused(/there is no corpus "none"/, 'prepare', 'bytes', '--corpus', 'none', '--tasks', 'passkey');
    const bare = join(folder, 'bare');
    cpSync(MODEL, bare, { recursive: true });
    rmSync(join(bare, 'tokenizer.json'));
    await refused(/has no tokenizer\.json, so it cannot read texts/, 'run', bare, '--out', join(folder, 'd'));
  });
});
