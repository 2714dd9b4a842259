/** Internet standards (RFC): long documents of English prose in which terms, names and numbers come back far away. */
import { at } from '../../core/index.js';
import { gunzipSync } from 'node:zlib';
import type { CorpusDefinition } from './definition.js';

const VERSION = '20230121-1';
const FILE = `doc-rfc-std-proposed_${VERSION}_all.deb`;
const SNAPSHOT = 'https://snapshot.debian.org/archive/debian/20230301T000000Z';
const LEAST_CHARACTERS = 5_000;

/** The proposed standards among the RFCs, as Debian's package `doc-rfc-std-proposed` has them, without page breaks. */
export const rfc: CorpusDefinition = {
  name: 'rfc',
  description: 'English: Internet standards (RFC), of 5,000 characters or more, page breaks taken out',
  license: 'IETF Trust: may be copied and given on unchanged; no public domain',
  archive: {
    urls: [`${SNAPSHOT}/pool/non-free/d/doc-rfc/${FILE}`],
    file: FILE,
    bytes: 195_360_980,
    sha256: 'b34f60b4bee98891524a2c2508f3d4dcb1e1468a2bd26e0a5f5aecf95806eea0',
    elsewhere: `with "apt-get download doc-rfc-std-proposed=${VERSION}" on Debian 12 with its section non-free`,
  },
  isDocument: (path) => /\/rfc\d+\.txt(\.gz)?$/.test(path),
  textOf: (bytes, path) => {
    const plain = path.endsWith('.gz') ? gunzipSync(bytes) : bytes;
    const text = withoutPages(new TextDecoder().decode(plain));
    return text.length < LEAST_CHARACTERS ? null : text;
  },
  bytes: null,
  seed: 1,
  vocabSize: 8192,
};

const FOOTER = /\[page \w+\]\s*$/i;
const HEADER = /^\s*(RFC|Request for Comments)\b.*\d{4}\s*$/i;

/**
 * The text of an RFC without its pages: form feeds, the footer above each and the header below go, a paragraph that
 * they cut in two is one again, and runs of blank lines become one.
 */
export function withoutPages(text: string): string {
  const pages = text.replaceAll('\r\n', '\n').split('\f').map(pageLines);
  const joined = pages.filter((lines) => lines.length > 0).reduce<string>(joinPage, '');
  return `${joined.replace(/\n{3,}/g, '\n\n').trim()}\n`;
}

/** The lines of a page between its header and its footer. */
function pageLines(page: string, index: number): string[] {
  const lines = page.split('\n').map((line) => line.trimEnd());
  const first = () => lines.findIndex((line) => line !== '');
  const last = () => lines.findLastIndex((line) => line !== '');
  if (last() >= 0 && FOOTER.test(at(lines, last()))) lines.splice(last());
  if (index > 0 && first() >= 0 && HEADER.test(at(lines, first()))) lines.splice(0, first() + 1);
  return first() < 0 ? [] : lines.slice(first(), last() + 1);
}

/** A sentence that goes on below the break stays one paragraph. */
function joinPage(before: string, lines: readonly string[]): string {
  const goesOn = /[a-z,;-]$/.test(before) && /^\s*[a-z(]/.test(lines[0] ?? '');
  return `${before}${before === '' ? '' : goesOn ? '\n' : '\n\n'}${lines.join('\n')}`;
}
