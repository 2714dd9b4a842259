/** C sources of the Linux kernel: long files in which names come back far away. */
import type { CorpusDefinition } from './definition.js';

const VERSION = '6.12.117-1~deb12u1';
const FILE = `linux-source-6.12_${VERSION}_all.deb`;
const SNAPSHOT = 'https://snapshot.debian.org/archive/debian-security/20261128T000000Z';
const LEAST_BYTES = 10_000;
const MOST_BYTES = 200_000;

/**
 * `.c` files of 10 to 200 kB of Linux 6.12, as Debian's package `linux-source-6.12` has them: 16,366 files, 540 MB, of
 * which 300 MB are taken.
 */
export const linux: CorpusDefinition = {
  name: 'linux-6.12',
  description: 'C sources of the Linux kernel 6.12, files of 10 to 200 kB',
  license: 'GPL-2.0-only and compatible ones; each file names its own',
  archive: {
    urls: [`${SNAPSHOT}/pool/updates/main/l/linux-6.12/${FILE}`],
    file: FILE,
    bytes: 153_476_148,
    sha256: 'e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703',
    elsewhere:
      `with "apt-get download linux-source-6.12=${VERSION}" on Debian 12, or take any other version of that package or a ` +
      'tarball of Linux 6.12 (.tar.xz) and take any version (--any-version)',
  },
  isDocument: (path, size) => path.endsWith('.c') && size >= LEAST_BYTES && size <= MOST_BYTES,
  textOf: (bytes) => decode(bytes),
  bytes: 300_000_000,
  seed: 1,
  vocabSize: 8192,
};

/** UTF-8; the few old files that are none are Latin-1. */
function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Buffer.from(bytes).toString('latin1');
  }
}
