/** What takes the processor for long at a start gives way to the first curves of a page that is being opened. */

/** Milliseconds that a page has to load its program, and then to ask for curves. */
const [LOAD_MS, ASK_MS] = [1000, 250];

/** Lets other work wait while a page that was sent has no curves yet; not for long, as it may show none. */
export class PageWait {
  #timer: NodeJS.Timeout | null = null;
  #over: Promise<void> = Promise.resolve();
  #end: () => void = () => undefined;

  /** A page was sent, whose program comes next, or asks for its first curve. */
  sent(): void {
    if (this.#timer === null) this.#over = new Promise((done) => (this.#end = done));
    this.#wait(LOAD_MS);
  }

  /** The program of a page runs: if it shows curves it asks for them now. */
  runs(): void {
    if (this.#timer !== null) this.#wait(ASK_MS);
  }

  /** A page has curves, or nothing is to wait any more. */
  done(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#end();
  }

  /** Resolves when no page is waited for. */
  get over(): Promise<void> {
    return this.#over;
  }

  #wait(ms: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.done(), ms);
  }
}
