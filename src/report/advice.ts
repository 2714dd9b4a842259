/** Which of a study's designs to build for a budget, and how sure that is: `longsight advise`. */
import { extrapolate, type ScalingAnalysis } from '../analysis/index.js';
import {
  at,
  ConfigError,
  DataError,
  formatBytes,
  formatCount,
  formatFactor,
  formatFlops,
  formatTokens,
  gcd,
  list,
  maxOf,
  meanOf,
  minOf,
  plural,
  significant,
  type Interval,
} from '../core/index.js';
import {
  CACHE_BYTES,
  checkContext,
  layerPeriod,
  modelCost,
  scaledModel,
  type CacheDtype,
  type ModelConfig,
} from '../model/index.js';
import { pairNumbers, type CompareOptions, type PairedNumber, type RunSummary } from '../study/index.js';
import { meansOver } from './costs.js';
import { outcomeOf } from './measured.js';
import { viewOf, type Analyzed, type Group } from './report-data.js';
import { fitStudy, type FittedMeasure } from './scaling.js';

/** What is asked. */
export interface AdviceRequest {
  /** Tokens of the sequence that the cache is for. */
  readonly context: number;
  readonly cacheDtype: CacheDtype;
  /** Bytes that the cache of one sequence may have; null for any number. */
  readonly kvBudget: number | null;
  /** Parameters of the model, embeddings included; null for the size that was measured. */
  readonly params: number | null;
  /** Training FLOPs that may be spent; null where that does not matter. */
  readonly flops: number | null;
  /** What ranks designs: how they do at long range where that was measured, or the held-out loss. */
  readonly by: 'recall' | 'loss';
}

/** One design as advice has it. */
export interface AdvisedDesign {
  readonly label: string;
  /** Finished seeds that it was measured with. */
  readonly seeds: number;
  /** The model that costs are of: the measured one, or that scaled to the parameters asked for; null for none. */
  readonly model: {
    readonly layers: number;
    readonly hiddenSize: number;
    readonly parameters: number;
    readonly nonEmbedding: number;
    /** FLOPs per token of a training step at the study's sequence length. */
    readonly trainFlops: number;
  } | null;
  /** Bytes of the cache of one sequence; null where the model cannot have one so long. */
  readonly cacheBytes: number | null;
  /** The longest sequence, in tokens, whose cache the budget holds; null without a budget, Infinity for any length. */
  readonly longest: number | null;
  /** Training tokens that the FLOPs are enough for; null where FLOPs were not asked. */
  readonly tokens: number | null;
  readonly fits: boolean;
  /** Why it does not fit, in the middle of a sentence; null where it does. */
  readonly why: string | null;
  /** What it came to, or what its law says of the size asked for; null where that is not known. */
  readonly value: number | null;
  /** 95 %: over seeds, or of the law. */
  readonly interval: Interval | null;
  /** How it compares with the first of the ranking, less the first; null for the first, and where a law ranks. */
  readonly toFirst: PairedNumber | null;
}

/** The advice that one study gives. */
export interface StudyAdvice {
  readonly title: string;
  /** The setting that was taken, of a grid; empty where there is one. */
  readonly setting: string;
  readonly measure: string;
  readonly isHighBest: boolean;
  /** Whether designs are ranked by what was measured, or by laws over size and tokens. */
  readonly basis: 'measured' | 'law';
  /** Designs that fit, best first; then those that do not. */
  readonly designs: readonly AdvisedDesign[];
  /** Whether the first is separated from the second; null where there is no second. */
  readonly separated: boolean | null;
  /** One sentence. */
  readonly answer: string;
  /** How sure that is: a sentence each. */
  readonly sureness: readonly string[];
  /** What would settle it: a sentence each. */
  readonly settle: readonly string[];
}

/** What designs are ranked by. */
interface Judged {
  readonly measure: string;
  readonly of: (run: RunSummary) => number | null;
  readonly isHighBest: boolean;
  readonly least: number;
  /** The share that guessing comes to; null where that is not known. */
  readonly chance: number | null;
  /** The measure whose law speaks of other sizes; null where none is fitted. */
  readonly law: FittedMeasure | null;
}

function judgedOf(group: Group, compare: CompareOptions, by: AdviceRequest['by']): Judged {
  const outcome = by === 'loss' ? null : outcomeOf(group.runs);
  if (outcome !== null) {
    const view = { ...viewOf(group, compare), beyond: group.beyond, chance: group.chance };
    return {
      ...{ measure: outcome.name(view), of: outcome.of, isHighBest: true, least: compare.minRecallDifference },
      chance: outcome.short === 'far recall' ? group.chance : null,
      law: outcome.short === 'far associative recall' ? 'ar' : null,
    };
  }
  return {
    ...{ measure: 'held-out loss (nats)', of: (run) => run.finalLoss, isHighBest: false },
    ...{ least: compare.minLossDifference, chance: null, law: 'loss' },
  };
}

const sizeOf = ({ runs }: Group): number => meanOf(runs.map((run) => run.parameters));

/** How far two sizes are from each other: the logarithm of their ratio. */
const away = (a: number, b: number): number => Math.abs(Math.log(a / b));

/** Sizes within this factor of the nearest one count as equally near. */
const SAME_SIZE = 1.1;

/** The setting to judge by: nearest in size, then most tokens, then the best mean of what is judged. */
function groupFor(groups: readonly Group[], { params, by }: AdviceRequest, compare: CompareOptions): Group | null {
  const all = groups.filter(({ runs }) => runs.length > 0);
  const nearest = minOf(all.map((group) => away(sizeOf(group), params ?? sizeOf(group))));
  const near =
    params === null ? all : all.filter((group) => away(sizeOf(group), params) <= nearest + Math.log(SAME_SIZE));
  const tokens = (group: Group) => meanOf(group.runs.map((run) => run.tokens));
  const most = maxOf(near.map(tokens));
  const longest = near.filter((group) => tokens(group) >= 0.99 * most);
  const score = (group: Group) => {
    const { of, isHighBest } = judgedOf(group, compare, by);
    const values = group.runs.flatMap((run) => of(run) ?? []);
    return values.length === 0 ? -Infinity : (isHighBest ? 1 : -1) * meanOf(values);
  };
  return [...longest].sort((a, b) => score(b) - score(a))[0] ?? null;
}

/** Depths of all designs are multiples of this where that is possible, so that they are as deep as one another. */
function commonStep(models: readonly ModelConfig[]): number | null {
  const step = models.map(layerPeriod).reduce((a, b) => (a / gcd(a, b)) * b, 1);
  return models.every(({ numLayers }) => numLayers % step === 0) ? step : null;
}

/** The longest sequence whose cache has at most so many bytes; Infinity where every length has. */
export function longestContext(model: ModelConfig, budget: number, dtype: CacheDtype): number {
  const fits = (tokens: number) => {
    try {
      checkContext(model, tokens);
    } catch (error) {
      if (error instanceof ConfigError) return false;
      throw error;
    }
    return modelCost(model, tokens, { cacheElementBytes: CACHE_BYTES[dtype] }).cacheBytes <= budget;
  };
  if (!fits(1)) return 0;
  if (fits(MOST_TOKENS)) return Infinity;
  let [low, high] = [1, MOST_TOKENS];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** Longer sequences are not asked for. */
const MOST_TOKENS = 1e9 - 1;

type Fit = Pick<AdvisedDesign, 'model' | 'cacheBytes' | 'longest' | 'tokens' | 'fits' | 'why'>;

/** Whether a design at the size asked for fits the budget. */
function fitOf(measured: ModelConfig, seqLen: number, step: number | null, request: AdviceRequest): Fit {
  const { context, cacheDtype, kvBudget, params, flops } = request;
  const none = { model: null, cacheBytes: null, longest: null, tokens: null, fits: false } as const;
  try {
    const model = params === null ? measured : scaledModel(measured, params, step ?? undefined);
    checkContext(model, context);
    const { cacheBytes } = modelCost(model, context, { cacheElementBytes: CACHE_BYTES[cacheDtype] });
    const { parameters, trainFlops } = modelCost(model, seqLen);
    const fits = kvBudget === null || cacheBytes <= kvBudget;
    const over = kvBudget === null ? '' : `its cache is ${formatFactor(cacheBytes / kvBudget)} the budget`;
    return {
      model: {
        ...{ layers: model.numLayers, hiddenSize: model.hiddenSize, trainFlops },
        ...{ parameters: parameters.total, nonEmbedding: parameters.nonEmbedding },
      },
      ...{ cacheBytes, fits, why: fits ? null : over },
      longest: kvBudget === null ? null : longestContext(model, kvBudget, cacheDtype),
      tokens: flops === null ? null : Math.floor(flops / trainFlops),
    };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { ...none, why: error.message };
  }
}

/** What laws say of every design at the size asked for; null where some design has none. */
function byLaws(
  analyzed: Analyzed,
  law: FittedMeasure | null,
  designs: readonly { readonly label: string; readonly fit: Fit }[],
  { params, flops }: AdviceRequest,
): ReadonlyMap<string, { readonly value: number; readonly interval: Interval | null }> | null {
  if (law === null || params === null) return null;
  const fits = fitStudy(analyzed, { form: 'no_constant', resamples: 100, profiles: false }, law);
  const laws = new Map(fits.map(({ label, result }) => [label, result] as const));
  const most = (result: ScalingAnalysis) => result.rows.reduce((n, row) => Math.max(n, row.D), 0);
  const all = designs.flatMap(({ label, fit: { model, tokens, fits: isFit } }) => {
    if (!isFit || model === null) return [];
    const result = laws.get(label);
    if (result === undefined) return [null];
    const D = flops === null || tokens === null ? most(result) : tokens;
    const [said] = extrapolate(result.fit.parameters, [{ N: model.nonEmbedding, D }], result.bootstrap ?? undefined);
    return said === undefined ? [null] : [[label, { value: said.y, interval: said.interval ?? null }] as const];
  });
  const known = all.flatMap((own) => (own === null ? [] : [own]));
  return known.length === 0 || known.length < all.length ? null : new Map(known);
}

/**
 * Which designs of a study fit a budget, in the order of what they came to, and how sure that is. Of a grid the setting
 * nearest in size is judged, of these the one with most tokens, of these the best.
 *
 * @throws DataError where no run has finished, or what is to rank designs was not measured
 */
export function adviseOn(analyzed: Analyzed, request: AdviceRequest): StudyAdvice {
  const { groups, compare, title, architectures } = analyzed.analysis;
  const group = groupFor(groups, request, compare);
  if (group === null) throw new DataError(`study ${title} has no finished run; train it first: longsight study FILE`);
  const judged = judgedOf(group, compare, request.by);
  const measured = architectures.flatMap(({ label }) => {
    const runs = group.runs.filter((run) => run.architecture === label);
    const record = runs.flatMap(({ name }) => analyzed.records.get(name) ?? [])[0];
    const values = runs.flatMap((run) => {
      const value = judged.of(run);
      return value === null ? [] : [{ design: label, seed: run.seed, value }];
    });
    return record === undefined || values.length === 0 ? [] : [{ label, record, values }];
  });
  if (measured.length === 0)
    throw new DataError(`study ${title} has no measurement of ${judged.measure}, which is to rank its designs`);
  const step = commonStep(measured.map(({ record }) => record.model));
  const designs = measured.map(({ label, record, values }) => ({
    ...{ label, record, values, fit: fitOf(record.model, record.train.seqLen, step, request) },
  }));
  const laws = byLaws(analyzed, judged.law, designs, request);
  const isHighBest = laws === null && judged.isHighBest;
  const means = meansOver(designs.map(({ values }) => values.map(({ value }) => value)));
  const sorted = designs
    .map((own, i) => ({
      ...own,
      ...(laws?.get(own.label) ?? { value: at(means, i).mean, interval: withinRange(at(means, i).interval, judged) }),
    }))
    .sort((a, b) => Number(b.fit.fits) - Number(a.fit.fits) || (isHighBest ? b.value - a.value : a.value - b.value));
  // All pairs are one family: which of them is asked about was chosen by the same values.
  const labels = sorted.map(({ label }) => label);
  const pairs = labels.flatMap((a, i) => labels.slice(i + 1).map((b) => ({ a, b })));
  const compared = pairNumbers(
    designs.flatMap(({ values }) => values),
    pairs,
    judged.least,
  );
  const advised = sorted.map(({ label, fit, values, value, interval }, i): AdvisedDesign => {
    const isKnown = laws === null || fit.fits;
    return {
      ...{ label, seeds: values.length, ...fit },
      ...(isKnown ? { value, interval } : { value: null, interval: null }),
      toFirst: i === 0 || laws !== null ? null : (compared[i - 1] ?? null),
    };
  });
  const basis = laws === null ? 'measured' : 'law';
  const fitting = advised.filter(({ fits }) => fits);
  const separated = separation(fitting, basis, isHighBest);
  const measureName = laws === null ? judged.measure : lawName(judged);
  const about = {
    group,
    request,
    basis,
    separated,
    compare,
    least: judged.least,
    chance: laws === null ? judged.chance : null,
    measure: measureName,
    missing: architectures.flatMap(({ label }) => (labels.includes(label) ? [] : [label])),
    analyzed,
  } as const;
  return {
    ...{ title, setting: groups.length > 1 ? group.title : '', basis, isHighBest, measure: measureName },
    ...{ designs: advised, separated },
    answer: answerOf(advised, about),
    sureness: surenessOf(fitting, about),
    settle: settleOf(advised, about),
  };
}

/** Shares lie from 0 to 1: an interval of one ends there, as it does in reports. */
const withinRange = (interval: Interval | null, { isHighBest }: Judged): Interval | null =>
  interval === null || !isHighBest ? interval : { low: Math.max(0, interval.low), high: Math.min(1, interval.high) };

const lawName = ({ law }: Judged): string =>
  law === 'ar' ? 'loss of far associative recall (nats per hit)' : 'held-out loss (nats)';

/** Whether the first is better than the second beyond chance. */
function separation(
  [first, second]: readonly AdvisedDesign[],
  basis: StudyAdvice['basis'],
  isHighBest: boolean,
): boolean | null {
  if (first === undefined || second === undefined) return null;
  if (basis === 'measured') return second.toFirst?.finding === (isHighBest ? 'b' : 'a');
  const [a, b] = [first.interval, second.interval];
  return a !== null && b !== null && a.high < b.low;
}

interface About {
  readonly group: Group;
  readonly request: AdviceRequest;
  readonly basis: StudyAdvice['basis'];
  readonly separated: boolean | null;
  readonly least: number;
  readonly chance: number | null;
  readonly measure: string;
  /** Designs of the study without a finished run that measured this. */
  readonly missing: readonly string[];
  readonly analyzed: Analyzed;
}

const valueText = (value: number): string => (Math.abs(value) < 1 ? value.toFixed(3) : value.toFixed(4));

const tokensText = (n: number): string => `${formatCount(n)} token${n === 1 ? '' : 's'}`;

const budgetText = ({ kvBudget, context }: AdviceRequest): string =>
  kvBudget === null ? `at ${tokensText(context)}` : `${formatBytes(kvBudget)} of cache at ${tokensText(context)}`;

function answerOf(designs: readonly AdvisedDesign[], { request, separated, measure }: About): string {
  const [first, second] = designs.filter(({ fits }) => fits);
  if (first === undefined) {
    const cheapest = designs
      .flatMap(({ label, cacheBytes }) => (cacheBytes === null ? [] : [{ label, cacheBytes }]))
      .sort((a, b) => a.cacheBytes - b.cacheBytes)[0];
    const least =
      cheapest === undefined ? '' : `; the smallest is ${cheapest.label} with ${formatBytes(cheapest.cacheBytes)}`;
    return `No design of the study fits ${budgetText(request)}${least}.`;
  }
  const led = `${first.label} ${second === undefined ? 'is the one design that fits' : 'ranks first of those that fit'} ${budgetText(request)}: ${measure} ${valueText(first.value ?? NaN)}`;
  if (second === undefined) return `${led}.`;
  const apart = separated === true ? 'and is separated from the second' : 'but is not separated from the second';
  return `${led}, ${apart}, ${second.label} (${valueText(second.value ?? NaN)}).`;
}

/** Sizes and lengths that differ by more than this factor are extrapolated. */
const SAME = 1.25;

/** Shares below this many times that of guessing are no recall to speak of. */
const GUESSING = 2;

function surenessOf(fitting: readonly AdvisedDesign[], about: About): string[] {
  // One sentence a paragraph, in the order in which readers ask: what was measured, how far off, what is missing.
  const { group, request, basis, analyzed, chance, missing } = about;
  const out: string[] = [];
  const best = fitting[0]?.value ?? null;
  if (chance !== null && best !== null && best <= GUESSING * chance)
    out.push(
      `Guessing comes to ${valueText(chance)}: no design that fits does clearly better, and their order says nothing of long range.`,
    );
  const seeds = new Set(fitting.map((own) => own.seeds));
  if (seeds.size > 0)
    out.push(
      seeds.size === 1 && fitting.length > 1
        ? `Measured with ${plural([...seeds][0] ?? 0, 'seed')} of each design that fits.`
        : `Measured with ${list(fitting.map(({ label, seeds: n }) => `${plural(n, 'seed')} of ${label}`))}.`,
    );
  const size = sizeOf(group);
  if (basis === 'law') {
    out.push(
      'The ranking is that of laws over size and tokens, extrapolated to the size asked for; their intervals are not paired over seeds.',
    );
  } else if (request.params !== null) {
    const ratio = request.params / size;
    out.push(
      Math.max(ratio, 1 / ratio) > SAME
        ? `${formatTokens(request.params)} parameters are ${formatFactor(ratio)} the ${formatTokens(size)} that were measured, and the study has no law over sizes: the ranking is of the measured size.`
        : `The ranking was measured at ${formatTokens(size)} parameters, about the size asked for.`,
    );
  }
  const lengths = group.runs.flatMap(({ name }) => analyzed.records.get(name)?.train.seqLen ?? []);
  const seqLen = lengths.reduce((a, b) => Math.max(a, b), 0);
  if (seqLen > 0 && request.context > seqLen * SAME)
    out.push(
      `${formatCount(request.context)} tokens are ${formatFactor(request.context / seqLen)} the ${formatCount(seqLen)} of a training sequence: nothing was measured farther back than that.`,
    );
  if (request.flops !== null) {
    const tokens = fitting.flatMap((own) => own.tokens ?? []);
    const trained = meanOf(group.runs.map((run) => run.tokens));
    if (tokens.length > 0)
      out.push(
        `${formatFlops(request.flops)} training FLOPs are ${formatTokens(minOf(tokens))} to ${formatTokens(maxOf(tokens))} tokens for these designs; ${basis === 'law' ? 'the laws are read there' : `the ranking is of runs of ${formatTokens(trained)}`}.`,
      );
  }
  if (missing.length > 0)
    out.push(
      `Not ranked: ${list(missing)}, of which ${analyzed.analysis.groups.length > 1 ? 'this setting' : 'the study'} has no finished run with that measurement.`,
    );
  if (group.unfinished.length > 0)
    out.push(`${plural(group.unfinished.length, 'run')} of the study not finished: left out.`);
  return out;
}

/** More seeds than this are not asked for: the difference is too small for them to matter. */
const MOST_SEEDS = 50;

function settleOf(designs: readonly AdvisedDesign[], { request, separated, least, group, basis }: About): string[] {
  const [first, second] = designs.filter(({ fits }) => fits);
  if (first === undefined && designs.every(({ cacheBytes }) => cacheBytes === null))
    return ['Ask for a size and a context that some design can have: the reasons above say what they can.'];
  if (first === undefined)
    return ['Ask for a shorter context, a larger budget or fewer parameters; or study designs with fewer full layers.'];
  // What is cheapest to find out comes first: more seeds of what is there, before a study of another size.
  const out: string[] = [];
  const compared = second?.toFirst ?? null;
  if (second !== undefined && separated !== true && compared !== null) {
    const both = `${first.label} and ${second.label}`;
    const { interval, meanDifference, values, finding } = compared;
    const half = interval === null ? null : (interval.high - interval.low) / 2;
    const gap = Math.abs(meanDifference ?? 0);
    if (finding === 'none' && half !== null && gap + half <= least) {
      const cheaper = (first.cacheBytes ?? 0) <= (second.cacheBytes ?? 0) ? first : second;
      out.push(
        `${both} differ by less than ${least}, the smallest difference of interest: take the cheaper in use, ${cheaper.label}.`,
      );
    } else if (half === null) {
      out.push(
        `More seeds of ${both}: three of each at least, as seeds of the study file; the same study command trains what is missing.`,
      );
    } else {
      const aim = Math.max(gap, least);
      const seeds = Math.ceil(values.length * (half / aim) ** 2);
      out.push(
        seeds > MOST_SEEDS
          ? `${both} scatter so much over seeds that more than ${MOST_SEEDS} of each would be needed; longer runs may tell sooner.`
          : `About ${Math.max(seeds, values.length + 1)} seeds of ${both} (${values.length} now), as seeds of the study file, if they differ by ${significant(aim)}; the same study command trains what is missing.`,
      );
    }
  }
  const size = sizeOf(group);
  const isFar = request.params !== null && Math.max(request.params / size, size / request.params) > SAME;
  if (isFar && first.model !== null && (basis === 'measured' || separated !== true)) {
    const { layers, hiddenSize, parameters } = first.model;
    const which = second === undefined ? first.label : `${first.label} and ${second.label}`;
    out.push(
      `A study of ${which} at the size asked for: ${layers} layers of width ${hiddenSize}, ${formatTokens(parameters)} parameters, the same data, three seeds.`,
    );
  }
  return out;
}
