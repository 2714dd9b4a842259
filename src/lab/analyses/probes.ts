/** `longsight probe`: layer by layer, what the last token knows of the needle. */
import { z } from 'zod';
import { extractFeatures, PROBE_KINDS, probeLayers, probeSample, type ProbeSample } from '../../analysis/index.js';
import { at, ConfigError, field, Rng, significant } from '../../core/index.js';
import { needleSamples } from '../../eval/index.js';
import { count } from '../analysis-options.js';
import { defineAnalysis, show } from '../analysis.js';
import { FAR_DEPTHS, needlePlan } from '../needles.js';
import type { OpenedModel } from '../open-model.js';
import { format, layerIndex } from './described.js';

/**
 * The study's candidates: eight runs of digits that differ from the first digit on, and eight that differ in the
 * last.
 */
const CANDIDATES = {
  easy: ['1234567', '2345678', '3456789', '4567890', '5678901', '6789012', '7890123', '8901234'],
  hard: ['31415920', '31415921', '31415922', '31415923', '31415924', '31415925', '31415926', '31415927'],
} as const;

const options = {
  kind: z
    .enum(PROBE_KINDS)
    .optional()
    .describe(`${PROBE_KINDS.join(', ')} (default: both)`),
  classes: count().default(4).describe('values to tell apart, 2 to 8 for text'),
  samples: count().default(800).describe('needle samples'),
  length: count().optional().describe('tokens of a sample (default: that of training)'),
  difficulty: z.enum(['easy', 'hard']).default('easy').describe('easy or hard numbers, for text'),
  seed: z.int().min(0).default(0).describe('seed of classes and split'),
};

type ProbeOptions = z.output<z.ZodObject<typeof options>>;

const share = z.looseObject({ accuracy: z.number(), low: z.number(), high: z.number() });

const probeScore = z.object({
  accuracy: field(z.number(), 'test samples whose class is the likeliest', 'share'),
  correct: field(z.number(), 'test samples whose class is the likeliest', 'samples'),
  tested: field(z.number(), 'test samples', 'samples'),
  low: field(z.number(), 'lower end of the 95 % interval of `accuracy` (Wilson)', 'share'),
  high: field(z.number(), 'its upper end', 'share'),
});

const fields = z.object({
  probes: field(
    z.array(
      z.object({
        format,
        kind: field(z.enum(PROBE_KINDS), '`residual`: the state after a layer; `delta`: what the layer added'),
        classes: field(z.number(), 'values to tell apart', 'classes'),
        samples: field(z.number(), 'needle samples, of which a fifth tests', 'samples'),
        chance: field(z.number(), 'accuracy of guessing: one over `classes`', 'share'),
        embedding: field(probeScore.nullable(), 'the probe of the embedding alone; null of `delta`'),
        layers: field(z.array(z.object({ ...layerIndex, ...probeScore.shape })), 'the probe of each layer'),
        best: field(z.number(), 'the layer with the highest accuracy, the first of equals'),
      }),
    ),
    'a probe of each kind; `--json` prints one a line',
  ),
});

/** Accuracy of linear probes for the value of the needle, layer by layer. */
export const probes = defineAnalysis({
  command: 'probe',
  summary: 'layer by layer, what the last token knows of the needle',
  description:
    "Reads the needle's value, one of a few, from the state of the last token after each layer (residual) or from what " +
    'the layer added (delta), with logistic regression; accuracy on held-out samples with 95 % intervals.',
  question: 'from which layer on does the last token know the needle?',
  needs: 'needles',
  checkpoints: { command: 'newest', analyze: 'last' },
  options,
  result: {
    probes: z.array(
      z.looseObject({
        ...{ kind: z.string(), chance: z.number(), classes: z.number(), embedding: share.nullable() },
        layers: z.array(share.extend({ layer: z.number(), label: z.string() })),
      }),
    ),
  },
  fields,
  measure: async (model, chosen) => {
    const features = await extractFeatures(model, probeSamples(model, chosen));
    const kinds = chosen.kind === undefined ? PROBE_KINDS : [chosen.kind];
    return { probes: kinds.map((kind) => probeLayers(features, model.config, kind, { seed: chosen.seed })) };
  },
  record: (result) => result,
  print: ({ probes: found }, name) =>
    found.map((probe) => ({
      title: `${name}, ${probe.kind}, ${probe.classes} classes (chance ${show(probe.chance)})`,
      head: ['layer', 'kind', 'accuracy', 'interval'],
      rows: [
        ...(probe.embedding === null ? [] : [['-', 'embedding', show(probe.embedding.accuracy), '']]),
        ...probe.layers.map((l) => [
          ...[String(l.layer), l.label, show(l.accuracy), `${show(l.low)} to ${show(l.high)}`],
        ]),
      ],
      right: 2,
      value: probe,
    })),
  csv: ({ probes: found }, { step }) => ({
    columns: ['step', 'kind', 'layer', 'label', 'accuracy', 'low', 'high', 'tested'],
    rows: found.flatMap(({ kind, layers }) =>
      layers.map((l) => [step, kind, l.layer, l.label, l.accuracy, l.low, l.high, l.tested]),
    ),
  }),
  figure: {
    form: 'layers',
    title: 'From which layer on the last token knows the needle',
    axis: 'accuracy',
    panels: [
      ['residual', 'State after the layer'],
      ['delta', 'What the layer added'],
    ],
    lines: ({ probes: found }) => found.map(({ kind, chance, layers }) => ({ panel: kind, chance, layers })),
    caption: ({ probes: found }) =>
      'Share of held-out samples whose needle a linear probe reads from the state of the last token, one line a seed, with 95 % ' +
      `intervals. Filled marks: layers with full attention; hollow: efficient layers. Dotted: guessing (${significant(found[0]?.chance ?? 0)}).`,
  },
});

/** Needle samples whose value is one of a few, and which one it is. */
function probeSamples(model: OpenedModel, chosen: ProbeOptions): ProbeSample[] {
  const { classes } = chosen;
  const { task, length } = needlePlan(model, chosen.length);
  const rng = Rng.of(chosen.seed, 'probe', 'classes');
  const labels = Array.from({ length: chosen.samples }, () => rng.int(classes));
  const draw = { label: 'probe', length, depths: FAR_DEPTHS, count: chosen.samples };
  if (task.task === 'recall') {
    const source = model.run?.run.data.find((s) => s.kind === 'recall');
    const [first, values] = source?.kind === 'recall' ? [source.numKeys, source.numValues] : [0, 0];
    if (classes < 2 || classes > values) {
      throw new ConfigError(
        `the classes (--classes) must be 2 to ${values}, the values of the recall task, got ${classes}`,
      );
    }
    const candidates = Array.from({ length: classes }, (_, k) => [first + k]);
    return needleSamples(task, draw).map((s, i) => probeSample(s, candidates, at(labels, i)));
  }
  const texts = CANDIDATES[chosen.difficulty];
  if (classes < 2 || classes > texts.length) {
    throw new ConfigError(`the classes (--classes) must be 2 to ${texts.length}, got ${classes}`);
  }
  const textOf = (i: number): string => at(texts, at(labels, i));
  return needleSamples(task, { ...draw, textOf }).map((s, i) => ({
    ...{ tokens: s.tokens, position: s.queryPosition, label: at(labels, i) },
  }));
}
