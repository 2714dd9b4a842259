/** A model over sequences in chunks, on any engine: what the decoding tests compare with the forward pass. */
import { tensorFrom, toNumbers, zeros, type DType, type HostTensor } from '../../src/core/index.js';
import type { DeviceTensor, Engine, Executable } from '../../src/engine/index.js';
import { input, makeGraph } from '../../src/graph/index.js';
import {
  forwardChunk,
  headLogits,
  parameterInputs,
  stateInputs,
  stateSpecs,
  type ModelConfig,
} from '../../src/model/index.js';

export interface ChunkRun {
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly params: ReadonlyMap<string, HostTensor>;
  readonly dtype: DType;
  readonly maxLength: number;
  /** Keeps programs for the next call, by the length of their chunks: the caller disposes of them. */
  readonly programs?: Map<number, Executable>;
}

/**
 * Logits of every token of `rows` (any lengths), read in chunks of these sizes, which add up to the longest row; shorter rows
 * are padded on the left with token `filler`. One `[length][V]` list of numbers a row.
 */
export async function logitsInChunks(
  { engine, config, params, dtype, maxLength, programs: kept }: ChunkRun,
  rows: readonly (readonly number[])[],
  sizes: readonly number[],
  filler = 0,
): Promise<number[][][]> {
  const B = rows.length;
  const longest = Math.max(...rows.map((r) => r.length));
  const padded = rows.map((r) => [...new Array<number>(longest - r.length).fill(filler), ...r]);
  const padding = tensorFrom(
    'i32',
    [B],
    rows.map((r) => longest - r.length),
  );
  const room = { batchSize: B, maxLength, dtype };
  const weights = Object.fromEntries([...params].map(([name, t]) => [name, engine.upload(t)]));
  let state: Record<string, DeviceTensor> = Object.fromEntries(
    stateSpecs(config, room).map((s) => [s.name, engine.upload(zeros(s.dtype, s.shape))]),
  );
  const out: number[][][] = rows.map(() => []);
  const programs = kept ?? new Map<number, Executable>();
  let start = 0;
  for (const n of sizes) {
    const program = programs.get(n) ?? (await engine.compile(chunkGraph(config, n, room)));
    programs.set(n, program);
    const { logits, ...next } = await program.run({
      ...weights,
      ...state,
      tokens: engine.upload(
        tensorFrom(
          'i32',
          [B, n],
          padded.flatMap((r) => r.slice(start, start + n)),
        ),
      ),
      start: engine.upload(tensorFrom('i32', [], [start])),
      padding: engine.upload(padding),
    });
    state = next;
    const values = toNumbers(await engine.download(logits as DeviceTensor));
    const V = config.vocabSize;
    rows.forEach((_, b) => {
      for (let i = 0; i < n; i++) {
        if (start + i < longest - (rows[b]?.length ?? 0)) continue;
        out[b]?.push(Array.from(values.subarray((b * n + i) * V, (b * n + i + 1) * V)));
      }
    });
    start += n;
  }
  if (kept === undefined) for (const program of programs.values()) await program.dispose();
  return out;
}

function chunkGraph(config: ModelConfig, n: number, room: { batchSize: number; maxLength: number; dtype: DType }) {
  const params = parameterInputs(config, room.dtype);
  const before = stateInputs(config, room);
  const place = { start: input('start', 'i32', []), padding: input('padding', 'i32', [room.batchSize]) };
  const tokens = input('tokens', 'i32', [room.batchSize, n]);
  const { stream, state } = forwardChunk(config, params, { tokens, ...place }, before, room);
  const logits = headLogits(config, params, stream);
  const inputs = { ...Object.fromEntries(params), ...Object.fromEntries(before), ...place, tokens };
  return makeGraph(inputs, { logits, ...Object.fromEntries(state) });
}
