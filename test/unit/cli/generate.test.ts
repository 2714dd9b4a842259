import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../../support/cli.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
/** A model with a tokenizer. */
const MODEL = join(DATA, 'retrieval-heads');

let folder: string;
/** Runs on text and on synthetic tokens. */
let bytes: string;
let recall: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'longsight-generate-'));
  bytes = join(folder, 'bytes');
  recall = join(folder, 'recall');
  const rest =
    'train: { seqLen: 32, batchSize: 4, steps: 2, lr: 1e-3, warmupSteps: 1, evalEvery: 2, checkpointEvery: 2 }\n' +
    'eval: { batches: 1, trace: false, needle: false }\nengine: onnx\nthreads: 1\n';
  const model = 'model: { hiddenSize: 16, numHeads: 2, intermediateSize: 24, layers: "swa:4 full" }\n';
  for (const [run, data] of [
    [bytes, '{ kind: text, corpus: moby-dick }'],
    [recall, '{ kind: recall }'],
  ] as const) {
    const file = join(folder, 'run.yaml');
    writeFileSync(file, `${model}data: ${data}\n${rest}`);
    const { code, stderr } = await cli(['train', file, '--out', run, '--quiet']);
    expect(stderr).toBe('');
    expect(code).toBe(0);
  }
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Event {
  readonly event: string;
  readonly prompt: string | null;
  readonly text: string;
  readonly ids: number[];
  readonly finish: string;
}

async function generated(...args: string[]): Promise<Event[]> {
  const { code, stdout, stderr } = await cli(['generate', ...args, '--engine', 'onnx', '--threads', '1', '--json']);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Event);
  return events.filter((e) => e.event === 'generate');
}

async function refused(message: string | RegExp, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await cli(['generate', ...args]);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stdout).toBe('');
  expect(code).toBe(2);
}

describe('longsight generate', () => {
  it('continues a text in bytes, live on standard output, timing on standard error', async () => {
    const args = [bytes, '--prompt', 'Call me', '--max-tokens', '5'];
    const { code, stdout, stderr } = await cli(['generate', ...args]);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^read 7 tokens at \d+\/s, 5 steps of 1 at \d+ tokens\/s\nengine onnx \(.*\)\n$/);
    const [event] = await generated(...args);
    expect(event?.ids).toHaveLength(5);
    expect(event?.finish).toBe('length');
    expect(stdout).toBe(`${event?.text}\n`);
    expect(event?.text).toBe(Buffer.from(Uint8Array.from(event?.ids ?? [])).toString());
  });

  it('continues several prompts together as it does each alone', async () => {
    const both = await generated(bytes, '--prompt', 'a', '--prompt', 'some longer text', '--max-tokens', '6');
    const [alone] = await generated(bytes, '--prompt', 'some longer text', '--max-tokens', '6');
    expect(both.map((e) => e.prompt)).toEqual(['a', 'some longer text']);
    expect(both[1]?.ids).toEqual(alone?.ids);
  });

  it('samples the same for the same seed', async () => {
    const sample = (seed: string) =>
      generated(bytes, '--prompt', 'a', '--temperature', '1.5', '--top-p', '0.9', '--seed', seed, '--max-tokens', '12');
    const [first] = await sample('1');
    expect((await sample('1'))[0]?.ids).toEqual(first?.ids);
    expect((await sample('2'))[0]?.ids).not.toEqual(first?.ids);
  });

  it('ends before a stop text, even one that comes in parts', async () => {
    const sampled = ['--temperature', '1', '--seed', '3', '--max-tokens', '12'];
    const [whole] = await generated(recall, '--prompt-ids', '1,2,3', ...sampled);
    const words = whole?.text.split(' ') ?? [];
    const stop = words.slice(3, 5).join(' ');
    const [event] = await generated(recall, '--prompt-ids', '1,2,3', ...sampled, '--stop', stop);
    expect(event?.text).toBe(whole?.text.slice(0, whole.text.indexOf(stop)));
    expect(event?.finish).toBe('stop');
    const { stdout } = await cli(['generate', recall, '--prompt-ids', '1,2,3', ...sampled, '--stop', stop]);
    expect(stdout).toBe(`${event?.text}\n`);
  });

  it('reads and writes through the tokenizer of an imported model, and ends with its end token', async () => {
    const args = ['--prompt', 'The special magic number', '--max-tokens', '8'];
    const [free] = await generated(MODEL, ...args, '--ignore-end');
    expect(free?.ids).toHaveLength(8);
    const copy = join(folder, 'ends');
    cpSync(MODEL, copy, { recursive: true });
    const last = free?.ids[2] as number;
    writeFileSync(join(copy, 'generation_config.json'), JSON.stringify({ eos_token_id: [last] }));
    const [ended] = await generated(copy, ...args);
    expect(ended?.ids).toEqual(free?.ids.slice(0, free.ids.indexOf(last)));
    expect(ended?.finish).toBe('stop');
    writeFileSync(join(copy, 'generation_config.json'), JSON.stringify({ eos_token_id: 'two' }));
    await refused(/eos_token_id must be a token id or a list of ids, got "two"/, copy, ...args);
  });

  it('answers through the chat template of a model', async () => {
    const chat = join(folder, 'chat');
    cpSync(MODEL, chat, { recursive: true });
    const say = ['--chat', '--prompt', 'special magic', '--max-tokens', '4'];
    await refused(/has no chat template/, chat, ...say);
    writeFileSync(
      join(chat, 'chat_template.jinja'),
      "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
    );
    const text = 'system: number\nuser: special magic\nassistant:';
    const [asked] = await generated(chat, ...say, '--system', 'number');
    expect(asked?.prompt).toBe(text);

    const messages = [
      { role: 'system', content: 'number' },
      { role: 'user', content: 'special magic' },
    ];
    const file = join(folder, 'chats.jsonl');
    const write = (...rows: object[]) => writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    write({ messages, id: 'a' });
    const from = ['--chat', '--prompt-file', file, '--max-tokens', '4'];
    expect((await generated(chat, ...from))[0]).toEqual(asked);
    write({ question: 'special magic' });
    expect((await generated(chat, ...from, '--system', 'number'))[0]).toEqual(asked);

    write({ messages }, { messages: [{ role: 'user', content: 3 }] });
    await refused(/chats.jsonl:2: messages\[0\].content must be a string, got 3/, chat, ...from);
    write({ messages, tools: [{}] });
    await refused(/chats.jsonl:1: tools: is not put into prompts; leave it out/, chat, ...from);
    write({ messages });
    await refused(
      /has whole conversations; put the system prompt \(--system\) into their messages/,
      chat,
      ...from,
      '--system',
      'x',
    );
    await refused(/--system belongs to a chat template; add --chat/, chat, '--prompt', 'a', '--system', 'x');
    await refused(/is a run, which has no chat template/, bytes, ...say);
    await refused(/nothing to answer/, chat, '--chat');
  });

  it('refuses what it cannot do, in one sentence', async () => {
    await refused(/nothing to continue; give --prompt/, bytes);
    await refused(/--max-tokens/, bytes, '--prompt', 'a', '--max-tokens', '0');
    await refused(/top-p must be above 0/, bytes, '--prompt', 'a', '--top-p', '0');
    await refused(/temperature/, bytes, '--prompt', 'a', '--temperature', '-1');
    await refused(/was not trained on text, so it cannot read texts/, recall, '--prompt', 'a');
    await refused(/prompt 1 holds token 9999/, recall, '--prompt-ids', '1,9999');
    await refused(/prompt 1 is empty/, bytes, '--prompt', '');
    await refused(/cannot read .*none\.txt/, bytes, '--prompt-file', join(folder, 'none.txt'));
    const bare = join(folder, 'bare');
    cpSync(MODEL, bare, { recursive: true });
    rmSync(join(bare, 'tokenizer.json'));
    await refused(/has no tokenizer\.json, so it cannot read texts/, bare, '--prompt', 'a');
  });
});
