/** `longsight generate MODEL`: continues prompts. */
import type { Command } from 'commander';
import { at, ConfigError, maxOf, minOf } from '../../core/index.js';
import { checkSampling, generate, TextDecoderStream, type Sampling } from '../../generate/index.js';
import {
  conversationOf,
  missingShards,
  openModel,
  readConversations,
  readTextFile,
  stopTokensOf,
  templated,
  textOf,
  tokensOf,
  type OpenedModel,
} from '../../lab/index.js';
import { MODEL_ARGUMENT, withModels } from '../terminal/models.js';
import type { CliContext } from '../terminal/context.js';
import {
  addMeasuringOptions,
  parseNumber,
  addOutputOptions,
  positiveInteger,
  wholeNumber,
  type EngineFlags,
  type PrecisionFlag,
  type OutputFlags,
} from '../terminal/options.js';
import { Output } from '../terminal/output.js';

interface Flags extends OutputFlags, EngineFlags, PrecisionFlag {
  readonly prompt: readonly string[];
  readonly promptFile?: string;
  readonly promptIds: readonly (readonly number[])[];
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly topP: number;
  readonly seed: number;
  readonly stop: readonly string[];
  readonly ignoreEnd?: boolean;
  readonly chat?: boolean;
  readonly system?: string;
  readonly step?: number;
}

const more =
  <T>(read: (text: string) => T) =>
  (text: string, all: readonly T[]): readonly T[] => [...all, read(text)];

/** Registers `longsight generate`. */
export function addGenerate(program: Command, context: CliContext): void {
  const command = program
    .command('generate')
    .summary('continue prompts')
    .description(
      'Continues each prompt, greedily or sampled; several prompts are continued together. Caches hold no more than the ' +
        'windows of a model show, and recurrent layers a state of fixed size.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .option('--prompt <text>', 'a text to continue; may be repeated', more(String), [])
    .option('--prompt-file <file>', 'prompts of a .jsonl, or one whole file')
    .option(
      '--prompt-ids <ids>',
      'token ids with commas, for models without a tokenizer; may be repeated',
      more(ids),
      [],
    )
    .option('--chat', "prompts are what a user says: put them into the model's chat template; print the answer")
    .option('--system <text>', 'with --chat: what stands before the conversation')
    .option('--max-tokens <n>', 'new tokens for each prompt at most', (t) => positiveInteger('--max-tokens', t), 64)
    .option('--temperature <t>', '0 takes the likeliest token', (t) => parseNumber('--temperature', t), 0)
    .option('--top-k <k>', 'sample among the k likeliest tokens', (t) => positiveInteger('--top-k', t))
    .option(
      '--top-p <p>',
      'sample among the likeliest tokens that hold p of the probability',
      (t) => parseNumber('--top-p', t),
      1,
    )
    .option('--seed <n>', 'of the random numbers', (t) => wholeNumber('--seed', t), 0)
    .option('--stop <text>', 'end before this text; may be repeated', more(String), [])
    .option('--ignore-end', 'go on past the token that ends a text')
    .option('--step <n>', 'the checkpoint of this step', (text) => wholeNumber('--step', text));
  addOutputOptions(addMeasuringOptions(command)).action((path: string, flags: Flags) => run(path, flags, context));
}

function ids(text: string): number[] {
  return text.split(',').map((part) => wholeNumber('--prompt-ids', part.trim()));
}

interface Prompt {
  readonly text: string | null;
  readonly ids: Int32Array;
  /** What is printed before the continuation. */
  readonly shown: string;
}

function promptsOf(model: OpenedModel, flags: Flags): Prompt[] {
  const { prompt, promptFile, promptIds, system } = flags;
  if (flags.chat === true) return conversationPrompts(model, flags);
  if (system !== undefined) throw new ConfigError('--system belongs to a chat template; add --chat');
  const texts = [...prompt, ...(promptFile === undefined ? [] : readTextFile(promptFile).map((t) => t.text))];
  const all = [
    ...texts.map((text) => ({ text, ids: tokensOf(model, text), shown: text })),
    ...promptIds.map((list) => ({ text: null, ids: Int32Array.from(list), shown: `ids ${list.join(',')}` })),
  ];
  if (all.length === 0) throw new ConfigError('nothing to continue; give --prompt TEXT, --prompt-file or --prompt-ids');
  return all;
}

function conversationPrompts(model: OpenedModel, { prompt, promptFile, promptIds, system }: Flags): Prompt[] {
  if (promptIds.length > 0) throw new ConfigError('--chat makes token ids of texts; leave --prompt-ids out');
  const conversations = [
    ...prompt.map((text) => conversationOf(text, system)),
    ...(promptFile === undefined ? [] : readConversations(promptFile, system)),
  ];
  if (conversations.length === 0) throw new ConfigError('nothing to answer; give --prompt TEXT or --prompt-file');
  const shown = conversations.map((messages) => `${messages.at(-1)?.content ?? ''}\n\n`);
  return templated(model, conversations).map((conversation, i) => ({ ...conversation, shown: at(shown, i) }));
}

/** Text so far up to the first of `stops`; null while none is there. */
function cutAt(text: string, stops: readonly string[]): string | null {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return found.length === 0 ? null : text.slice(0, minOf(found));
}

/** Characters at the end of `text` that may be the beginning of a stop text. */
function held(text: string, stops: readonly string[]): number {
  const most = stops.map((stop) => {
    let n = Math.min(stop.length - 1, text.length);
    while (n > 0 && !text.endsWith(stop.slice(0, n))) n -= 1;
    return n;
  });
  return Math.max(0, maxOf(most));
}

/** The text of one continuation as it grows, cut at stop texts. */
class Continuation {
  readonly #stream: TextDecoderStream;
  readonly #stops: readonly string[];
  readonly #write: (text: string) => void;
  #text = '';
  #written = 0;
  stopped = false;

  constructor(decode: (ids: ArrayLike<number>) => string, stops: readonly string[], write: (text: string) => void) {
    this.#stream = new TextDecoderStream(decode);
    this.#stops = stops;
    this.#write = write;
  }

  push(token: number): void {
    this.#add(this.#stream.push(token), false);
  }

  end(): string {
    if (!this.stopped) this.#add(this.#stream.end(), true);
    return this.#text;
  }

  #add(part: string, last: boolean): void {
    this.#text += part;
    const cut = cutAt(this.#text, this.#stops);
    if (cut !== null) {
      this.#text = cut;
      this.stopped = true;
    }
    const sure = last || this.stopped ? this.#text.length : this.#text.length - held(this.#text, this.#stops);
    if (sure > this.#written) this.#write(this.#text.slice(this.#written, sure));
    this.#written = Math.max(this.#written, sure);
  }
}

async function run(path: string, flags: Flags, context: CliContext): Promise<void> {
  const { temperature, topK = null, topP, seed, maxTokens: maxNew, stop } = flags;
  const sampling: Sampling = { temperature, topK, topP };
  checkSampling(sampling);
  const output = new Output(context, flags);
  const model = openModel(path, flags);
  const prompts = promptsOf(model, flags);
  model.noteLength(maxOf(prompts.map((p) => p.ids.length)) + flags.maxTokens);
  const decode = (tokens: ArrayLike<number>) => textOf(model, tokens);
  // One continuation is shown as it comes; several would mix.
  const live = output.mode === 'human' && prompts.length === 1;
  const texts = prompts.map(() => new Continuation(decode, stop, (t) => (live ? context.stdout.write(t) : undefined)));
  await withModels([model], output, async () => {
    // Where the shards are gone, generation goes on to `--max-new`: that is said, not guessed at.
    const moved = missingShards(model);
    if (moved !== null && flags.ignoreEnd !== true) {
      output.note(`the token shards of the run are not at ${moved} any more, so no token that ends texts is known`);
    }
    const stopTokens = new Set(flags.ignoreEnd === true ? [] : stopTokensOf(model));
    const { rows, seconds, steps, stateBytes } = await generate(
      model,
      prompts.map((p) => p.ids),
      {
        ...{ maxNew, sampling, seed, stopTokens, signal: context.signal },
        onToken: (row, token) => texts[row]?.push(token),
        isDone: (_, row) => texts[row]?.stopped ?? false,
      },
    );
    const promptTokens = prompts.reduce((n, p) => n + p.ids.length, 0);
    rows.forEach((row, i) => {
      const text = at(texts, i).end();
      const prompt = at(prompts, i);
      const finish = row.finish === 'length' ? 'length' : 'stop';
      output.result(live ? '' : `${prompt.shown}${text}\n`, {
        ...{ event: 'generate', prompt: prompt.text, promptIds: [...prompt.ids], text, ids: [...row.tokens], finish },
        ...{ temperature, topK, topP, seed },
      });
    });
    const rate = (tokens: number, s: number) => (tokens / Math.max(s, 1e-9)).toFixed(0);
    output.note(
      `read ${promptTokens} tokens at ${rate(promptTokens, seconds.read)}/s, ` +
        `${steps} steps of ${prompts.length} at ${rate(steps * prompts.length, seconds.generate)} tokens/s`,
    );
    output.event({
      ...{ event: 'generateTiming', promptTokens, steps, rows: prompts.length },
      ...{ readSeconds: seconds.read, generateSeconds: seconds.generate, stateBytes },
      engine: model.engine.info.name,
    });
  });
}
