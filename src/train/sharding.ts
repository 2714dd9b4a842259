/**
 * How the tensors of a step lie on a device mesh. Batches divide over `data` and `fsdp`; parameters and moments divide
 * over `fsdp` (ZeRO stage 3, Rajbhandari et al. 2020) and, by columns before a nonlinearity and rows after it, over
 * `tensor` (Shoeybi et al. 2019). XLA works out everything in between.
 */
import { ConfigError } from '../core/index.js';
import { fittingSharding, type MeshShape, type Sharding } from '../engine/index.js';
import type { ParamRole, ParamSpec } from '../model/index.js';

/** Axes of a matrix `[in, out]` whose columns are divided over `tensor`; its rows over `fsdp`. */
const COLUMNS: Sharding = [['fsdp'], ['tensor']];
/**
 * The reverse. Parts that are whole rows are gathered and summed where they lie; parts of rows have to be copied for
 * that.
 */
const ROWS: Sharding = [['tensor', 'fsdp'], []];
const ROWS_OF_PARTS: Sharding = [['tensor'], ['fsdp']];

/** How a parameter of each role is sharded; vectors are replicated. */
const BY_ROLE: { readonly [R in ParamRole]: Sharding } = {
  embedding: ROWS,
  in: COLUMNS,
  out: ROWS,
  // Blocks by channels, in and out.
  blocks: [['fsdp'], [], []],
  // Whole experts: each is gathered where a block of tokens needs it.
  experts: [['fsdp'], [], []],
  // Channels by taps.
  conv: [['fsdp'], []],
  vector: [],
};

/** The sharding of a parameter, and with it of its moments and gradient. */
export function parameterSharding({ role, shape }: Pick<ParamSpec, 'role' | 'shape'>, mesh: MeshShape): Sharding {
  const wanted = BY_ROLE[role];
  if (wanted.length === 0) return wanted;
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

/**
 * Throws `ConfigError` unless the batches of a training divide over the mesh, windows given by sequence included: the
 * sequences of one window would lie on some devices alone.
 */
export function checkMesh({ batchSize, accumulate, windows }: MeshedTraining, mesh: MeshShape): void {
  checkBatch(batchSize, accumulate, mesh);
  const parts = (mesh.data ?? 1) * (mesh.fsdp ?? 1);
  if (windows?.choose !== 'sequence' || parts === 1) return;
  throw new ConfigError(
    `train.windows gives windows to sequences, and the mesh divides these over ${parts} devices; use choose: step on a mesh`,
    { details: { windows, mesh } },
  );
}

interface MeshedTraining {
  readonly batchSize: number;
  readonly accumulate: number;
  readonly windows?: { readonly choose: string } | undefined;
}
