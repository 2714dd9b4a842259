/** The standard streams of the process: what they do not take is said, and never thrown from nowhere. */
import { fstatSync, writeSync } from 'node:fs';
import type { Streams } from './output.js';

/**
 * Standard output and standard error. What goes to a file is written whole: Node's own streams drop the end of a text
 * that a nearly full disk takes in part.
 *
 * @param failed told once which of them takes no more, and why; a reader that goes away (`| head`) is no failure
 */
export function standardStreams(failed: (name: string, cause: unknown) => void): Streams {
  let said = false;
  const fail = (name: string, cause: unknown): void => {
    if ((cause as NodeJS.ErrnoException).code === 'EPIPE' || said) return;
    said = true;
    failed(name, cause);
  };
  const open = (stream: NodeJS.WriteStream & { readonly fd: number }, name: string): Streams['stdout'] => {
    stream.on('error', (cause) => fail(name, cause));
    if (!isFile(stream.fd)) return stream;
    return {
      write: (text) => {
        const bytes = Buffer.from(text);
        try {
          for (let at = 0; at < bytes.length;) at += writeSync(stream.fd, bytes, at);
        } catch (cause) {
          fail(name, cause);
        }
      },
    };
  };
  return { stdout: open(process.stdout, 'standard output'), stderr: open(process.stderr, 'standard error') };
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false; // closed
  }
}
