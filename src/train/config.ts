/** The `train` part of a run file. */
import { z } from 'zod';
import { sizeUpTo, realNumber } from '../core/index.js';
import type { DataConfig } from '../data/index.js';
import { rotaryBase, type ModelConfig } from '../model/index.js';
import { resolveWindows, windowsSchema } from './windows.js';
import { muonSchema, OPTIMIZER_NAMES, OPTIMIZERS, resolveMuon } from './optimizers/index.js';

const steps = (least: number) => sizeUpTo('steps', least);
const momentum = realNumber().min(0).lt(1);

/** A tenth of the steps at most. */
const DEFAULT_WARMUP_STEPS = 50;
const DEFAULT_DECAY_FRACTION = 0.2;

/** What changes after a number of steps, and holds until the next change. */
const stageSchema = z.strictObject({
  from: steps(1).describe('steps after which the stage begins'),
  seqLen: sizeUpTo('tokens').optional().describe('tokens of a sequence from then on'),
  batchSize: sizeUpTo('batch').optional().describe('sequences of one optimizer step'),
  accumulate: sizeUpTo('batch').optional().describe('microbatches that a step is computed in'),
  ropeTheta: rotaryBase().optional().describe('base of the rotary wavelengths, for longer contexts'),
  weights: z.array(realNumber().positive()).optional().describe('weights of the data sources, in their order'),
  lr: realNumber()
    .positive()
    .optional()
    .describe('a schedule of its own with this peak, until the next such stage (default: the schedule goes on)'),
  schedule: z
    .enum(['cosine', 'wsd', 'constant'])
    .optional()
    .describe('of the own schedule (default: that of training)'),
  warmupSteps: steps(0).optional().describe('of the own schedule (default: 0)'),
  decaySteps: steps(0).optional().describe('of the own schedule, wsd only (default: a fifth of its steps)'),
  minLrRatio: realNumber().min(0).max(1).optional().describe('of the own schedule (default: that of training)'),
});
/** Evaluations that are closer together at first: a part of the run up to a step, and the steps between two in it. */
const evalPartSchema = z.strictObject({
  every: steps(0).describe('steps between two evaluations, counted from where the part begins; 0 for none'),
  until: steps(1).optional().describe('the last step of the part; left out of the last part, which goes to the end'),
});
const SCHEDULE_KEYS = ['schedule', 'warmupSteps', 'decaySteps', 'minLrRatio'] as const;

/** A model to start from, as it is stored: with the fingerprint of the weights that were found there. */
const initSchema = z.strictObject({
  folder: z.string().min(1).describe('a run, a checkpoint folder, or a model saved by Transformers'),
  step: steps(1).optional().describe('of a run, the checkpoint of this step (default: the newest)'),
  fingerprint: z
    .string()
    .optional()
    .describe('SHA-256 of the weights; put in when the run is planned, and then other weights are refused'),
});

/**
 * Schema of the `train` part. What it gives is complete, and itself a valid input that parses to an equal value.
 *
 * Checked across fields: `accumulate` divides `batchSize`; warm-up and decay fit into `steps`; `decaySteps` belongs to
 * the schedule `wsd`.
 */
export const TrainConfigSchema = z
  .strictObject({
    seqLen: sizeUpTo('tokens').default(128).describe('tokens of a sequence'),
    batchSize: sizeUpTo('batch')
      .default(32)
      .describe('sequences of one optimizer step, all of its microbatches together'),
    accumulate: sizeUpTo('batch').default(1).describe('microbatches that a step is computed in; divides batchSize'),
    steps: steps(1).describe('optimizer steps'),
    init: z
      .union([z.string().min(1), initSchema])
      .optional()
      .transform((init) => (typeof init === 'string' ? { folder: init } : init))
      .describe(
        'start from the weights of another model: the folder of a run, a checkpoint, or a model saved by Transformers. ' +
          'Keys of `model` that are left out are those of that model',
      ),
    lr: realNumber().positive().default(1e-3).describe('peak learning rate'),
    warmupSteps: steps(0)
      .optional()
      .describe(`steps of linear warm-up (default: ${DEFAULT_WARMUP_STEPS}, or a tenth of the steps if that is less)`),
    schedule: z
      .enum(['cosine', 'wsd', 'constant'])
      .default('cosine')
      .describe('after the warm-up: cosine decay, constant with a linear decay at the end (wsd), or constant'),
    minLrRatio: realNumber().min(0).max(1).default(0.1).describe('final learning rate over the peak'),
    decaySteps: steps(0).optional().describe('wsd only: steps of the linear decay (default: a fifth of the steps)'),
    optimizer: z
      .enum(OPTIMIZER_NAMES)
      .default('adamw')
      .describe(
        `what updates the weights: ${OPTIMIZER_NAMES.map((name) => `${name}, ${OPTIMIZERS[name].summary}`).join('; ')}`,
      ),
    muon: muonSchema.optional().describe('optimizer: muon only'),
    beta1: momentum.default(0.9).describe('AdamW: decay of the mean of gradients'),
    beta2: momentum.default(0.98).describe('AdamW: decay of the mean of squared gradients'),
    eps: realNumber().positive().default(1e-8).describe('AdamW: added to the root of the mean square'),
    weightDecay: realNumber().min(0).default(0.05).describe('AdamW: decoupled decay, on matrices only'),
    clipNorm: realNumber().min(0).default(1).describe('largest global norm of the gradient; 0 for no clipping'),
    logEvery: steps(1).default(25).describe('steps between two lines of training metrics'),
    evalEvery: z
      .union([steps(0), z.array(evalPartSchema).min(1)])
      .default(25)
      .describe(
        'steps between two evaluations; 0 for one at the end only; or a list of parts of the run, such as ' +
          '[{ every: 46, until: 1242 }, { every: 200 }]',
      ),
    checkpointEvery: steps(0).default(100).describe('steps between two checkpoints; 0 for one at the end only'),
    keepCheckpoints: z
      .union([z.literal('all'), steps(1)])
      .default('all')
      .describe('how many checkpoints stay on disk, the newest ones'),
    precision: z
      .enum(['f32', 'bf16'])
      .default('f32')
      .describe('bf16: products and activations in bfloat16 over float32 weights; needs the xla engine'),
    stages: z
      .array(stageSchema)
      .optional()
      .describe('what changes on the way: lengths, batches, rotary base, mixture, learning rate'),
    windows: windowsSchema
      .optional()
      .describe('how the windows of layers such as swa:128~2048 move (default: drawn anew for each step)'),
    remat: z.boolean().default(false).describe('recompute each layer in the backward pass: less memory, more work'),
  })
  .superRefine((c, context) => {
    const issue = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message });
    if (c.batchSize % c.accumulate !== 0) {
      issue('accumulate', `must divide batchSize ${c.batchSize}, and ${c.accumulate} does not`);
    }
    if (typeof c.evalEvery !== 'number') {
      checkEvalParts(c.evalEvery, (path, message) =>
        context.addIssue({ code: 'custom', path: ['evalEvery', ...path], message }),
      );
    }
    if (c.muon !== undefined && c.optimizer !== 'muon') {
      issue('muon', `is for optimizer muon only, and optimizer is ${c.optimizer}; leave it out or set optimizer: muon`);
    }
    checkStages(c, (path, message) => context.addIssue({ code: 'custom', path: ['stages', ...path], message }));
    const { warmupSteps = 0, decaySteps = 0 } = c;
    const steps = scheduledSteps(c);
    if (warmupSteps > steps) issue('warmupSteps', `must be at most steps (${steps}), got ${warmupSteps}`);
    if (c.schedule !== 'wsd' && decaySteps > 0) {
      issue('decaySteps', `is for schedule wsd only, and schedule is ${c.schedule}; leave it out or set schedule: wsd`);
    }
    if (c.schedule === 'wsd' && warmupSteps <= steps && warmupSteps + decaySteps > steps) {
      issue(
        'decaySteps',
        `and warmupSteps together must be at most steps (${steps}), got ${decaySteps} + ${warmupSteps}`,
      );
    }
  })
  .transform((c) => {
    const steps = scheduledSteps(c);
    const warmupSteps = c.warmupSteps ?? Math.min(DEFAULT_WARMUP_STEPS, Math.floor(steps / 10));
    const standard = Math.min(Math.ceil(steps * DEFAULT_DECAY_FRACTION), steps - warmupSteps);
    const muon = c.optimizer === 'muon' ? resolveMuon(c.muon ?? muonSchema.parse({}), c) : undefined;
    const { muon: _, windows, ...rest } = c;
    return {
      ...rest,
      ...(windows === undefined ? {} : { windows: resolveWindows(windows, c.steps) }),
      ...(muon === undefined ? {} : { muon }),
      ...{ warmupSteps, decaySteps: c.schedule === 'wsd' ? (c.decaySteps ?? standard) : 0 },
    };
  });

/** Steps of the run's own schedule: all, or those before a stage that has one of its own. */
function scheduledSteps({ steps, stages }: Pick<StagedInput, 'steps' | 'stages'>): number {
  return stages?.find((stage) => stage.lr !== undefined)?.from ?? steps;
}

interface StagedInput {
  readonly steps: number;
  readonly batchSize: number;
  readonly accumulate: number;
  readonly stages?: readonly z.output<typeof stageSchema>[] | undefined;
}

function checkEvalParts(parts: readonly EvalPart[], issue: (path: PropertyKey[], text: string) => void): void {
  let before = 0;
  parts.forEach(({ until }, i) => {
    const isLast = i === parts.length - 1;
    if (isLast && until !== undefined) issue([i, 'until'], 'is left out of the last part, which goes to the end');
    if (isLast || until === undefined) {
      if (!isLast) issue([i], 'needs until, the last step of the part');
      return;
    }
    if (until <= before) issue([i, 'until'], `must be more than ${before}, got ${until}`);
    before = until;
  });
}

function checkStages({ steps, stages = [], ...base }: StagedInput, issue: (path: PropertyKey[], text: string) => void) {
  let { batchSize, accumulate } = base;
  let last = 0;
  stages.forEach((stage, i) => {
    if (stage.from <= last || stage.from >= steps) {
      issue([i, 'from'], `must be more than ${last} and less than steps (${steps}), got ${stage.from}`);
    }
    last = stage.from;
    batchSize = stage.batchSize ?? batchSize;
    accumulate = stage.accumulate ?? accumulate;
    if (batchSize % accumulate !== 0) {
      issue([i, 'accumulate'], `must divide batchSize ${batchSize}, and ${accumulate} does not`);
    }
    const alone = stage.lr === undefined ? SCHEDULE_KEYS.find((key) => stage[key] !== undefined) : undefined;
    if (alone !== undefined) issue([i, alone], 'is of a schedule of its own: set lr too, or leave it out');
  });
}

type EvalPart = z.output<typeof evalPartSchema>;

/** Whether an evaluation is due after `step`, which counts from 1. */
export function isEvaluated(evalEvery: number | readonly EvalPart[], step: number): boolean {
  if (typeof evalEvery === 'number') return evalEvery > 0 && step % evalEvery === 0;
  const index = evalEvery.findIndex(({ until }) => until === undefined || step <= until);
  const from = evalEvery[index - 1]?.until ?? 0;
  const every = evalEvery[index]?.every ?? 0;
  return every > 0 && (step - from) % every === 0;
}

/** A complete, checked `train` configuration. */
export type TrainConfig = z.output<typeof TrainConfigSchema>;

/** The parts of a resolved run configuration that decide the numbers of a run. A whole one may hold more. */
export interface RunConfig {
  readonly seed: number;
  readonly model: ModelConfig;
  readonly data: DataConfig;
  readonly train: TrainConfig;
}

/** The `train` part of a run file as users write it, before defaults are filled in. */
export type TrainInput = z.input<typeof TrainConfigSchema>;

/** Tokens of one optimizer step. */
export function tokensPerStep({ batchSize, seqLen }: Pick<TrainConfig, 'batchSize' | 'seqLen'>): number {
  return batchSize * seqLen;
}

/** Tokens that a run trains on, its stages included. */
export function trainingTokens(train: TokenSettings): number {
  let [tokens, from] = [0, 0];
  let { batchSize, seqLen } = train;
  for (const stage of [...(train.stages ?? []), { from: train.steps }]) {
    tokens += (stage.from - from) * batchSize * seqLen;
    from = stage.from;
    if ('batchSize' in stage) batchSize = stage.batchSize ?? batchSize;
    if ('seqLen' in stage) seqLen = stage.seqLen ?? seqLen;
  }
  return tokens;
}

interface TokenSettings extends Pick<TrainConfig, 'steps' | 'batchSize' | 'seqLen'> {
  readonly stages?:
    | readonly {
        readonly from: number;
        readonly batchSize?: number | undefined;
        readonly seqLen?: number | undefined;
      }[]
    | undefined;
}
