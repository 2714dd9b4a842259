/** Protocol buffers as bytes: fields of a message, without a schema. */
import { EngineError } from '../../../core/index.js';

/** A field of a message. */
export interface Field {
  /** The field's number in its message. */
  readonly number: number;
  /** A number; exact below 2^53. */
  readonly value: number;
  /** What has a length, such as text or a message; of a number, its bytes. */
  readonly bytes: Uint8Array;
}

/**
 * The fields of a message in order; 8-byte and 4-byte numbers are passed over. Throws `EngineError` if `what` does not
 * parse.
 */
export function* fieldsOf(message: Uint8Array, what: string): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new EngineError(`xla: the plugin gave ${what} that does not parse`);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    if (tag === 0) return; // ends a message early; recordings come with such a byte
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    const start = at;
    if (wire === 0) {
      const value = varint();
      yield { number, value, bytes: message.subarray(start, at) };
    } else if (wire === 2) {
      const size = varint();
      yield { number, value: 0, bytes: message.subarray(at, at + size) };
      at += size;
    } else if (wire === 1 || wire === 5) at += wire === 1 ? 8 : 4;
    else throw new EngineError(`xla: the plugin gave ${what} with a field of wire type ${wire}`);
  }
}

/** A number that `Field.value` may not hold exactly. */
export function exactVarint(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, byte, i) => sum + (BigInt(byte & 0x7f) << BigInt(7 * i)), 0n);
}

/** Bytes as UTF-8 text. */
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
