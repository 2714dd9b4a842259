/**
 * TensorBoard's event files: records with a length and checksums (TFRecord), each an `Event` of
 * tensorflow/core/util/event.proto in the encoding of Protocol Buffers. Only what scalars need.
 */

/** A value of a tag at a step. */
export interface ScalarEvent {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step: number;
  readonly values: readonly (readonly [string, number])[];
}

/** The first record of a file: its version. */
export function versionRecord(wallTime: number): Buffer {
  return record(Buffer.concat([double(1, wallTime), bytesField(3, Buffer.from('brain.Event:2'))]));
}

/** A record with the values of one step, as float32. */
export function scalarRecord({ wallTime, step, values }: ScalarEvent): Buffer {
  const summaries = values.map(([tag, value]) => {
    const number = Buffer.alloc(5);
    number[0] = (2 << 3) | 5; // simple_value, 32 bits
    number.writeFloatLE(value, 1);
    return bytesField(1, Buffer.concat([bytesField(1, Buffer.from(tag)), number]));
  });
  return record(
    Buffer.concat([double(1, wallTime), Buffer.from([2 << 3]), varint(step), bytesField(5, Buffer.concat(summaries))]),
  );
}

function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = (field << 3) | 1;
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function bytesField(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2]), varint(bytes.length), bytes]);
}

/** A whole number from 0 to 2^53, seven bits a byte. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** Length, its checksum, the bytes, their checksum. */
function record(bytes: Buffer): Buffer {
  const framed = Buffer.alloc(16 + bytes.length);
  framed.writeBigUInt64LE(BigInt(bytes.length), 0);
  framed.writeUInt32LE(maskedCrc(framed.subarray(0, 8)), 8);
  bytes.copy(framed, 12);
  framed.writeUInt32LE(maskedCrc(bytes), 12 + bytes.length);
  return framed;
}

/** CRC-32C by byte. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C, rotated and shifted as TFRecord has it. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 255] ?? 0);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
