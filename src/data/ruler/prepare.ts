/** Samples of a task at a length: as much haystack as fits a budget of tokens, the answer's included. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TextTokenizer } from '../../checkpoint/index.js';
import { present, AtomicFile, DataError, fingerprint, fingerprintFile, Rng } from '../../core/index.js';
import { openCorpus } from '../named.js';
import { openSources, type SourceOptions } from './sources.js';
import { rulerTask, type RulerTaskName } from './tasks.js';
import type { Draft, RulerGenerator, RulerSources } from './types.js';

/** A row of a file of samples, in RULER's field names. */
export interface RulerRow {
  /** The sample's number, from 0. */
  readonly index: number;
  readonly input: string;
  readonly answer_prefix: string;
  readonly outputs: readonly string[];
  /** Tokens of `input + answer_prefix` and of the answer that is reserved; at most the budget. */
  readonly length: number;
  /** Tokens of `input + answer_prefix` with what the tokenizer puts around a text, and the answer. */
  readonly length_w_model_temp: number;
  /** Token of the input at which what holds the (first) answer begins; null where it has no one place. */
  readonly token_position_answer: number | null;
}

/** Which samples to make: a task, a length and a number. */
export interface RulerSpec {
  readonly task: RulerTaskName;
  /** Tokens of a prompt and its answer together. */
  readonly length: number;
  /** The number of samples. */
  readonly samples: number;
}

/** Changes whenever the same settings would give other samples. */
const VERSION = 2;

/** A sample is full with less than this share of the room left; else more units are tried, so often. */
const FULL = 0.02;
const MAX_TRIES = 8;

interface Fitted {
  readonly draft: Draft;
  readonly tokens: number;
}

/** Makes samples one by one; every sample has its own random stream, so any can be made alone. */
export class RulerMaker {
  readonly #generator: RulerGenerator;
  readonly #tokenizer: TextTokenizer;
  readonly #spec: RulerSpec;
  readonly #seed: number;
  readonly #answerTokens: number;
  readonly #size: number;
  /** Tokens of the smallest sample, and of one unit, about. */
  readonly #least: number;
  readonly #perUnit: number;

  /**
   * Prepares to make samples of one task and length.
   *
   * @throws DataError if not even the smallest sample fits, naming the length that it needs
   */
  constructor(spec: RulerSpec, tokenizer: TextTokenizer, sources: RulerSources) {
    const task = rulerTask(spec.task);
    this.#spec = spec;
    this.#tokenizer = tokenizer;
    this.#seed = sources.seed;
    this.#answerTokens = task.answerTokens;
    this.#generator = task.generator(spec.length, sources);
    const { minSize } = this.#generator;
    const least = this.#draw(0, minSize, 'probe').tokens;
    this.#least = least;
    const next = this.#draw(0, 2 * minSize, 'probe').tokens;
    this.#perUnit = Math.max((next - least) / minSize, 0.25);
    this.#checkLeast(least);
    this.#size = this.#largest(least);
  }

  /** Makes sample `index`. */
  row(index: number): RulerRow {
    const { draft, tokens } = this.#fit(index);
    const { input, answerPrefix, outputs, answerAt } = draft;
    const special = this.#tokenizer.encode('', { special: true }).length;
    return {
      index,
      input,
      answer_prefix: answerPrefix,
      outputs,
      length: tokens + this.#answerTokens,
      length_w_model_temp: tokens + special + this.#answerTokens,
      token_position_answer: answerAt === null ? null : this.#tokenizer.encode(input.slice(0, answerAt)).length,
    };
  }

  get #room(): number {
    return this.#spec.length - this.#answerTokens;
  }

  #draw(index: number, size: number, label: 'probe' | 'sample'): Fitted {
    const { task, length } = this.#spec;
    const rng = Rng.of(this.#seed, 'ruler', label, task, length, index);
    const draft = this.#generator.draw(rng, Math.min(size, this.#generator.maxSize), index);
    return { draft, tokens: this.#tokenizer.encode(draft.input + draft.answerPrefix).length };
  }

  #checkLeast(tokens: number): void {
    if (tokens <= this.#room) return;
    const { task, length } = this.#spec;
    const needed = tokens + this.#answerTokens;
    throw new DataError(
      `${task} does not fit ${length} tokens with this tokenizer: its smallest sample takes about ${needed}, ` +
        `${this.#answerTokens} of them for the answer; choose a length of at least ${Math.ceil(needed * 1.05)}`,
      { details: { task, length, needed } },
    );
  }

  /**
   * The largest size whose probe fits: three steps by the rate of tokens, which is all but linear, instead of a
   * bisection.
   */
  #largest(least: number): number {
    const { minSize, maxSize } = this.#generator;
    let size = minSize;
    let tokens = least;
    for (let i = 0; i < 3; i++) {
      size = Math.max(minSize, Math.min(maxSize, size + Math.floor((this.#room - tokens) / this.#perUnit)));
      tokens = this.#draw(0, size, 'probe').tokens;
    }
    return size;
  }

  /** Finds how many units fit: from the common size up or down by this sample's own rate of tokens. */
  #fit(index: number): Fitted {
    const { minSize, maxSize } = this.#generator;
    let best: (Fitted & { readonly size: number }) | null = null;
    let size = this.#size;
    for (let tries = 1; ; tries++) {
      const drawn = this.#draw(index, size, 'sample');
      const left = this.#room - drawn.tokens;
      const rate = size > minSize ? Math.max((drawn.tokens - this.#least) / (size - minSize), 0.25) : this.#perUnit;
      if (left < 0 && size <= minSize) this.#checkLeast(drawn.tokens);
      if (left >= 0) best = { ...drawn, size };
      const step = left >= 0 ? Math.floor(left / rate) : -Math.max(1, Math.ceil(-left / rate));
      const next = Math.max(minSize, Math.min(maxSize, size + step));
      // Up a few times only; down until it fits.
      const settled = best !== null && (tries >= MAX_TRIES || left < FULL * this.#room || next <= best.size);
      if (settled) return present(best);
      size = next;
    }
  }
}

/** What RULER samples are made with: a tokenizer, texts, a seed, and the folder that keeps the files. */
export interface RulerOptions extends SourceOptions {
  readonly tokenizer: TextTokenizer;
  /** The folder of sample files; a file that is there already is not made again. */
  readonly folder: string;
  readonly onSample?: (done: number) => void;
}

/** The file of a task's samples: its name tells task, length and number; its folder everything else that matters. */
export function samplesPath({ task, length, samples }: RulerSpec, options: RulerOptions): string {
  const { tokenizer, seed, corpus = 'moby-dick' } = options;
  const file = task === 'qa_1' ? options.squad : task === 'qa_2' ? options.hotpot : undefined;
  const content = file === undefined ? null : fingerprintFile(file);
  const folder = fingerprint([VERSION, tokenizer.fingerprint, seed, corpus, corpusPrint(corpus), content]).slice(0, 16);
  return join(options.folder, folder, `${task}-${length}-${samples}.jsonl`);
}

/** A corpus by its content; null where it is not there, for tasks that read none. */
function corpusPrint(name: string): string | null {
  try {
    return fingerprint(openCorpus(name).files.map(fingerprintFile));
  } catch (error) {
    if (error instanceof DataError) return null;
    throw error;
  }
}

/** The file of samples that `prepareRuler` made or found. */
export interface PreparedFile {
  readonly path: string;
  /** Whether the file was there before the call. */
  readonly cached: boolean;
}

/**
 * Writes the samples of a task, unless they are there already: the same settings and tokenizer give the same file, byte
 * for byte. Nothing is downloaded.
 *
 * @throws DataError if the length is too short for the task
 */
export function prepareRuler(spec: RulerSpec, options: RulerOptions, sources?: RulerSources): PreparedFile {
  const path = samplesPath(spec, options);
  if (existsSync(path)) return { path, cached: true };
  const maker = new RulerMaker(spec, options.tokenizer, sources ?? openSources(options));
  using file = new AtomicFile(path);
  for (let i = 0; i < spec.samples; i++) {
    file.write(`${JSON.stringify(maker.row(i))}\n`);
    options.onSample?.(i + 1);
  }
  file.commit();
  return { path, cached: false };
}
