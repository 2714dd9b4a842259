/**
 * How the tensors of a step lie on a device mesh. Batches divide over `data` and `fsdp`; parameters and moments divide over
 * `fsdp` (ZeRO stage 3, Rajbhandari et al. 2020) and, by columns before a nonlinearity and rows after it, over `tensor`
 * (Shoeybi et al. 2019). XLA works out everything in between.
 */
import { ConfigError } from '../core/index.js';
import { fittingSharding, type MeshShape, type Sharding } from '../engine/index.js';
import type { ParamSpec } from '../model/index.js';

/** Axes of a matrix `[in, out]` whose columns are divided over `tensor`; its rows over `fsdp`. */
const COLUMNS: Sharding = [['fsdp'], ['tensor']];
/** The reverse. Parts that are whole rows are gathered and summed where they lie; parts of rows have to be copied for that. */
const ROWS: Sharding = [['tensor', 'fsdp'], []];
const ROWS_OF_PARTS: Sharding = [['tensor'], ['fsdp']];

/** By the end of a parameter's name; vectors are whole everywhere. */
const MATRICES: readonly (readonly [suffix: string, sharding: Sharding])[] = [
  ['.wo', ROWS],
  ['mamba2.wout', ROWS],
  ['mlp.wdown', ROWS],
  // Channels by taps.
  ['conv.weight', [['fsdp'], []]],
  ['embed.weight', ROWS],
];

/** How a parameter lies, and with it its moments and gradient. */
export function parameterSharding({ name, shape }: Pick<ParamSpec, 'name' | 'shape'>, mesh: MeshShape): Sharding {
  if (shape.length < 2) return [];
  const wanted = MATRICES.find(([suffix]) => name.endsWith(suffix))?.[1] ?? COLUMNS;
  const fitting = fittingSharding(wanted, shape, mesh);
  return wanted === ROWS && fitting[0]?.length === 0 ? fittingSharding(ROWS_OF_PARTS, shape, mesh) : fitting;
}

/** Throws `ConfigError` unless the sequences of a (micro)batch divide over the mesh. */
export function checkBatch(batchSize: number, accumulate: number, mesh: MeshShape): void {
  const parts = (mesh.data ?? 1) * (mesh.fsdp ?? 1);
  const size = batchSize / accumulate;
  if (size % parts === 0) return;
  const micro = accumulate > 1 ? ` in ${accumulate} microbatches of ${size}` : '';
  throw new ConfigError(
    `train.batchSize ${batchSize}${micro} does not divide over the ${parts} devices of mesh axes data x fsdp; ` +
      `use a multiple of ${parts * accumulate}`,
    { details: { batchSize, accumulate, mesh } },
  );
}
