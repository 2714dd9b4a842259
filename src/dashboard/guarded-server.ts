/** A server for pages of one machine: guarded, with a token beyond this machine, at the first port that is free. */
import { serve, type ServerType } from '@hono/node-server';
import { Hono, type Context } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import { ConfigError, errorCode } from '../core/index.js';
import { Guard, isLocalHost, newToken } from './guard.js';

const FIRST_PORT = 8642;
/** Ports that are tried in turn where none is asked for. */
const PORTS_TRIED = 20;
const COOKIE = 'longsight-token';

/** A server whose answers a `Guard` decides over. */
export class GuardedServer {
  /** Where answers are registered, before the server listens. */
  readonly app = new Hono();
  readonly #host: string;
  readonly #token: string | null;
  /** Knows the port, which is only known once the server listens; nothing is answered before. */
  #guard: Guard | null = null;
  #server: ServerType | null = null;

  /**
   * Makes the server; it does not listen yet.
   *
   * @param host the address to listen at; any but this machine gets a token in the URL
   * @param headers of every answer
   */
  constructor(host: string, headers: Readonly<Record<string, string>>) {
    this.#host = host;
    const token = isLocalHost(host) ? null : newToken();
    this.#token = token;
    this.app.use('*', async (c: Context, next) => {
      for (const [name, value] of Object.entries(headers)) c.header(name, value);
      const given = c.req.query('token');
      const refusal = this.#guard?.refusal({
        ...{ method: c.req.method, host: c.req.header('host'), origin: c.req.header('origin') },
        token: given ?? getCookie(c, COOKIE),
      });
      if (this.#guard === null) return c.text('Not ready.', 503);
      if (refusal != null) return c.text(`Refused: ${refusal}.`, 403);
      if (token !== null && given !== undefined)
        setCookie(c, COOKIE, token, { httpOnly: true, sameSite: 'Strict', path: '/' });
      await next();
    });
  }

  /**
   * Listens, and gives the address for a browser, with the token where one is needed.
   *
   * @param asked the port; null for the first that is free from 8642 on
   * @throws ConfigError where the address or port cannot be used
   */
  async listen(asked: number | null): Promise<string> {
    const { server, port } = await listen(this.app, this.#host, asked);
    this.#server = server;
    this.#guard = new Guard(this.#host, port, this.#token);
    const host = this.#host;
    const shown = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host;
    return `http://${shown}:${port}/${this.#token === null ? '' : `?token=${this.#token}`}`;
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    if ('closeAllConnections' in server) server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
}

async function listen(
  app: Hono,
  host: string,
  asked: number | null,
): Promise<{ readonly server: ServerType; readonly port: number }> {
  const tried = asked === null ? Array.from({ length: PORTS_TRIED }, (_, i) => FIRST_PORT + i) : [asked];
  for (const [i, one] of tried.entries()) {
    try {
      return await listenAt(app, host, one);
    } catch (error) {
      const code = errorCode(error);
      if (code === 'EADDRINUSE' && i + 1 < tried.length) continue;
      const why =
        code === 'EADDRINUSE'
          ? 'the port is in use; choose another (--port)'
          : code === 'EACCES'
            ? 'the port is not allowed; choose one above 1023 (--port)'
            : 'this machine has no such address; choose another (--host)';
      throw new ConfigError(`cannot listen at ${host}, port ${one}: ${why}`, { cause: error });
    }
  }
  throw new ConfigError(`cannot listen at ${host}`);
}

function listenAt(
  app: Hono,
  host: string,
  port: number,
): Promise<{ readonly server: ServerType; readonly port: number }> {
  return new Promise((done, failed) => {
    const server = serve({ fetch: app.fetch, hostname: host, port }, (info) => done({ server, port: info.port }));
    server.once('error', failed);
  });
}
