/**
 * The windows of a model over its training: drawn for each step, given to the sequences of a batch, or in turn. What a
 * step has depends on the seed and the step alone, so that a resumed run goes on with the same.
 */
import { z } from 'zod';
import { at, ConfigError, parseConfig, realNumber, Rng, sizeUpTo } from '../core/index.js';
import {
  atWindows,
  headGroups,
  MOST_WINDOWS,
  movingWindows,
  withWindowShares,
  type ModelConfig,
  type Window,
  type WindowShare,
} from '../model/index.js';

/** Schema of `train.windows`. */
export const windowsSchema = z
  .strictObject({
    choose: z
      .enum(['step', 'sequence', 'schedule'])
      .default('step')
      .describe(
        'which window a layer such as swa:128~2048 has: drawn anew for each step, the same place of the list in all layers (step); ' +
          'each its share of the sequences of every batch (sequence); or one after another, in the order written (schedule)',
      ),
    weights: z
      .array(realNumber().positive())
      .min(2)
      .max(MOST_WINDOWS)
      .optional()
      .describe('weights of the windows, in the order written: of draws, sequences or steps (default: equal ones)'),
    curve: z
      .enum(['linear', 'geometric'])
      .optional()
      .describe('windows between the first and the last of a layer, by equal differences or equal ratios; needs count'),
    count: z
      .int()
      .min(2)
      .max(MOST_WINDOWS)
      .optional()
      .describe('windows on the curve, the first and the last included; each is a program of its own'),
    until: sizeUpTo('steps', 1)
      .optional()
      .describe(
        'schedule only: the step at which the schedule is through; then the last window stays (default: steps)',
      ),
  })
  .superRefine(({ choose, weights, curve, count, until }, context) => {
    const issue = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message });
    if (until !== undefined && choose !== 'schedule')
      issue('until', `is for choose: schedule only, and choose is ${choose}; leave it out or set choose: schedule`);
    if (curve !== undefined && count === undefined) issue('curve', 'needs count, the number of windows on the curve');
    if (count !== undefined && curve === undefined) issue('count', 'needs curve, linear or geometric');
    if (weights !== undefined && count !== undefined && weights.length !== count)
      issue('weights', `must be ${count}, one for each window on the curve, got ${weights.length}`);
  });

/** How windows move in training, complete and checked. */
export type WindowsConfig = z.output<typeof windowsSchema>;

/** The same with the step written out at which a schedule is through: runs of other lengths then have another one. */
export function resolveWindows(config: WindowsConfig, steps: number): WindowsConfig {
  return config.choose === 'schedule' ? { ...config, until: config.until ?? steps } : config;
}

/** What the windows of a run, or of a stage of it, depend on. */
interface MovingRun {
  readonly model: ModelConfig;
  readonly seed: number;
  readonly train: {
    readonly steps: number;
    readonly seqLen: number;
    readonly batchSize: number;
    readonly accumulate: number;
    readonly windows?: WindowsConfig | undefined;
  };
}

/** The windows of a training: which models its steps have, all with the same parameters. */
export interface WindowPlan {
  /** The models of steps, which differ in windows alone; one where nothing moves. */
  readonly models: readonly ModelConfig[];
  /** Whether a model that was left does not come back. */
  readonly inTurn: boolean;
  /** The index of the model of step `step`, from 1. */
  of(step: number): number;
  /** The window of each model, a mean over what moves and at most a sequence long; null where nothing moves. */
  readonly keys: readonly number[] | null;
}

/**
 * The windows of a run or a stage of it.
 *
 * @throws ConfigError where the settings do not fit the model, the steps or the batch
 */
export function windowPlan({ model, train, seed }: MovingRun): WindowPlan {
  const moving = movingWindows(model);
  if (moving.length === 0) {
    if (train.windows === undefined) return { models: [model], inTurn: true, of: () => 0, keys: null };
    throw failure(
      'it says how windows move, and no layer of the model has several; name them, as in swa:128~2048, or leave it out',
    );
  }
  const config = train.windows ?? windowsSchema.parse({});
  const { choose, until = train.steps } = config;
  const keysOf = (own: ModelConfig) => meanWindow(model, own, train.seqLen);
  if (until > train.steps) throw failure(`until must be at most steps (${train.steps}), got ${until}`);
  const listOf = (windows: readonly Window[]) => onCurve(windows, config, train.seqLen);
  const endsFor = (windows: readonly Window[]) => endsOf(listOf(windows).length, config);
  if (choose === 'sequence') {
    const shares = windowShares(train);
    for (const windows of moving) checkRows(shares(windows), train);
    const models = [withWindowShares(model, shares)];
    return { models, inTurn: true, of: () => 0, keys: models.map(keysOf) };
  }
  // Lists of one length change together; others where shares of their own end.
  const ends = [...new Set(moving.flatMap(endsFor))].sort((a, b) => a - b);
  const { models, indices } = distinctModels(
    ends.map((end, i) => {
      const middle = ((ends[i - 1] ?? 0) + end) / 2;
      return atWindows(model, (windows) => at(listOf(windows), placeOf(endsFor(windows), middle)));
    }),
    train.seqLen,
  );
  const inTurn = choose === 'schedule';
  const steps = ends.map((end) => stepsUpTo(end, until));
  const of = (step: number) =>
    at(indices, inTurn ? placeOf(steps, step - 1) : placeOf(ends, Rng.of(seed, 'windows', step).uniform()));
  return { models, inTurn, of, keys: models.map(keysOf) };
}

const failure = (why: string): ConfigError => new ConfigError(`train.windows: ${why}`);

/**
 * The share of each window of a layer in a training, which is also what its mean cost is taken from.
 *
 * @param train the settings of a run, as they are stored
 * @throws ConfigError where `train.windows` is no valid setting, or does not fit the windows
 */
export function windowShares(train: {
  readonly steps: number;
  readonly seqLen: number;
  readonly windows?: unknown;
}): (windows: readonly Window[]) => WindowShare[] {
  const config = parseConfig(windowsSchema, train.windows ?? {}, 'train.windows');
  const { choose, until = train.steps } = config;
  return (windows) => {
    const own = onCurve(windows, config, train.seqLen);
    const ends = endsOf(own.length, config);
    const upTo = (i: number): number => {
      if (i < 0 || i === ends.length - 1) return i < 0 ? 0 : 1;
      return choose === 'schedule' ? stepsUpTo(at(ends, i), until) / train.steps : at(ends, i);
    };
    return own.map((window, i) => ({ window, share: upTo(i) - upTo(i - 1) }));
  };
}

/** The steps of a schedule of `until` up to a share of it; a share that binary numbers round up stays whole steps. */
const stepsUpTo = (share: number, until: number): number => Math.ceil(share * until * (1 - 1e-12));

/** The first of ascending `ends` that lies beyond `value`; the last if none does. */
function placeOf(ends: readonly number[], value: number): number {
  const found = ends.findIndex((end) => value < end);
  return found < 0 ? ends.length - 1 : found;
}

/** Where the share of each of `count` windows ends, of 1 for all together. */
function endsOf(count: number, { weights }: WindowsConfig): number[] {
  const own = weights ?? Array.from({ length: count }, () => 1);
  if (own.length !== count)
    throw failure(`weights must be ${count}, one for each window of a layer, got ${own.length}`);
  const total = own.reduce((a, b) => a + b, 0);
  let sum = 0;
  return own.map((weight) => (sum += weight) / total);
}

/** The windows of a layer: those that its pattern names, or those on the curve between its two. */
function onCurve(windows: readonly Window[], { curve, count }: WindowsConfig, seqLen: number): readonly Window[] {
  if (curve === undefined || count === undefined) return windows;
  const [from, to, ...more] = windows;
  if (from === undefined || to === undefined || more.length > 0) {
    const named = windows.map((window) => window ?? 'full').join('~');
    throw failure(
      `curve goes from one window to another, and a layer has ${windows.length} (${named}); name two, or leave curve out`,
    );
  }
  const [a, b] = [from ?? seqLen, to ?? seqLen];
  return Array.from({ length: count }, (_, i): Window => {
    if (i === 0) return from;
    if (i === count - 1) return to;
    const part = i / (count - 1);
    return Math.round(curve === 'linear' ? a + (b - a) * part : a * (b / a) ** part);
  });
}

/** Checks that shares of the sequences of a microbatch are whole numbers of them. */
function checkRows(shares: readonly WindowShare[], { batchSize, accumulate }: MovingRun['train']): void {
  const rows = batchSize / accumulate;
  const broken = shares.find(({ share }) => Math.abs(share * rows - Math.round(share * rows)) > 1e-6);
  if (broken === undefined) return;
  const ofWhat = accumulate === 1 ? 'a batch' : 'a microbatch';
  throw failure(
    `window ${broken.window ?? 'full'} has a share of ${broken.share} of the ${rows} sequences of ${ofWhat}, which is no whole number of ` +
      'them; choose another batchSize or weights, or choose: step',
  );
}

/** Models without those that are the same on `seqLen` tokens, and which of the rest stands for each. */
function distinctModels(
  all: readonly ModelConfig[],
  seqLen: number,
): { readonly models: readonly ModelConfig[]; readonly indices: readonly number[] } {
  const [models, keys]: [ModelConfig[], string[]] = [[], []];
  const indices = all.map((model) => {
    const seen = model.layers.map((plan) => headGroups(plan).map(({ window }) => Math.min(window ?? seqLen, seqLen)));
    const key = JSON.stringify(seen);
    const known = keys.indexOf(key);
    if (known >= 0) return known;
    keys.push(key);
    return models.push(model) - 1;
  });
  return { models, indices };
}

/** The mean window of the head groups of `now`, a model of a step, that move in `model`; at most `seqLen` each. */
function meanWindow(model: ModelConfig, now: ModelConfig, seqLen: number): number {
  const keys = model.layers.flatMap((plan, i) =>
    headGroups(plan).flatMap(({ windows }, k) => {
      if (windows === undefined) return [];
      const { window, shares } = at(headGroups(at(now.layers, i)), k);
      const all = shares ?? [{ window, share: 1 }];
      return all.reduce((sum, part) => sum + part.share * Math.min(part.window ?? seqLen, seqLen), 0);
    }),
  );
  return keys.reduce((a, b) => a + b, 0) / keys.length;
}
