/** A model compiled to read prompts and to generate, its caches kept on the engine. */
import { present, entry, ConfigError, DataError, tensorFrom, toNumbers, zeros, maxOf } from '../core/index.js';
import type { DeviceTensor, Executable, TensorMap } from '../engine/index.js';
import { argmax, input, makeGraph, reshape, sliceAxis, type Value } from '../graph/index.js';
import type { LoadedModel, ModelOnEngine } from '../loaded/index.js';
import {
  forwardChunk,
  headLogits,
  parameterInputs,
  stateInputs,
  stateSpecs,
  type ModelConfig,
  type StateRoom,
} from '../model/index.js';

/** What a decoder is compiled for. */
export interface DecoderOptions {
  /** Sequences that are generated at a time. */
  readonly batchSize: number;
  /** The longest prompt, in tokens. */
  readonly maxPrompt: number;
  /** The most new tokens for each prompt. */
  readonly maxNew: number;
  /** Tokens of each prompt that are read at once (default: 256, or less if prompts are shorter). */
  readonly chunk?: number;
}

/** Logits of the next token of every sequence, still on the engine. */
export interface NextToken {
  /** The likeliest token of each row (the first of equals), `[batchSize]`. */
  best(): Promise<Int32Array>;
  /** `[batchSize * vocabSize]` */
  logits(): Promise<Float64Array>;
}

const DEFAULT_CHUNK = 256;

/** Slots of the longest prompt and all new tokens: prompts are padded on the left to whole chunks. */
function roomOf({ batchSize, maxPrompt, maxNew }: DecoderOptions, chunk: number): StateRoom {
  return { batchSize, maxLength: Math.ceil(maxPrompt / chunk) * chunk + maxNew, dtype: 'f32' };
}

function smallestChunk(maxPrompt: number): number {
  let chunk = 8;
  while (chunk < maxPrompt && chunk < DEFAULT_CHUNK) chunk *= 2;
  return chunk;
}

/** A model compiled to read prompts and to generate, with its caches on the engine. */
export class Decoder {
  readonly batchSize: number;
  readonly vocabSize: number;
  readonly #model: LoadedModel;
  readonly #options: DecoderOptions;
  readonly #chunk: number;
  readonly #room: StateRoom;
  readonly #programs: { readonly read: Executable; readonly step: Executable };
  #state: TensorMap | null = null;
  #padding: DeviceTensor | null = null;
  #start = 0;

  private constructor(
    model: LoadedModel,
    options: DecoderOptions,
    chunk: number,
    room: StateRoom,
    programs: { readonly read: Executable; readonly step: Executable },
  ) {
    this.batchSize = options.batchSize;
    this.vocabSize = model.config.vocabSize;
    this.#model = model;
    this.#options = options;
    this.#chunk = chunk;
    this.#room = room;
    this.#programs = programs;
  }

  /** Compiles two graphs: one reads a chunk of the prompts, one takes a single token. Positions are inputs of both. */
  static async create(model: LoadedModel, options: DecoderOptions): Promise<Decoder> {
    const chunk = options.chunk ?? smallestChunk(options.maxPrompt);
    for (const [name, value] of Object.entries({ ...options, chunk })) {
      if (typeof value === 'number' && !(Number.isInteger(value) && value >= 1)) {
        throw new ConfigError(`${name} must be a whole number of at least 1, got ${value}`);
      }
    }
    const room = roomOf(options, chunk);
    const read = await compileChunk(model, chunk, room);
    const step = chunk === 1 ? read : await compileChunk(model, 1, room);
    return new Decoder(model, options, chunk, room, { read, step });
  }

  /** Bytes of all caches and states. */
  get stateBytes(): number {
    return stateSpecs(this.#model.config, this.#room).reduce(
      (n, { shape }) => n + 4 * shape.reduce((a, b) => a * b, 1),
      0,
    );
  }

  /**
   * Forgets what was there, reads prompts and gives the logits after them.
   *
   * @param prompts `batchSize` lists of 1 to `maxPrompt` token ids
   * @throws DataError naming a prompt that is empty, too long, or holds an id that the model does not know
   */
  async read(prompts: readonly Int32Array[]): Promise<NextToken> {
    const longest = this.#checkPrompts(prompts);
    const { engine, config } = this.#model;
    const slots = Math.ceil(longest / this.#chunk) * this.#chunk;
    this.#state = Object.fromEntries(
      stateSpecs(config, this.#room).map(({ name, dtype, shape }) => [name, engine.upload(zeros(dtype, shape))]),
    );
    this.#start = 0;
    this.#padding = engine.upload(
      tensorFrom(
        'i32',
        [this.batchSize],
        prompts.map((p) => slots - p.length),
      ),
    );
    let next: NextToken | null = null;
    while (this.#start < slots) {
      next = await this.#advance(this.#programs.read, chunkOf(prompts, slots, this.#start, this.#chunk));
    }
    return present(next);
  }

  /**
   * Appends one token to every sequence and gives the logits after it.
   *
   * @throws ConfigError if `maxNew` tokens were appended already
   */
  async step(tokens: Int32Array): Promise<NextToken> {
    if (this.#start >= this.#room.maxLength) {
      throw new ConfigError(
        `the cache is full: it was made for ${this.#options.maxNew} new tokens; ask for more of them`,
      );
    }
    return await this.#advance(this.#programs.step, tokens);
  }

  async dispose(): Promise<void> {
    this.#state = null;
    await this.#programs.read.dispose();
    await this.#programs.step.dispose();
  }

  async #advance(program: Executable, tokens: Int32Array): Promise<NextToken> {
    const { engine, config, tensors } = this.#model;
    const n = tokens.length / this.batchSize;
    const parameters = Object.fromEntries(
      parameterNames(program, this.#room, config).map((name) => [name, entry(tensors, name)]),
    );
    const { logits, best, ...after } = await program.run({
      ...parameters,
      ...present(this.#state),
      tokens: engine.upload(tensorFrom('i32', [this.batchSize, n], tokens)),
      start: engine.upload(tensorFrom('i32', [], [this.#start])),
      padding: present(this.#padding),
    });
    this.#state = Object.fromEntries(Object.entries(after).map(([name, t]) => [name.slice(NEXT.length), t]));
    this.#start += n;
    const numbers = async (t: DeviceTensor | undefined) => toNumbers(await engine.download(present(t)));
    return { best: async () => Int32Array.from(await numbers(best)), logits: () => numbers(logits) };
  }

  #checkPrompts(prompts: readonly Int32Array[]): number {
    const { batchSize, maxPrompt } = this.#options;
    const { vocabSize } = this;
    if (prompts.length !== batchSize) {
      throw new DataError(`${prompts.length} prompts for a decoder of ${batchSize} sequences; give as many`);
    }
    prompts.forEach((prompt, i) => {
      const fail = (why: string): never => {
        throw new DataError(`prompt ${i + 1} ${why}`, { details: { prompt: i, tokens: prompt.length } });
      };
      if (prompt.length === 0) fail('is empty; a model continues at least one token');
      if (prompt.length > maxPrompt) {
        fail(`has ${prompt.length} tokens, more than the ${maxPrompt} that there is room for; shorten it`);
      }
      const unknown = prompt.find((id) => id < 0 || id >= vocabSize);
      if (unknown !== undefined) fail(`holds token ${unknown}, but the model knows ids below ${vocabSize}`);
    });
    return maxOf(prompts.map((p) => p.length));
  }
}

/** Prefix of the states' names among a graph's outputs. */
const NEXT = 'next.';

function parameterNames(program: Executable, room: StateRoom, model: ModelConfig): string[] {
  const others = new Set(['tokens', 'start', 'padding', ...stateSpecs(model, room).map((s) => s.name)]);
  return program.graph.inputs.map((p) => p.name).filter((name) => !others.has(name));
}

/** Tokens `start .. start + n - 1` of prompts padded on the left to `slots`, row after row. */
function chunkOf(prompts: readonly Int32Array[], slots: number, start: number, n: number): Int32Array {
  const out = new Int32Array(prompts.length * n);
  prompts.forEach((prompt, b) => {
    const padding = slots - prompt.length;
    for (let i = 0; i < n; i++) out[b * n + i] = prompt[start + i - padding] ?? 0;
  });
  return out;
}

async function compileChunk({ engine, config: model }: ModelOnEngine, n: number, room: StateRoom): Promise<Executable> {
  const { batchSize } = room;
  const params = parameterInputs(model, room.dtype);
  const before = stateInputs(model, room);
  const tokens = input('tokens', 'i32', [batchSize, n]);
  const place = { start: input('start', 'i32', []), padding: input('padding', 'i32', [batchSize]) };
  const { stream, state } = forwardChunk(model, params, { tokens, ...place }, before, room);
  const last: Value = reshape(sliceAxis(stream, 1, n - 1, n), [batchSize, model.hiddenSize]);
  const logits = headLogits(model, params, last);
  const after = Object.fromEntries([...state].map(([name, value]) => [NEXT + name, value]));
  const graph = makeGraph(
    { ...Object.fromEntries(params), ...Object.fromEntries(before), tokens, ...place },
    { logits, best: argmax(logits, 1), ...after },
  );
  return engine.compile(graph, { donate: Object.fromEntries([...state.keys()].map((name) => [name, NEXT + name])) });
}
