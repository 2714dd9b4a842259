/** `longsight place`: which layers need full attention, by what a trained model loses without it. */
import { z } from 'zod';
import { fullLayers, learnGates, limitReach, mostOpen, type LayerGate } from '../../analysis/index.js';
import { ConfigError, field, present, Rng, textTable, type CsvCell } from '../../core/index.js';
import { parsePattern, printLayer, printPattern, resolveLayer, type ModelConfig } from '../../model/index.js';
import { count, OPTION_HINTS } from '../analysis-options.js';
import { defineAnalysis, show, type AnalysisContext, type Printed } from '../analysis.js';
import { farBins } from '../measures/series.js';
import type { OpenedModel } from '../open-model.js';
import { STAGE_KEYS } from '../settings-in-effect.js';
import { toYaml } from '../yaml-file.js';
import { gateBatches } from './gate-batches.js';
import { limitedModel, limitedOptions, measureAsked, type Left } from './limited-model.js';

/** What a placement is judged by, each with its name for people and whether more of it is better. */
const SCORES = {
  recall: { name: 'far recall', best: 'high' },
  ar: { name: 'loss of far associative recall', best: 'low' },
  needle: { name: 'needle accuracy', best: 'high' },
  loss: { name: 'loss', best: 'low' },
} as const;

type ScoreName = keyof typeof SCORES;

/** Full layers at some places, the others limited, and what is left of the model. */
interface Placement {
  /** `placed` by limits, `gated` by gates, `even`, `first`, `last`, or `random-N`. */
  readonly name: string;
  /** The layers with full attention, counted from 0, ascending. */
  readonly layers: readonly number[];
  readonly value: number;
}

/** How layers are chosen: by limits one after another, by gates that are learned together, or by each. */
const METHODS = ['limits', 'gates', 'both'] as const;
type Method = (typeof METHODS)[number];

/** Which full layers a model needs most. */
export interface Placements {
  /** How layers were chosen. */
  readonly by: Method;
  /** What placements are judged by. */
  readonly score: ScoreName;
  /** Visible keys of layers that are limited, the query's own included. */
  readonly keys: number;
  /** The score of the model as it is. */
  readonly whole: number;
  /** The score where one layer alone is limited. */
  readonly alone: readonly { readonly layer: number; readonly value: number }[];
  /** Layers in the order in which they were limited for good, each the one that cost least then, and what was left. */
  readonly order: readonly { readonly layer: number; readonly value: number }[];
  /** The gates of full layers, learned together; null where limits alone were asked for. */
  readonly gates: readonly LayerGate[] | null;
  readonly placements: readonly Placement[];
}

/** Placements that are chosen by measurement, and what their layers had in common. */
const MEASURED: Readonly<Record<string, string>> = {
  placed: 'A model with more full layers lost least when',
  gated: 'Gates that a model with more full layers learned stayed open at',
};

const value = field(z.number(), 'the score then', 'that of `score`');
const layer = field(z.number(), 'number of the layer, from 0');
const fields = z.object({
  by: field(z.enum(METHODS), 'how layers were chosen: by limits, by gates, or by each'),
  score: field(
    z.enum(['recall', 'ar', 'needle', 'loss']),
    'what placements are judged by: far recall (probability), loss of far associative recall (nats per token), needle accuracy (share), loss ' +
      '(nats per token)',
  ),
  keys: field(z.number(), 'what limited layers see, the own token included', 'keys'),
  whole: field(z.number(), 'the score of the model as it is', 'that of `score`'),
  alone: field(z.array(z.object({ layer, value })), 'each layer limited alone; empty where gates alone were asked for'),
  order: field(
    z.array(z.object({ layer, value })),
    'layers in the order in which they were limited for good; empty where gates alone were asked for',
  ),
  gates: field(
    z
      .array(
        z.object({
          layer,
          gate: field(z.number(), 'how much of its full attention is taken, beside the branch of few keys', 'share'),
        }),
      )
      .nullable(),
    'gates of full layers, learned together; null where limits alone were asked for',
  ),
  placements: field(
    z.array(
      z.object({
        name: field(z.string(), '`placed` by limits, `gated` by gates, `even`, `first`, `last`, or `random-N`'),
        layers: field(z.array(z.number()), 'layers with full attention, from 0, ascending'),
        value,
      }),
    ),
    'full attention at some layers, the others limited',
  ),
});

/** Batches that gates are learned on where nobody says. */
const GATE_STEPS = 100;

const options = {
  full: count().describe('how many full layers to keep'),
  keys: count().default(128).describe('visible keys of the layers that do not keep it'),
  by: z
    .enum(METHODS)
    .default('limits')
    .describe('choose layers by limiting one after another, by gates that are learned together, or by both'),
  gateSteps: count().optional().describe(`batches of training data that gates are learned on (default: ${GATE_STEPS})`),
  random: z.int().min(0).max(1000).default(2).describe('random placements to compare with'),
  out: z
    .string()
    .register(OPTION_HINTS, { placeholder: 'file', identity: () => null })
    .optional()
    .describe('write a study file that trains these placements beside one another'),
  others: z
    .string()
    .register(OPTION_HINTS, { placeholder: 'layer', identity: () => null })
    .optional()
    .describe('the other layers in that study, such as gdn (default: swa:KEYS)'),
  seeds: z.array(count()).default([1, 2, 3]).describe('seeds of that study'),
  ...limitedOptions,
};

type PlaceOptions = z.output<z.ZodObject<typeof options>>;

/** Full layers chosen by elimination, next to the usual places. */
export const placement = defineAnalysis({
  command: 'place',
  summary: 'which layers need full attention: limit them one after another, or learn gates',
  description:
    'Takes a trained model with full attention in more layers than wanted, limits the one layer to --keys whose limit ' +
    'costs least, then the next, until --full are left, the weights as they are. --by gates gives each full layer a second ' +
    'branch of --keys keys instead, and trains the gates between the two together, with the weights frozen, on ' +
    '--gate-steps batches of the training data (of --texts, where named); the layers whose gates stay the most open ' +
    'are chosen. Judged by far recall, the loss of far associative recall, needle accuracy or the loss, the first of them ' +
    'that was measured. Placements that are evenly spread, first, last and random are measured beside it; --out writes a ' +
    'study that trains them all.',
  question: 'which layers need full attention?',
  needs: 'text',
  reads: ['eval', ...STAGE_KEYS],
  checkpoints: { command: 'newest', analyze: 'none' },
  options,
  result: {
    by: z.enum(METHODS).default('limits'),
    score: z.enum(['recall', 'ar', 'needle', 'loss']),
    keys: z.number(),
    whole: z.number(),
    alone: z.array(z.looseObject({ layer: z.number(), value: z.number() })),
    order: z.array(z.looseObject({ layer: z.number(), value: z.number() })),
    gates: z
      .array(z.looseObject({ layer: z.number(), gate: z.number() }))
      .nullable()
      .default(null),
    placements: z.array(z.looseObject({ name: z.string(), layers: z.array(z.number()), value: z.number() })),
  },
  fields,
  resolve: (model, given) => ({ ...given, measure: measureAsked(model, given) }),
  measure: async (model, chosen, { context }): Promise<Placements> => {
    const candidates = candidatesOf(model.config, chosen.full);
    if (chosen.by === 'limits' && chosen.gateSteps !== undefined)
      throw new ConfigError(
        'batches of gates (--gate-steps) are for layers that gates choose (--by gates, or both); leave them out',
      );
    checkStudy(model, chosen);
    using limited = await limitedModel(model, { ...chosen, label: 'place' });
    const lookAt = async (layers: readonly number[]): Promise<Left> => {
      context.signal?.throwIfAborted();
      return limited.measure(
        layers.length === 0 ? model.config : limitReach(model.config, 'full', chosen.keys, layers),
      );
    };
    const whole = await lookAt([]);
    const score = scoreOf(whole, chosen.keys);
    checkKeys(chosen.keys, limited.longest);
    const valueAt = async (layers: readonly number[]) => valueOf(await lookAt(layers), score, chosen.keys);
    const note = (text: string) => context.note?.(text);
    const byLimits =
      chosen.by === 'gates'
        ? null
        : await eliminate(candidates, chosen.full, { lookAt, score, keys: chosen.keys }, note);
    const gates = chosen.by === 'limits' ? null : await gatesOf(model, chosen, context);
    const gone = byLimits?.order.map(({ layer }) => layer) ?? [];
    const placements: Placement[] = [];
    for (const { name, layers } of [
      ...(byLimits === null ? [] : [{ name: 'placed', layers: candidates.filter((layer) => !gone.includes(layer)) }]),
      ...(gates === null ? [] : [{ name: 'gated', layers: mostOpen(gates, chosen.full) }]),
      ...usualPlaces(candidates, chosen),
    ]) {
      const value = await valueAt(candidates.filter((layer) => !layers.includes(layer)));
      placements.push({ name, layers, value });
    }
    if (limited.problem !== null) context.note?.(`needles not measured: ${limited.problem}`);
    const { alone, order } = byLimits ?? { alone: [], order: [] };
    const { by, keys } = chosen;
    return { by, score, keys, whole: valueOf(whole, score, keys), alone, order, gates, placements };
  },
  writes: ({ placements }, model, chosen) =>
    chosen.out === undefined ? [] : [{ path: chosen.out, text: studyOf(model, placements, chosen) }],
  record: (result) => result,
  print: placementTable,
  csv: ({ placements, whole, order, alone, gates }) => ({
    columns: ['what', 'layers', 'value'],
    rows: [
      ['whole', '', whole],
      ...alone.map(({ layer, value }): CsvCell[] => ['alone', layer, value]),
      ...order.map(({ layer, value }): CsvCell[] => ['order', layer, value]),
      ...(gates ?? []).map(({ layer, gate }): CsvCell[] => ['gate', layer, gate]),
      ...placements.map(({ name, layers, value }): CsvCell[] => [name, layers.join(' '), value]),
    ],
  }),
  figure: [
    {
      form: 'bars',
      title: 'Placement: which full layers are needed',
      open: ['loss of far associative recall', 'loss'],
      bars: ({ score, whole, alone, placements }) => {
        const { name: what } = SCORES[score];
        return [
          { name: 'nothing limited', value: whole, what },
          ...alone.map(({ layer, value }) => ({ name: `layer ${layer} limited`, value, what })),
          ...placements.map(({ name, layers, value }) => ({
            name: `${name}: full at ${layers.join(' ')}`,
            value,
            what,
          })),
        ];
      },
      caption: (what) =>
        `What is left of the model, by ${what}, when one full layer alone, or all but a few, see only a few keys, the weights as ` +
        'they are. Layers are counted from 0. Bars: mean over seeds; marks: each seed.',
    },
    {
      form: 'bars',
      title: 'Gates: which full layers stay open',
      open: [],
      bars: ({ gates }) =>
        (gates ?? []).map(({ layer, gate }) => ({ name: `layer ${layer}`, value: gate, what: 'gate' })),
      caption: () =>
        'How much of its full attention each full layer keeps, beside a branch that sees a few keys, where the gates between the two ' +
        'are learned together, the weights as they are, and their sum is the number of full layers that is asked for: 1 for full attention ' +
        'alone, 0 for the branch alone. Layers are counted from 0. Bars: mean over seeds; marks: each seed.',
    },
  ],
});

/** The layers that may keep full attention. Throws `ConfigError` unless there are more than are wanted. */
function candidatesOf(config: ModelConfig, full: number): number[] {
  const layers = fullLayers(config);
  if (layers.length > full) return layers;
  throw new ConfigError(
    layers.length === 0
      ? 'the model has no full layer to place; train one with full attention in every layer that may keep it'
      : `the model has ${layers.length} full layer${layers.length === 1 ? '' : 's'}, and --full ${full} keeps all; ` +
          'ask for fewer, or train a model with more',
  );
}

/** Throws `ConfigError` where so many keys hide nothing of the longest sequence that is measured. */
function checkKeys(keys: number, longest: number): void {
  if (keys < longest) return;
  throw new ConfigError(
    `layers that see ${keys} keys see all of the ${longest} tokens at most that are measured, so that no limit would ` +
      'cost anything; name fewer keys (--keys)',
  );
}

/** Throws `ConfigError` where no study can be written of what is asked. */
function checkStudy(model: OpenedModel, { out, others, keys }: PlaceOptions): void {
  if (out === undefined) {
    if (others !== undefined)
      throw new ConfigError('other layers (--others) are of the study that is written; name its file (--out)');
    return;
  }
  if (model.run === null) {
    throw new ConfigError(
      'a study (--out) is written of the configuration of a run; the model belongs to none, leave it out',
    );
  }
  otherLayer(model.config, others ?? `swa:${keys}`);
}

/** The layer that stands where full attention is not kept, as a pattern. */
function otherLayer(config: ModelConfig, text: string): string {
  const [layer, ...more] = parsePattern(text, '--others');
  if (layer === undefined || more.length > 0)
    throw new ConfigError(`other layers ${text} (--others): write one layer, such as swa:128`);
  return printLayer(resolveLayer(layer, config, '--others'));
}

/** The first score that was measured and has something to lose: far recall, associative recall, needles, the loss. */
function scoreOf(left: Left, keys: number): ScoreName {
  // A model that finds no needle has none to lose.
  const found = (['recall', 'ar', 'needle', 'loss'] as const).find((name) => (scored(left, name, keys) ?? 0) !== 0);
  if (found === undefined) throw new ConfigError('nothing was measured to judge placements by; name texts (--texts)');
  return found;
}

function valueOf(left: Left, score: ScoreName, keys: number): number {
  return present(scored(left, score, keys));
}

function scored(left: Left, score: ScoreName, keys: number): number | null {
  switch (score) {
    case 'recall': {
      const known = farBins(left.recall, keys).bins.map(({ from }) => left.recall.find((bin) => bin.from === from));
      const values = known.flatMap((bin) => bin?.probability ?? []);
      return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
    }
    case 'ar':
      return left.ar?.loss ?? null;
    case 'needle':
      return left.needleAccuracy;
    case 'loss':
      return left.loss;
  }
}

/** How much worse a score is; equal scores are told apart by the loss. */
function isWorse(a: Left, b: Left, { score, keys }: { readonly score: ScoreName; readonly keys: number }): boolean {
  const [x, y] = [valueOf(a, score, keys), valueOf(b, score, keys)];
  if (x !== y) return SCORES[score].best === 'high' ? x < y : x > y;
  return (a.loss ?? 0) > (b.loss ?? 0);
}

/** Limits the layer that costs least, again and again. */
async function eliminate(
  candidates: readonly number[],
  full: number,
  by: { lookAt: (layers: readonly number[]) => Promise<Left>; readonly score: ScoreName; readonly keys: number },
  note: (text: string) => void,
): Promise<Pick<Placements, 'alone' | 'order'>> {
  const alone: { layer: number; value: number }[] = [];
  const order: { layer: number; value: number }[] = [];
  let kept = [...candidates];
  while (kept.length > full) {
    const gone = order.map(({ layer }) => layer);
    let best: { layer: number; left: Left } | null = null;
    for (const layer of kept) {
      const left = await by.lookAt([...gone, layer]);
      if (gone.length === 0) alone.push({ layer, value: valueOf(left, by.score, by.keys) });
      if (best === null || isWorse(best.left, left, by)) best = { layer, left };
    }
    if (best === null) break;
    const { layer, left } = best;
    kept = kept.filter((l) => l !== layer);
    order.push({ layer, value: valueOf(left, by.score, by.keys) });
    note(
      `layer ${layer} limited (${order.length} of ${candidates.length - full}): ${SCORES[by.score].name} ${show(order.at(-1)?.value)}`,
    );
  }
  return { alone, order };
}

/** The gates of the full layers of a model, learned on its training data or on the texts that are named. */
async function gatesOf(
  model: OpenedModel,
  { full, keys, gateSteps = GATE_STEPS, ...chosen }: PlaceOptions,
  context: AnalysisContext,
): Promise<readonly LayerGate[]> {
  using batches = gateBatches(model, chosen);
  const tenth = Math.max(1, Math.floor(gateSteps / 10));
  const { gates } = await learnGates(model, () => batches.next(), {
    ...{ full, keys, steps: gateSteps },
    stepDone: (steps, loss) => {
      context.signal?.throwIfAborted();
      if (steps % tenth === 0) context.note?.(`gates: step ${steps} of ${gateSteps}, loss ${show(loss)}`);
    },
  });
  return gates;
}

/** The places that are usual: spread evenly, the first, the last, and drawn at random; no two of the same layers. */
function usualPlaces(
  candidates: readonly number[],
  { full, random }: Pick<PlaceOptions, 'full' | 'random'>,
): Pick<Placement, 'name' | 'layers'>[] {
  const n = candidates.length;
  const even = Array.from({ length: full }, (_, i) => Math.floor(((i + 1) * n) / full) - 1);
  const places = [
    { name: 'even', layers: candidates.filter((_, i) => even.includes(i)) },
    { name: 'first', layers: candidates.slice(0, full) },
    { name: 'last', layers: candidates.slice(n - full) },
  ];
  const rng = Rng.of(0, 'placement');
  for (let draw = 0; draw < 50 * random && places.length < 3 + random; draw++) {
    const left = [...candidates];
    const drawn = Array.from({ length: full }, () => left.splice(rng.int(left.length), 1)).flat();
    const layers = drawn.sort((a, b) => a - b);
    if (places.every((place) => place.layers.join() !== layers.join()))
      places.push({ name: `random-${places.length - 2}`, layers });
  }
  return places;
}

/** A study file that trains every placement; equal ones once, under the first of their names. */
function studyOf(model: OpenedModel, placements: readonly Placement[], chosen: PlaceOptions): string {
  const { config, run } = model;
  const other = otherLayer(config, chosen.others ?? `swa:${chosen.keys}`);
  const candidates = new Set(fullLayers(config));
  const architectures = new Map<string, string>();
  for (const { name, layers } of placements) {
    const pattern = config.layers
      .map((plan, layer) => (candidates.has(layer) && !layers.includes(layer) ? other : printLayer(plan)))
      .join(' ');
    if (![...architectures.values()].includes(pattern)) architectures.set(name, pattern);
  }
  const names = [...architectures.keys()];
  // What was chosen by measurement is compared with the usual places, and one choice with the other.
  const measured = names.filter((name) => name in MEASURED);
  const usual = names.filter((name) => !(name in MEASURED));
  const pairs = measured.flatMap((name, i) => [...measured.slice(i + 1), ...usual].map((other) => [name, other]));
  const { name: _, ...base } = run?.run ?? {};
  return toYaml({
    name: 'placement',
    title: chosen.full === 1 ? 'Where one full layer stands' : `Where ${chosen.full} full layers stand`,
    question:
      placements.map((place) => foundText(place)).join('') +
      'Trained from the start, is a hybrid with full layers there better than with as many elsewhere?',
    base: { ...base, model: { ...config, layers: printPattern(config.layers) } },
    architectures: Object.fromEntries(architectures),
    seeds: chosen.seeds,
    compare: { pairs },
  });
}

/** What a measured placement says, as a sentence; empty for the usual places. */
function foundText({ name, layers }: Placement): string {
  const found = MEASURED[name];
  return found === undefined
    ? ''
    : `${found} ${layersText(layers)}${name === 'placed' ? ' kept full attention' : ''}. `;
}

const layersText = (layers: readonly number[]): string =>
  `layer${layers.length === 1 ? '' : 's'} ${layers.join(' and ')} (counted from 0)`;

/** What people read: the placements, and how each layer did. */
function placementTable(found: Placements, name: string): Printed {
  const { score, keys, whole, placements } = found;
  const what = SCORES[score].name;
  const { head, body } = layerTable(found);
  return {
    title: `${name}: ${what} ${show(whole, 4)} as it is; with full attention in a few layers, ${keys} keys in the others:`,
    head: ['placement', 'full layers', what],
    rows: placements.map((p) => [p.name, p.layers.join(' '), show(p.value, 4)]),
    right: 2,
    remark:
      `By layer, counted from 0: ${layerWords(found)}:\n${textTable([head, ...body], new Set(head.keys()))}\n` +
      'This is what the weights of this model need, which is not where a hybrid learns best; --out FILE writes a study that trains these placements.',
  };
}

/** How each full layer did: its gate, and what its limits cost, as far as they were measured. */
function layerTable({ alone, order, gates }: Placements): { readonly head: string[]; readonly body: string[][] } {
  const layers = (gates ?? alone).map(({ layer }) => layer);
  const limits = alone.length === 0 ? [] : ['limited alone', 'turn', 'left then'];
  const body = layers.map((layer) => {
    const gate = gates?.find((own) => own.layer === layer)?.gate;
    const turn = order.findIndex((round) => round.layer === layer);
    const cost = alone.find((own) => own.layer === layer)?.value;
    const limited = [show(cost, 4), turn < 0 ? 'kept' : String(turn + 1), show(order[turn]?.value, 4)];
    return [String(layer), ...(gates === null ? [] : [show(gate, 3)]), ...(alone.length === 0 ? [] : limited)];
  });
  return { head: ['layer', ...(gates === null ? [] : ['gate']), ...limits], body };
}

const layerWords = ({ alone, gates }: Placements): string =>
  [
    ...(gates === null ? [] : ['its gate, 1 for full attention alone']),
    ...(alone.length === 0 ? [] : ['limited alone, and the turn in which it was limited for good']),
  ].join('; ');
