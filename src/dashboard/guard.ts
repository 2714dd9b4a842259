/** What requests may do: who may ask from where, and what a page may load. */
import { randomBytes, timingSafeEqual } from 'node:crypto';

/** The addresses of this machine alone. */
const LOCAL_HOSTS: readonly string[] = ['127.0.0.1', 'localhost', '::1', '[::1]'];

/** Headers of every answer. Styles of single elements are those of figures; scripts and style sheets are files. */
export const HEADERS: Readonly<Record<string, string>> = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; " +
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};

/**
 * What the playground's page may load: its own files alone, WebAssembly and workers among them. In an answer it also
 * says who may frame the page, which a page cannot say of itself.
 */
export const PLAYGROUND_POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; " +
  "style-src-attr 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'";

/** Headers of every answer of the playground: isolated from other origins, so that WebAssembly may have threads. */
export const PLAYGROUND_HEADERS: Readonly<Record<string, string>> = {
  ...HEADERS,
  'Content-Security-Policy': `${PLAYGROUND_POLICY}; frame-ancestors 'none'`,
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/** Whether an address to listen at is reached from this machine only. */
export const isLocalHost = (host: string): boolean => LOCAL_HOSTS.includes(host);

/** A new token for the URL. */
export const newToken = (): string => randomBytes(24).toString('base64url');

/** The parts of a request that decide. */
export interface Asked {
  readonly method: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** The token of the URL or of the cookie. */
  readonly token: string | undefined;
}

/** Decides over requests. */
export class Guard {
  readonly #hosts: ReadonlySet<string> | null;
  readonly #token: string | null;

  /**
   * Decides for one server.
   *
   * @param host the address that the server listens at
   * @param port its port
   * @param token what every request must bring; null for a server of this machine alone
   */
  constructor(host: string, port: number, token: string | null) {
    this.#hosts = isLocalHost(host) ? new Set(LOCAL_HOSTS.map((name) => `${bracketed(name)}:${port}`)) : null;
    this.#token = token;
  }

  /** Why a request is refused; null for one that is not. */
  refusal({ method, host, origin, token }: Asked): string | null {
    if (host === undefined) return 'the request names no host';
    // A name that someone else made lead to this machine (DNS rebinding) is not its own.
    if (this.#hosts !== null && !this.#hosts.has(host)) return 'this host is not the dashboard';
    if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`)
      return 'pages of other origins may not ask';
    if (origin === undefined && method !== 'GET' && method !== 'HEAD') return 'the request names no origin';
    if (this.#token !== null && !isEqual(this.#token, token ?? '')) return 'the token is missing or wrong';
    return null;
  }
}

const bracketed = (name: string): string => (name.includes(':') && !name.startsWith('[') ? `[${name}]` : name);

function isEqual(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}
