/**
 * What a command prints. Results go to standard output, progress and remarks to standard error; `--json` turns results
 * and events into one JSON object a line, `--quiet` leaves errors only.
 */
import { oneLine, printable } from '../../core/index.js';

export { textTable } from '../../core/index.js';

/** The part of a stream that is used. */
interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** The width of the terminal in characters; undefined for files. */
  readonly columns?: number;
}

/** The two streams that a command writes to. */
export interface Streams {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
}

/** How a command prints. */
export interface OutputOptions {
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
}

/** Prints results and events: for people, as one JSON object a line, or errors only. */
export class Output {
  readonly mode: 'human' | 'json' | 'quiet';
  readonly #streams: Streams;
  readonly #warned = new Set<string>();

  constructor(streams: Streams, { json, quiet }: OutputOptions) {
    this.mode = json === true ? 'json' : quiet === true ? 'quiet' : 'human';
    this.#streams = streams;
  }

  /** Whether a person watches: progress bars are drawn. */
  get isTerminal(): boolean {
    return this.mode === 'human' && this.#streams.stderr.isTTY === true;
  }

  /** A result: `text` for people, `value` for programs. */
  result(text: string, value: object): void {
    if (this.mode === 'human') this.#streams.stdout.write(`${text}\n`);
    if (this.mode === 'json') this.#streams.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** A remark or a line of progress, for people only. */
  note(text: string): void {
    if (this.mode === 'human') this.#streams.stderr.write(`${printable(text, '\n')}\n`);
  }

  /**
   * What may make a result mean something else than it seems: a sentence on standard error, once, unless errors only
   * are wanted.
   */
  warn(text: string): void {
    if (this.mode === 'quiet' || this.#warned.has(text)) return;
    this.#warned.add(text);
    this.#streams.stderr.write(`longsight: warning: ${oneLine(text)}\n`);
  }

  /** Something that happened, for programs only. */
  event(value: object): void {
    if (this.mode === 'json') this.#streams.stdout.write(`${JSON.stringify(value)}\n`);
  }
}
