/** What a corpus that is fetched is: one archive, and which of its files are documents. */

/** The one archive that a corpus is made of, pinned to its bytes. */
export interface CorpusArchive {
  /** `https://` addresses that hold the same bytes, in the order in which they are tried. */
  readonly urls: readonly string[];
  /** Its file name: a Debian package (`.deb`), `.tar`, `.tar.gz` or `.tar.xz`. */
  readonly file: string;
  readonly bytes: number;
  /** SHA-256 of its bytes, 64 hexadecimal digits. */
  readonly sha256: string;
  /** How to get the file by other means; the end of a sentence that begins with "get it". */
  readonly elsewhere: string;
}

/** A corpus that `longsight data fetch` makes. */
export interface CorpusDefinition {
  readonly name: string;
  /** What the documents are. */
  readonly description: string;
  readonly license: string;
  readonly archive: CorpusArchive;
  /**
   * Whether a file of the archive is a document.
   *
   * @param path its path in the archive, folders included
   * @param size its bytes in the archive
   */
  readonly isDocument: (path: string, size: number) => boolean;
  /** The text of a document's bytes; null for one that is left out. */
  readonly textOf: (bytes: Uint8Array, path: string) => string | null;
  /** Documents are taken in shuffled order until their texts hold this many bytes of UTF-8; null: all of them. */
  readonly bytes: number | null;
  /** Names the shuffled order. */
  readonly seed: number;
  /** Tokens of the vocabulary that is advised. */
  readonly vocabSize: number;
}
