/** Ports that tests hand to processes which serve there. */
import { createServer } from 'node:net';

/** Below the ports that systems hand out by themselves (from 32,768 on Linux, from 49,152 elsewhere). */
const [FROM, TO] = [10_240, 32_000];

/**
 * A port of this host that nobody serves at, and that no other program is given by chance before it is served at. Such a
 * port is not what a server gets that asks for any: any connection of another test may be given that one a moment later.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FROM + Math.floor(Math.random() * (TO - FROM));
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((done) => server.close(done));
    return port;
  }
}
