/**
 * Requests to `https://` addresses, checked: redirects to such addresses only, sizes and ranges as they were asked for,
 * time limits, and a signal that ends them.
 */
import { DataError, InterruptedError, messageOf } from '../../core/index.js';

/** How long a server may keep silent, in milliseconds. */
interface Patience {
  /** Milliseconds to the beginning of an answer. */
  readonly answerMs: number;
  /** Milliseconds between two pieces of it. */
  readonly pieceMs: number;
}

/** What a request may be given. */
export interface RequestOptions {
  /** Ends the request when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** How requests are made (default: Node's own). */
  readonly fetch?: typeof fetch | undefined;
  /** How long the server may keep silent (default: half a minute to the answer, a minute between pieces). */
  readonly patience?: Patience | undefined;
}

/** The patience that servers get unless another is given. */
const PATIENCE: Patience = { answerMs: 30_000, pieceMs: 60_000 };
const MAX_REDIRECTS = 5;

/** What ends a request: the user's signal, or a server that keeps silent. */
class Watch implements Disposable {
  readonly #silent = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  readonly signal: AbortSignal;

  constructor(
    private readonly url: string,
    private readonly user: AbortSignal | undefined,
  ) {
    this.signal = user === undefined ? this.#silent.signal : AbortSignal.any([user, this.#silent.signal]);
  }

  /** From now on something must arrive within this time. */
  expect(ms: number, what: string): void {
    clearTimeout(this.#timer);
    const message = `cannot load ${this.url}: ${what} within ${ms / 1000} seconds; start the command again`;
    this.#timer = setTimeout(() => this.#silent.abort(new DataError(message, { details: { url: this.url } })), ms);
  }

  /** An error as it is shown: a stop and a server's silence as that. */
  explain(cause: unknown): DataError | InterruptedError {
    if (this.user?.aborted === true) return new InterruptedError(`loading ${this.url} was stopped`, { cause });
    const silent: unknown = this.#silent.signal.reason;
    return silent instanceof DataError ? silent : unreachable(this.url, cause);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** An answer whose body has not been read yet. */
export interface Answer {
  /** The HTTP status code, from 100 to 599. */
  readonly status: number;
  readonly statusText: string;
  readonly headers: Headers;
  /** The pieces of the body; throws `DataError` where they stop coming, `InterruptedError` at the signal. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * Asks an `https://` address and gives the answer to `use`; what of it has not arrived by then is not loaded.
 *
 * @param range the first byte and the last one, which may be left out; null for the whole file
 * @throws DataError if an address on the way is not `https://`, cannot be reached, or keeps silent
 * @throws InterruptedError if the signal aborts
 */
export async function request<T>(
  url: string,
  range: readonly [number, number?] | null,
  options: RequestOptions,
  use: (answer: Answer) => Promise<T>,
): Promise<T> {
  const { answerMs, pieceMs } = options.patience ?? PATIENCE;
  using watch = new Watch(url, options.signal);
  watch.expect(answerMs, 'there was no answer');
  const response = await follow(url, range, watch, options.fetch ?? globalThis.fetch);
  watch.expect(pieceMs, 'nothing more arrived');
  try {
    return await use({
      ...{ status: response.status, statusText: response.statusText, headers: response.headers },
      body: piecesOf(response, () => watch.expect(pieceMs, 'nothing more arrived'), watch),
    });
  } finally {
    await giveUp(response);
  }
}

/** Asks, and follows redirects to https:// addresses. */
async function follow(
  url: string,
  range: readonly [number, number?] | null,
  watch: Watch,
  fetch: typeof globalThis.fetch,
): Promise<Response> {
  // As the bytes are: sizes and ranges of compressed answers would be those of something else.
  const headers: Record<string, string> = { 'accept-encoding': 'identity' };
  if (range !== null) headers['range'] = `bytes=${range[0]}-${range[1] ?? ''}`;
  let at = url;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    if (!at.startsWith('https://')) throw new DataError(`${at} is no https:// address, so nothing is loaded from it`);
    let response: Response;
    try {
      response = await fetch(at, { headers, redirect: 'manual', signal: watch.signal });
    } catch (cause) {
      throw watch.explain(cause);
    }
    const location = response.headers.get('location');
    if (response.status < 300 || response.status >= 400 || location === null) return response;
    await giveUp(response);
    if (!URL.canParse(location, at)) throw new DataError(`${at} leads to an address that is none`);
    at = new URL(location, at).href;
  }
  throw new DataError(`${url} leads from address to address more than ${MAX_REDIRECTS} times`);
}

/** Lets go of what an answer has not sent yet. */
async function giveUp({ body }: Response): Promise<void> {
  if (body?.locked === false) await body.cancel().catch(() => undefined);
}

async function* piecesOf(response: Response, arrived: () => void, watch: Watch): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of response.body ?? []) {
      arrived();
      yield piece;
    }
  } catch (cause) {
    throw watch.explain(cause);
  }
}

function unreachable(url: string, cause: unknown): DataError {
  const inner = cause instanceof Error ? cause.cause : undefined;
  const code = typeof inner === 'object' && inner !== null && 'code' in inner ? String(inner.code) : undefined;
  const why = code ?? messageOf(inner instanceof Error ? inner : cause);
  return new DataError(`cannot load ${url}: ${why}`, { details: { url, code: code ?? null }, cause });
}

/** Throws `DataError` for an answer with compressed bytes, whose sizes say nothing. */
export function checkPlain(url: string, { headers }: Answer): void {
  const encoding = headers.get('content-encoding') ?? 'identity';
  if (encoding === 'identity') return;
  throw new DataError(`${url} answers with other bytes than were asked for: compressed ones (${encoding})`);
}

/**
 * Checks that an answer (206) holds exactly these bytes of a file.
 *
 * @param total the size of the file in bytes; null where it is not known yet
 * @returns the size of the file that the answer says; null where it says none
 * @throws DataError naming what was asked for and what the answer says
 */
export function checkRange(
  url: string,
  answer: Answer,
  [first, last]: readonly [number, number],
  total: number | null,
): number | null {
  checkPlain(url, answer);
  const said = answer.headers.get('content-range') ?? 'nothing';
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(said);
  const length = answer.headers.get('content-length');
  const size = match === null || match[3] === '*' ? null : Number(match[3]);
  const right =
    Number(match?.[1]) === first &&
    Number(match?.[2]) === last &&
    (size === null || total === null || size === total) &&
    (length === null || Number(length) === last - first + 1);
  if (right) return size;
  throw new DataError(
    `${url} answers with other bytes than were asked for: bytes ${first}-${last}/${total ?? '*'} were, it says ${said}`,
  );
}

/** A file at an `https://` address of which ranges of bytes are read. */
export interface RangeFile {
  /** The size of the file in bytes. */
  readonly byteLength: number;
  /**
   * The bytes from `start` to before `end` (default: the end of the file).
   *
   * @throws DataError if the server answers with other bytes than these
   */
  slice(start: number, end?: number): Promise<ArrayBuffer>;
}

/**
 * Opens a file whose server answers requests for ranges.
 *
 * @throws DataError if it does not, or its address is not `https://` or cannot be reached
 * @throws InterruptedError if the signal aborts
 */
export async function openRanges(url: string, options: RequestOptions = {}): Promise<RangeFile> {
  const { byteLength, version } = await request(url, [0, 0], options, async (answer) => {
    if (answer.status === 200) {
      throw new DataError(`the server of ${url} gives whole files only; download the file and name that`);
    }
    if (answer.status !== 206) throw new DataError(`${url} answers ${answer.status} ${answer.statusText}`.trimEnd());
    const size = checkRange(url, answer, [0, 0], null);
    if (size !== null) return { byteLength: size, version: answer.headers.get('etag') };
    throw new DataError(`${url} does not say how large it is; download the file and name that`);
  });
  const slice = async (start: number, end = byteLength): Promise<ArrayBuffer> => {
    if (!(start >= 0 && start <= end && end <= byteLength)) {
      throw new DataError(
        `${url} has ${byteLength} bytes, and those from ${start} to ${end} are asked for; it is damaged`,
      );
    }
    if (start === end) return new ArrayBuffer(0);
    return request(url, [start, end - 1], options, async (answer) => {
      if (answer.status !== 206) throw new DataError(`${url} answers ${answer.status} ${answer.statusText}`.trimEnd());
      checkRange(url, answer, [start, end - 1], byteLength);
      if (answer.headers.get('etag') !== version) throw new DataError(`${url} has changed while it was read`);
      return whole(url, answer, end - start);
    });
  };
  return { byteLength, slice };
}

/** The body of an answer, of exactly so many bytes. */
async function whole(url: string, { body }: Answer, bytes: number): Promise<ArrayBuffer> {
  const all = new Uint8Array(bytes);
  let done = 0;
  for await (const piece of body) {
    if (done + piece.length > bytes)
      throw new DataError(`${url} sends more than the ${bytes} bytes that were asked for`);
    all.set(piece, done);
    done += piece.length;
  }
  if (done < bytes) throw new DataError(`${url} ended after ${done} of the ${bytes} bytes that were asked for`);
  return all.buffer;
}
