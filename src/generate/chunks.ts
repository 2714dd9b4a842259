/** In which pieces prompts are read: programs have fixed lengths, so a few lengths must do for all prompts. */
import { ConfigError } from '../core/index.js';

/** What prompts are read by. */
export interface ChunkRequest {
  /** Sequences that are read together. */
  readonly batchSize: number;
  /** The longest prompt, in tokens. */
  readonly maxPrompt: number;
  /** New tokens behind each prompt. */
  readonly maxNew: number;
  /** The one length of chunks; chosen if left out. */
  readonly chunk?: number;
}

/** The lengths of chunks, in tokens: most of a prompt goes in large ones, what is left over in small ones. */
export interface ChunkLengths {
  readonly large: number;
  /** A power of two that divides `large`, or `large` itself. */
  readonly small: number;
}

/** Tokens of a chunk of all sequences together: as many as keep the host, or an accelerator, busy. */
const TOKENS = { host: 2048, accelerator: 16_384 } as const;
/** Tokens of a sequence that are read at once at least: fewer would not fill a block of attention. */
const LEAST = 128;
/** On the host a mask has an element for each sequence, token of a chunk, and slot: at most about this many. */
const MASK_ELEMENTS = 2 ** 24;

const powerBelow = (n: number): number => 2 ** Math.floor(Math.log2(n));

/** The lengths of chunks for prompts of up to `maxPrompt` tokens. */
export function chunkLengths(
  { batchSize, maxPrompt, maxNew, chunk }: ChunkRequest,
  accelerator: boolean,
): ChunkLengths {
  for (const [name, value] of Object.entries({ batchSize, maxPrompt, maxNew, chunk })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new ConfigError(`${name} must be a whole number of at least 1, got ${value}`);
    }
  }
  if (chunk !== undefined) return { large: chunk, small: chunk };
  if (maxPrompt <= LEAST) {
    const only = Math.max(8, 2 ** Math.ceil(Math.log2(maxPrompt)));
    return { large: only, small: only };
  }
  const masked = accelerator ? Infinity : MASK_ELEMENTS / (batchSize * (maxPrompt + maxNew));
  const most = Math.min(maxPrompt, masked, (accelerator ? TOKENS.accelerator : TOKENS.host) / batchSize);
  const large = Math.max(LEAST, powerBelow(most));
  return { large, small: Math.max(LEAST, large / 16) };
}

/** Slots of a sequence of `length` tokens: whole small chunks. */
export function slotsFor(length: number, { small }: ChunkLengths): number {
  return Math.ceil(length / small) * small;
}

/** The lengths of the chunks in which `slots` slots are read, in order: first small ones, then large ones. */
export function chunksOf(slots: number, { large, small }: ChunkLengths): number[] {
  const rest = slots % large;
  return [...new Array<number>(rest / small).fill(small), ...new Array<number>((slots - rest) / large).fill(large)];
}
