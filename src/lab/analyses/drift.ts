/** `longsight drift`: how far query and key weights of heads moved. */
import { z } from 'zod';
import { weightDrift } from '../../analysis/index.js';
import { ConfigError, field } from '../../core/index.js';
import { headSizes, parameterSpecs, type HostParameters } from '../../model/index.js';
import { headList, OPTION_HINTS } from '../analysis-options.js';
import { defineAnalysis, show } from '../analysis.js';
import { openModel, type OpenedModel } from '../open-model.js';
import { format, headIndex } from './described.js';

const fields = z.object({
  format,
  reference: field(
    z.union([z.number(), z.string()]),
    'what the weights are compared with: a step of the run, or the path of another model',
  ),
  qkL2: field(z.number(), 'mean over heads of `heads[].qkL2`', 'Frobenius norm'),
  qkRel: field(z.number(), 'mean over heads of `heads[].qkRel`', 'relative'),
  scoreRel: field(z.number(), 'mean over heads of `heads[].scoreRel`', 'relative'),
  heads: field(
    z.array(
      z.object({
        ...headIndex,
        qL2: field(z.number(), 'norm of the difference of the query weights', 'Frobenius norm'),
        kL2: field(z.number(), 'norm of the difference of the key weights', 'Frobenius norm'),
        qRel: field(z.number(), '`qL2` over the norm of the query weights of the reference', 'relative'),
        kRel: field(z.number(), '`kL2` over the norm of the key weights of the reference', 'relative'),
        qkL2: field(z.number(), 'sum of `qL2` and `kL2`, as published', 'Frobenius norm'),
        qkRel: field(z.number(), 'sum of `qRel` and `kRel`, as published', 'relative'),
        scoreRel: field(
          z.number(),
          'norm of the difference of `Wq Wk^T` over that of the reference; it stays when queries and keys turn together',
          'relative',
        ),
      }),
    ),
    'heads, by layer and number, or as they were asked for; none of latent attention',
  ),
});

/** Distances of query and key weights from a reference: the last checkpoint of a run, unless another model is named. */
export const drift = defineAnalysis({
  command: 'drift',
  summary: 'how far query and key weights of heads moved',
  description:
    "Distances of each head's query and key weights from a reference: for a run every checkpoint from its last one, " +
    'unless --reference names a checkpoint or another model. "scores" is the distance of Wq Wk^T, which does not ' +
    'change when queries and keys turn together.',
  question: 'when did their query and key weights stop moving?',
  needs: 'weights',
  checkpoints: { command: 'all', analyze: 'all' },
  options: {
    reference: z
      .string()
      .register(OPTION_HINTS, { placeholder: 'model' })
      .optional()
      .describe('checkpoint folder, or model saved by Transformers'),
    heads: headList()
      .optional()
      .describe('heads as LAYER:HEAD, several with commas (default: all but those of mla layers and shared blocks)'),
  },
  result: {
    reference: z.union([z.number(), z.string()]),
    qkRel: z.number(),
    scoreRel: z.number(),
    heads: z.array(z.looseObject({ layer: z.number(), head: z.number(), qkRel: z.number(), scoreRel: z.number() })),
  },
  fields,
  // Reports show the way to the run's own end.
  keeps: ({ reference, heads }) => reference === undefined && heads === undefined,
  reference: (models, { reference: path }) => {
    const [first, last] = [models[0], models.at(-1)];
    if (first === undefined || last === undefined) throw new ConfigError('drift needs a model');
    if (path === undefined && last.checkpoint === null) {
      throw new ConfigError(`${last.source} is a single model; name what to compare it with (--reference)`);
    }
    const reference = path === undefined ? last : openModel(path);
    checkSameShapes(first, reference);
    return reference;
  },
  begin: ({ models, options, reference }): HostParameters => {
    const [first] = models;
    if (first === undefined || reference === null || (options.reference === undefined && models.length < 2)) {
      throw new ConfigError(`${first?.source} is a single model; name what to compare it with (--reference)`);
    }
    return reference.parameters();
  },
  measure: (model, { heads }, { shared, reference }) => ({
    reference: reference?.step ?? reference?.source ?? model.source,
    ...weightDrift(model, shared ?? model.parameters(), { heads }),
  }),
  record: (result) => result,
  print: ({ heads, reference, qkRel, scoreRel }, name) => ({
    title: `${name}, relative to ${typeof reference === 'number' ? `step ${reference}` : reference}`,
    head: ['head', 'q', 'k', 'q+k', 'scores'],
    rows: [
      ...heads.map((h) => [`${h.layer}:${h.head}`, ...[h.qRel, h.kRel, h.qkRel, h.scoreRel].map((v) => show(v))]),
      ['mean', '', '', show(qkRel), show(scoreRel)],
    ],
    right: 1,
  }),
  csv: ({ heads }, { step, tokens }) => ({
    columns: 'step tokens layer head q_l2 k_l2 q_rel_l2 k_rel_l2 qk_l2 qk_rel_l2 score_rel'.split(' '),
    rows: heads.map((h) => [
      ...[step, tokens, h.layer, h.head, h.qL2, h.kL2],
      ...[h.qRel, h.kRel, h.qkL2, h.qkRel, h.scoreRel],
    ]),
  }),
  figure: {
    form: 'heads',
    title: 'Distance of query and key weights from their end',
    axis: 'relative distance',
    heads: ({ heads }) => heads.map(({ layer, head, scoreRel: value }) => ({ layer, head, value })),
    caption: () =>
      'How far the products of query and key weights (Wq Wk^T, which positions leave out of account) are from those of the ' +
      'last checkpoint, relative to its norm.',
  },
});

function checkSameShapes(a: OpenedModel, b: OpenedModel): void {
  const other = new Map(parameterSpecs(b.config).map((p) => [p.name, p.shape.join(',')]));
  const heads = ({ config }: OpenedModel, layer: number) => {
    const plan = config.layers[layer];
    if (plan === undefined) return 'no such layer';
    const { numHeads, numKvHeads, keyDim } = headSizes(config, plan);
    return `${numHeads} query and ${numKvHeads} key heads of ${keyDim}`;
  };
  for (const { name, shape: sizes, layer } of parameterSpecs(a.config)) {
    const shape = sizes.join(',');
    if (layer === null || !name.endsWith('attn.wqkv')) continue;
    const [ours, theirs] = [heads(a, layer), heads(b, layer)];
    if (other.get(name) === shape && ours === theirs) continue;
    throw new ConfigError(
      `${a.source} and ${b.source} are different models: ${name} is [${shape}] with ${ours}, and ` +
        `[${other.get(name) ?? 'missing'}] with ${theirs}; compare checkpoints of one model`,
    );
  }
}
