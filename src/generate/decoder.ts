/** A model compiled to read prompts and to generate, its caches kept on the engine. */
import { present, entry, ConfigError, DataError, sizeOf, tensorFrom, toNumbers, zeros, maxOf } from '../core/index.js';
import type { DeviceTensor, Executable, TensorMap } from '../engine/index.js';
import { argmax, full, input, makeGraph, reshape, sliceAxis, type Graph, type Value } from '../graph/index.js';
import type { LoadedModel, ModelOnEngine } from '../loaded/index.js';
import {
  checkLength,
  forwardChunk,
  headLogits,
  parameterInputs,
  stateInputs,
  stateSpecs,
  type ModelConfig,
  type StateRoom,
} from '../model/index.js';
import { chunkLengths, chunksOf, slotsFor, type ChunkLengths } from './chunks.js';

/** What a decoder is compiled for. */
export interface DecoderOptions {
  /** Sequences that are generated at a time. */
  readonly batchSize: number;
  /** The longest prompt, in tokens. */
  readonly maxPrompt: number;
  /** The most new tokens for each prompt. */
  readonly maxNew: number;
  /** Tokens of each prompt that are read at once (default: chosen for the engine, the batch and the longest prompt). */
  readonly chunk?: number;
}

/** Logits of the next token of every sequence, still on the engine. */
export interface NextToken {
  /** The likeliest token of each row (the first of equals) on the engine, i32 `[batchSize, 1]`. */
  readonly likeliest: DeviceTensor;
  /** The likeliest token of each row (the first of equals), `[batchSize]`. */
  best(): Promise<Int32Array>;
  /** `[batchSize * vocabSize]` */
  logits(): Promise<Float64Array>;
}

/** Slots of the longest prompt and all new tokens: prompts are padded on the left to whole chunks. */
function roomOf({ engine, config }: ModelOnEngine, options: DecoderOptions, lengths: ChunkLengths): StateRoom {
  const { batchSize, maxPrompt, maxNew } = options;
  checkLength(config, maxPrompt + maxNew - 1);
  const dtype = engine.hints.activations ?? 'f32';
  return { batchSize, maxLength: slotsFor(maxPrompt, lengths) + maxNew, dtype };
}

/** A model compiled to read prompts and to generate, with its caches on the engine. */
export class Decoder {
  readonly batchSize: number;
  readonly vocabSize: number;
  readonly #model: LoadedModel;
  readonly #options: DecoderOptions;
  readonly #lengths: ChunkLengths;
  readonly #room: StateRoom;
  /** Programs by the tokens of a sequence that they take. */
  readonly #programs = new Map<number, ChunkProgram>();
  #empty: Executable | null = null;
  #state: TensorMap | null = null;
  #padding: DeviceTensor | null = null;
  #start = 0;

  private constructor(model: LoadedModel, options: DecoderOptions, lengths: ChunkLengths) {
    this.batchSize = options.batchSize;
    this.vocabSize = model.config.vocabSize;
    this.#model = model;
    this.#options = options;
    this.#lengths = lengths;
    this.#room = roomOf(model, options, lengths);
  }

  /**
   * Compiles the graph that takes a single token, and those that read the chunks of the longest prompt, at most two;
   * another is compiled when a shorter prompt needs it. Positions are inputs of all.
   */
  static async create(model: LoadedModel, options: DecoderOptions): Promise<Decoder> {
    const lengths = chunkLengths(options, model.engine.hints.accelerator === true);
    const decoder = new Decoder(model, options, lengths);
    const chunks = chunksOf(slotsFor(options.maxPrompt, lengths), lengths);
    for (const n of new Set([1, ...chunks])) await decoder.#program(n);
    return decoder;
  }

  /** Whether the engine computes a step while the host waits for the one before. */
  get runsAhead(): boolean {
    return this.#model.engine.hints.runsAhead > 1;
  }

  /** Bytes of all caches and states. */
  get stateBytes(): number {
    return stateSpecs(this.#model.config, this.#room).reduce(
      (n, { shape, dtype }) => n + (dtype === 'bf16' ? 2 : 4) * sizeOf(shape),
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
    const { engine } = this.#model;
    const slots = slotsFor(longest, this.#lengths);
    this.#state = await this.#emptyState();
    this.#start = 0;
    this.#padding = engine.upload(
      tensorFrom(
        'i32',
        [this.batchSize],
        prompts.map((p) => slots - p.length),
      ),
    );
    let next: NextToken | null = null;
    for (const n of chunksOf(slots, this.#lengths)) {
      const tokens = this.#upload(chunkOf(prompts, slots, this.#start, n), n);
      next = await this.#advance(await this.#program(n), tokens, n);
    }
    return present(next);
  }

  /**
   * Appends one token to every sequence and gives the logits after it.
   *
   * @param tokens i32 `[batchSize]`, or the likeliest tokens as they lie on the engine, for which no host has to wait
   * @throws ConfigError if `maxNew` tokens were appended already
   */
  async step(tokens: Int32Array | NextToken): Promise<NextToken> {
    if (this.#start >= this.#room.maxLength) {
      throw new ConfigError(
        `the cache is full: it was made for ${this.#options.maxNew} new tokens; ask for more of them`,
      );
    }
    const column = tokens instanceof Int32Array ? this.#upload(tokens, 1) : tokens.likeliest;
    return await this.#advance(await this.#program(1), column, 1);
  }

  async dispose(): Promise<void> {
    this.#state = null;
    for (const { program } of this.#programs.values()) await program.dispose();
    await this.#empty?.dispose();
  }

  async #program(n: number): Promise<ChunkProgram> {
    const known = this.#programs.get(n);
    if (known !== undefined) return known;
    const { config, tensors } = this.#model;
    const program = await compileChunk(this.#model, n, this.#room);
    const names = parameterNames(program, this.#room, config);
    const made = { program, parameters: Object.fromEntries(names.map((name) => [name, entry(tensors, name)])) };
    this.#programs.set(n, made);
    return made;
  }

  /** The states before the first token, made where they are kept: caches are large. */
  async #emptyState(): Promise<TensorMap> {
    const { engine, config } = this.#model;
    const specs = stateSpecs(config, this.#room);
    if (engine.hints.accelerator !== true) {
      return Object.fromEntries(specs.map(({ name, dtype, shape }) => [name, engine.upload(zeros(dtype, shape))]));
    }
    const graph = () => makeGraph({}, Object.fromEntries(specs.map((s) => [s.name, full(s.dtype, s.shape, 0)])));
    this.#empty ??= await engine.compile(graph());
    return await this.#empty.run({});
  }

  #upload(tokens: Int32Array, n: number): DeviceTensor {
    return this.#model.engine.upload(tensorFrom('i32', [this.batchSize, n], tokens));
  }

  /** Runs the program of n tokens a sequence on `tokens`, i32 [batchSize, n]. */
  async #advance({ program, parameters }: ChunkProgram, tokens: DeviceTensor, n: number): Promise<NextToken> {
    const { engine } = this.#model;
    const { logits, best, ...after } = await program.run({
      ...parameters,
      ...present(this.#state),
      tokens,
      start: engine.upload(tensorFrom('i32', [], [this.#start])),
      padding: present(this.#padding),
    });
    this.#state = Object.fromEntries(Object.entries(after).map(([name, t]) => [name.slice(NEXT.length), t]));
    this.#start += n;
    const numbers = async (t: DeviceTensor | undefined) => toNumbers(await engine.download(present(t)));
    return {
      likeliest: present(best),
      best: async () => Int32Array.from(await numbers(best)),
      logits: () => numbers(logits),
    };
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

/** A compiled chunk with the parameters that it takes: the same at every step, and there may be thousands of steps. */
interface ChunkProgram {
  readonly program: Executable;
  readonly parameters: TensorMap;
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

async function compileChunk({ engine, config }: ModelOnEngine, n: number, room: StateRoom): Promise<Executable> {
  return engine.compile(chunkGraph(config, n, room), { donate: donatedStates(config, room) });
}

/** Every state gives its memory to the one after the chunk. */
export function donatedStates(config: ModelConfig, room: StateRoom): Record<string, string> {
  return Object.fromEntries(stateSpecs(config, room).map(({ name }) => [name, NEXT + name]));
}

/** The graph that reads n tokens of each sequence. */
export function chunkGraph(model: ModelConfig, n: number, room: StateRoom): Graph {
  const { batchSize } = room;
  const params = parameterInputs(model);
  const before = stateInputs(model, room);
  const tokens = input('tokens', 'i32', [batchSize, n]);
  const place = { start: input('start', 'i32', []), padding: input('padding', 'i32', [batchSize]) };
  const { stream, state } = forwardChunk(model, params, { tokens, ...place }, before, room);
  const last: Value = reshape(sliceAxis(stream, 1, n - 1, n), [batchSize, model.hiddenSize]);
  const logits = headLogits(model, params, last);
  const after = Object.fromEntries([...state].map(([name, value]) => [NEXT + name, value]));
  return makeGraph(
    { ...Object.fromEntries(params), ...Object.fromEntries(before), tokens, ...place },
    { logits, best: reshape(argmax(logits, 1), [batchSize, 1]), ...after },
  );
}
