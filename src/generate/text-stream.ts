/** Text of tokens that arrive one by one. */

/** Stands for bytes that are no whole character yet. */
const REPLACEMENT = '\uFFFD';

/**
 * Hands out text as soon as it is certain. Tokens may hold parts of characters and decode differently next to others,
 * so the last few are decoded together and text goes out only when it does not end in an unfinished character.
 */
export class TextDecoderStream {
  readonly #decode: (ids: ArrayLike<number>) => string;
  readonly #ids: number[] = [];
  /** Tokens before `#from` are done with; those before `#shown` have been handed out and give context to the next. */
  #from = 0;
  #shown = 0;

  constructor(decode: (ids: ArrayLike<number>) => string) {
    this.#decode = decode;
  }

  /** The text that a new token makes certain; often that token's, empty if none. */
  push(id: number): string {
    this.#ids.push(id);
    const [before, all] = this.#texts();
    if (all.endsWith(REPLACEMENT) || all.length <= before.length) return '';
    this.#from = this.#shown;
    this.#shown = this.#ids.length;
    return all.slice(before.length);
  }

  /** What is left at the end, unfinished characters included. */
  end(): string {
    const [before, all] = this.#texts();
    this.#from = this.#shown = this.#ids.length;
    return all.slice(before.length);
  }

  #texts(): [before: string, all: string] {
    return [this.#decode(this.#ids.slice(this.#from, this.#shown)), this.#decode(this.#ids.slice(this.#from))];
  }
}
