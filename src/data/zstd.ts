/** Zstandard files (RFC 8878), unpacked in bounded memory, their checksums compared. */
import { createReadStream } from 'node:fs';
import { Decompress } from 'fzstd';
import xxhash from 'xxhash-wasm';

const FRAME = 0xfd2fb528;
/** A frame that holds no data: 0x184D2A50 to 0x184D2A5F. */
const SKIPPABLE = 0x184d2a50;
/** Bytes of the size of a frame's content, by the upper two bits of its descriptor. */
const SIZE_BYTES = [0, 2, 4, 8] as const;
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;
const RUN_BLOCK = 1;
const CHECKSUM_BITS = 0xffffffffn;

/**
 * The content of all frames of a Zstandard file, one after another, in pieces.
 *
 * Throws an `Error` that says what is wrong if the file is damaged, ends early, or a frame's content is not that of its
 * checksum.
 */
export async function* unzstd(path: string): AsyncGenerator<Uint8Array> {
  const hasher = await xxhash();
  const bytes = new ByteReader(createReadStream(path) as AsyncIterable<Buffer>);
  while (!(await bytes.atEnd())) {
    const magic = await bytes.take(4);
    const kind = magic.readUInt32LE();
    if (kind >>> 4 === SKIPPABLE >>> 4) {
      let left = (await bytes.take(4)).readUInt32LE();
      for (; left > 0; left -= (await bytes.take(Math.min(left, 2 ** 16))).length);
      continue;
    }
    if (kind !== FRAME) throw new Error('invalid zstd data');
    const hash = hasher.create64();
    let checksum: number | null = null;
    const parts: Uint8Array[] = [];
    const decompress = new Decompress((part) => parts.push(part.slice()));
    for await (const part of frameParts(bytes)) {
      if (part.isChecksum) checksum = part.bytes.readUInt32LE();
      decompress.push(new Uint8Array(part.first ? Buffer.concat([magic, part.bytes]) : part.bytes), part.last);
      for (const text of parts.splice(0)) {
        hash.update(text);
        yield text;
      }
    }
    if (checksum !== null && checksum !== Number(hash.digest() & CHECKSUM_BITS)) {
      throw new Error('its content is not that of its checksum');
    }
  }
}

interface FramePart {
  readonly bytes: Buffer;
  readonly first: boolean;
  readonly last: boolean;
  readonly isChecksum: boolean;
}

/** A frame behind its magic number: its header, its blocks, and its checksum if it has one. */
async function* frameParts(bytes: ByteReader): AsyncGenerator<FramePart> {
  const descriptor = await bytes.take(1);
  const flags = descriptor.readUInt8();
  const isSingle = (flags & 0x20) !== 0;
  const hasChecksum = (flags & 0x04) !== 0;
  const sizeBytes = flags >> 6 === 0 && isSingle ? 1 : (SIZE_BYTES[flags >> 6] ?? 0);
  const rest = (isSingle ? 0 : 1) + (DICTIONARY_BYTES[flags & 0x03] ?? 0) + sizeBytes;
  const head = Buffer.concat([descriptor, await bytes.take(rest)]);
  yield { bytes: head, first: true, last: false, isChecksum: false };
  for (let isLast = false; !isLast;) {
    const block = await bytes.take(3);
    const word = block.readUIntLE(0, 3);
    isLast = (word & 1) === 1;
    const body = await bytes.take(((word >> 1) & 3) === RUN_BLOCK ? 1 : word >> 3);
    yield { bytes: Buffer.concat([block, body]), first: false, last: isLast && !hasChecksum, isChecksum: false };
  }
  if (hasChecksum) yield { bytes: await bytes.take(4), first: false, last: true, isChecksum: true };
}

/** Takes as many bytes of a stream as are asked for. */
class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async atEnd(): Promise<boolean> {
    return !(await this.#fill(1));
  }

  /** The next `size` bytes. Throws `Error` if there are fewer. */
  async take(size: number): Promise<Buffer> {
    if (!(await this.#fill(size))) throw new Error('unexpected EOF');
    const taken = this.#held.subarray(0, size);
    this.#held = this.#held.subarray(size);
    return taken;
  }

  async #fill(size: number): Promise<boolean> {
    while (this.#held.length < size) {
      const next = await this.#chunks.next();
      if (next.done === true) return false;
      this.#held = this.#held.length === 0 ? next.value : Buffer.concat([this.#held, next.value]);
    }
    return true;
  }
}
