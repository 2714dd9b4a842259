/** The playground: its page from a local server, or as files for any web server. */
import { readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { ConfigError, makeFolder, namesIn, writeFileAtomic } from '../core/index.js';
import { PLAYGROUND_HEADERS, PLAYGROUND_POLICY } from './guard.js';
import { GuardedServer } from './guarded-server.js';
import { builtPath } from './page.js';

/** The types of the files beside the page, by how their names end. */
const TYPES = new Map([
  ['.js', 'text/javascript; charset=utf-8'],
  ['.mjs', 'text/javascript; charset=utf-8'],
  ['.css', 'text/css; charset=utf-8'],
  ['.wasm', 'application/wasm'],
]);

/** A file beside the page. */
interface PageFile {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Every file of the page but the page itself, as the build left them. */
function readFiles(): PageFile[] {
  const folder = builtPath('playground');
  return namesIn(folder)
    .filter((name) => TYPES.has(extname(name)))
    .map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
}

const PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${PLAYGROUND_POLICY}">
<title>Longsight playground</title><link rel="icon" href="data:,"><link rel="stylesheet" href="style.css">
<script type="module" src="playground.js"></script></head>
<body><div id="app"></div><noscript>The playground needs JavaScript.</noscript></body></html>
`;

/** A playground that is being served. */
export interface ServedPlayground {
  /** The address for a browser, with the token where one is needed. */
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Serves the playground.
 *
 * @param host the address to listen at
 * @param port the port; null for the first that is free from 8642 on
 * @throws StoreError where the page is not built
 * @throws ConfigError where the address or port cannot be used
 */
export async function servePlayground(host: string, port: number | null): Promise<ServedPlayground> {
  const files = readFiles();
  const server = new GuardedServer(host, PLAYGROUND_HEADERS);
  server.app.get('/', (c) => c.html(PAGE));
  for (const { name, bytes } of files) {
    const type = TYPES.get(extname(name)) ?? 'application/octet-stream';
    server.app.get(`/${name}`, (c) => c.body(new Uint8Array(bytes), 200, { 'Content-Type': type }));
  }
  const url = await server.listen(port);
  return { url, close: () => server.close() };
}

/** What was written. */
export interface WrittenPlayground {
  /** The page. */
  readonly index: string;
  /** Bytes of all files. */
  readonly bytes: number;
}

/**
 * Writes the playground as files, the page last.
 *
 * @param out a folder that is missing or empty, or holds a playground, which is written over
 * @throws ConfigError where `out` holds other things
 * @throws StoreError where the page is not built, or the disk does not take the files
 */
export function writePlayground(out: string): WrittenPlayground {
  const files = readFiles();
  const known = new Set<string>(['index.html', ...files.map(({ name }) => name)]);
  const other = namesIn(out).find((name) => !known.has(name));
  if (other !== undefined)
    throw new ConfigError(`${out} holds other things (${other}); choose another folder (--site)`, {
      details: { out },
    });
  makeFolder(out);
  for (const { name, bytes } of files) writeFileAtomic(join(out, name), bytes);
  writeFileAtomic(join(out, 'index.html'), PAGE);
  const bytes = files.reduce((sum, file) => sum + file.bytes.length, Buffer.byteLength(PAGE));
  return { index: join(out, 'index.html'), bytes };
}
