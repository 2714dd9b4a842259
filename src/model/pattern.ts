/**
 * The short form of layer patterns, read and written.
 *
 *     pattern = token { " " token }           "3*swa:128 full:nope"
 *     token   = [ count "*" ] spec
 *     spec    = "mlp"                         an MLP alone, without a mixer
 *             | recurrent | heads [ "+" recurrent [ "@" heads ] ]   attention alone, or a recurrent mixer beside it
 *             | "shared:" heads "+" recurrent   a shared block that feeds that mixer: "shared:full+mamba2"
 *             | "mla" [ ":" windows ] { ":" flag }    multi-head latent attention of all heads, full unless windowed
 *     heads   = part { "/" part } [ counts ] { ";" setting }  heads of one layer divided between parts: "swa:8/full"
 *     counts  = "#" query [ "," kv ]          heads of this layer where they are not the model's: "swa:64#6,2"
 *     setting = "width=" channels             width of its heads where it is not the model's: "full;width=64"
 *             | "values=keys"                 values are the projection to keys
 *             | "sinks=yes" | "sinks=no"      sink logits where it is not as the model says
 *             | "bias=" distances             distances with a bias where they are not the model's: "swa:64;bias=64"
 *             | "keys=" layer                 keys and values of an earlier layer, counted from 0: "full;keys=2"
 *     recurrent = a name of the table of recurrent mixers, such as "gdn" (`mixers/table.ts`)
 *     part    = kind { ":" flag } [ "@" heads ]
 *             | recurrent [ "@" heads ]       heads of a recurrent mixer, one part of several: "full/gdn"
 *     kind    = "full" | "swa:" windows
 *             | "chunk:" tokens               only keys of the query's own chunk of so many tokens
 *     windows = window { "~" window }         several: those of training, of which a layer has the last elsewhere
 *     window  = visible keys, the query's own included, >= 1; "full" beside others for all
 *     flag    = "rope" (the default) | "nope" (no positions) | "local" (the rotary positions of `localRope`)
 *             | "rope=" share | "local=" share    only this share of each head's channels turns: "full:rope=0.25"
 *             | "theta=" base                 of the rotary wavelengths of this layer
 *             | "temp=log" | "temp=learned"   scores times s ln n, n being the keys that a query sees
 *
 * Parts without `@heads` share the layer's remaining query heads evenly.
 */
import { ConfigError, nearest, clip, last, LIMITS, append } from '../core/index.js';
import { RECURRENT, RECURRENT_MIXERS, type RecurrentMixer } from './mixers/table.js';
import {
  headCounts,
  MOST_WINDOWS,
  type AttentionPlan,
  type HeadCounts,
  type HeadGroup,
  type LayerPlan,
  type MlaPlan,
  type MlpPlan,
  type RecurrentPlan,
} from './plan.js';

/** One part of an attention layer as written in a pattern. */
export interface PatternPart {
  /** Keys that a query sees, its own included; null for full attention. */
  readonly window: number | null;
  /** The windows of training, where there are several; the last is `window`. */
  readonly windows?: readonly (number | null)[];
  /** Tokens of a chunk beyond which queries see no keys; undefined for none. */
  readonly chunk?: number;
  readonly rope: HeadGroup['rope'];
  /** The share of each head's channels that turn, between 0 and 1. */
  readonly ropeShare?: number;
  /** The base of the rotary wavelengths, a number of at least 1. */
  readonly ropeTheta?: number;
  readonly temperature?: HeadGroup['temperature'];
  /** Query heads of the part; null where the remaining heads are split evenly. */
  readonly heads: number | null;
}

/** What an attention layer may have of its own beside its heads. */
type LayerSettings = Pick<AttentionPlan, 'headDim' | 'valuesAreKeys' | 'sinks' | 'biasExtent' | 'keysOf'>;

/** Heads of a recurrent mixer beside others of one layer; null where the remaining heads are split evenly. */
interface LinearPart {
  readonly mixer: RecurrentMixer;
  readonly heads: number | null;
}

/** One attention layer as written, with the text that it came from (for messages). */
export interface AttentionPattern {
  readonly mixer: 'attention';
  readonly parts: readonly PatternPart[];
  /** Heads of the layer where they are not the model's. */
  readonly counts: Partial<HeadCounts>;
  /** What else of the layer is not as the model says. */
  readonly settings: LayerSettings;
  /** The recurrent mixer beside it; null for none. */
  readonly beside: { readonly mixer: RecurrentMixer; readonly heads?: number } | null;
  /** A recurrent mixer that some of the layer's heads have; null for none. */
  readonly linear: LinearPart | null;
  /** Whether attention is that of a shared block, which feeds the mixer beside it. */
  readonly shared: boolean;
  readonly source: string;
}

/** One layer of latent attention as written. */
export interface MlaPattern {
  readonly mixer: 'mla';
  /** Keys that a query sees, its own included; null for full attention. */
  readonly window: number | null;
  /** The windows of training, where there are several; the last is `window`. */
  readonly windows?: readonly (number | null)[];
  readonly rope: HeadGroup['rope'];
  /** The share of the rotary channels that turn, between 0 and 1. */
  readonly ropeShare?: number;
  /** The base of the rotary wavelengths, a number of at least 1. */
  readonly ropeTheta?: number;
  readonly temperature?: HeadGroup['temperature'];
}

/** One layer as written. */
export type PatternLayer = AttentionPattern | MlaPattern | MlpPlan | RecurrentPlan;

/** The word for a layer without a mixer. */
const MLP = 'mlp';
/** The word for a layer of latent attention. */
const MLA = 'mla';
/** What layers begin with that use a shared block. */
const SHARED = 'shared:';
/** Layers that are one word. */
const WHOLE = [...RECURRENT_MIXERS, MLP] as const;
const KINDS = ['full', 'swa', 'chunk', MLA, ...WHOLE] as const;
const FLAGS = ['rope', 'nope', 'local', 'theta', 'temp'] as const;
const TEMPERATURES = ['log', 'learned'] as const;
const GRAMMAR =
  'a layer is full, swa:WINDOW or chunk:TOKENS, then :nope for no positions, as in "3*swa:128 full:nope" or "swa:8/full", ' +
  `or mla for latent attention, or one of ${RECURRENT_MIXERS.join(', ')}, or mlp for an MLP alone; full+mamba2 is a pair, ` +
  'and shared:full+mamba2 a shared block that feeds a mixer';

type Fail = (why: string) => never;

/**
 * The layers of one pattern text, in order, repeats written out.
 *
 * @throws ConfigError naming the token, its place and what is allowed there
 */
export function parsePattern(text: string, where = 'layers'): PatternLayer[] {
  const tokens = text.split(/\s+/).filter((t) => t !== '');
  if (tokens.length === 0) throw new ConfigError(`${where}: the pattern is empty; ${GRAMMAR}`, { details: { text } });
  const layers: PatternLayer[] = [];
  tokens.forEach((token, i) => {
    const fail: Fail = (why) => {
      const among = tokens.length === 1 ? '' : ` (token ${i + 1} of "${clip(tokens.join(' '))}")`;
      throw new ConfigError(`${where}: "${clip(token)}"${among}: ${why}`, { details: { text, token, index: i } });
    };
    append(layers, parseToken(token, fail));
    if (layers.length > LIMITS.layers.most)
      fail(`more than ${LIMITS.layers.most} layers are too many, a model has at most that; use fewer`);
  });
  return layers;
}

function parseToken(token: string, fail: Fail): PatternLayer[] {
  const star = token.indexOf('*');
  const count = star < 0 ? 1 : wholeNumber(token.slice(0, star));
  if (count === null || count < 1 || count > LIMITS.layers.most) {
    return fail(`the repeat count before "*" must be a whole number from 1 to ${LIMITS.layers.most}, as in 3*swa:128`);
  }
  const layer = parseLayer(token.slice(star + 1), fail);
  return Array.from({ length: count }, () => layer);
}

function parseLayer(source: string, fail: Fail): PatternLayer {
  if (source === MLP) return { mixer: 'none' };
  const mixer = recurrentMixer(source);
  if (mixer !== undefined) return { mixer };
  if (/^mla([:@/+#]|$)/.test(source)) return parseLatent(source, fail);
  const shared = source.startsWith(SHARED);
  const [heads = '', other, ...more] = source.slice(shared ? SHARED.length : 0).split('+');
  if (more.length > 0) return fail('has more than one "+"; one recurrent mixer may stand beside attention');
  if (shared && other === undefined)
    return fail('a shared block feeds a recurrent mixer, which it names behind "+", as in shared:full+mamba2');
  const [counted = '', ...settings] = heads.split(';');
  const [groups = '', counts, ...again] = counted.split('#');
  if (again.length > 0) return fail('has more than one "#"; write the heads of the layer once, as in swa:64#6,2');
  const texts = groups.split('/');
  const linear = texts.length === 1 ? [] : texts.flatMap((part) => parseLinear(part, fail));
  if (linear.length > 0 && (linear.length > 1 || other !== undefined || shared || texts.length === 1))
    return fail('one recurrent mixer may stand beside attention; write it once, as in full/gdn or full+gdn');
  const attending = linear.length === 0 ? texts : texts.filter((part) => parseLinear(part, fail).length === 0);
  const parts = attending.map((part) => parsePart(part, fail));
  if (shared && counts !== undefined)
    return fail('"#" gives a layer heads of its own, and those of shared blocks are the model\'s; leave it out');
  if (shared && settings.length > 0)
    return fail('";" gives a layer settings of its own, and those of shared blocks are the model\'s; leave it out');
  const numbers = parseCounts(counts, fail);
  const layer = { mixer: 'attention', source, shared, parts, linear: linear[0] ?? null, counts: numbers } as const;
  const own = parseSettings(settings, fail);
  return { ...layer, settings: own, beside: other === undefined ? null : parseBeside(other, fail) };
}

/** `mla`, `mla:nope`, `mla:128`, `mla:128:nope`. */
function parseLatent(source: string, fail: Fail): MlaPattern {
  if (/[@/+#]/.test(source)) {
    return fail(
      `"${MLA}" is attention of all heads of a layer: it takes a window and a position flag, no heads, other parts or "+"`,
    );
  }
  const [, first, ...rest] = source.split(':');
  const windowed = first !== undefined && /^\d|~/.test(first);
  const flags = first === undefined ? [] : windowed ? rest : [first, ...rest];
  return { mixer: MLA, ...(windowed ? parseWindows(first, fail) : { window: null }), ...parseFlags(flags, fail) };
}

/** `6` or `6,2`: query heads, and key/value heads. */
function parseCounts(text: string | undefined, fail: Fail): Partial<HeadCounts> {
  if (text === undefined) return {};
  const [numHeads, numKvHeads, ...more] = text.split(',').map(wholeNumber);
  const wrong = [numHeads, numKvHeads].some((n) => n === null || (n !== undefined && n < 1));
  if (wrong || more.length > 0 || numHeads === undefined || numHeads === null) {
    return fail(
      `"#${text}" must give the query heads of the layer and perhaps its key/value heads, whole numbers >= 1, as in swa:64#6,2`,
    );
  }
  return { numHeads, ...(numKvHeads === undefined || numKvHeads === null ? {} : { numKvHeads }) };
}

/** `width=64`, `values=keys`, `sinks=no`, `bias=128`, `keys=2`, each once. */
function parseSettings(texts: readonly string[], fail: Fail): LayerSettings {
  const parsed = texts.map((text): LayerSettings => {
    const [name = '', value = ''] = text.split(/=(.*)/s);
    const count = wholeNumber(value);
    if (name === 'width' && count !== null && count >= 1) return { headDim: count };
    if (name === 'bias' && count !== null && count >= 1) return { biasExtent: count };
    if (name === 'keys' && count !== null) return { keysOf: count };
    if (name === 'values' && value === 'keys') return { valuesAreKeys: true };
    if (name === 'sinks' && (value === 'yes' || value === 'no')) return { sinks: value === 'yes' };
    return fail(
      `unknown setting ";${clip(text)}" (settings are ;width=N, ;values=keys, ;sinks=yes or no, ;bias=DISTANCES, ;keys=LAYER)`,
    );
  });
  const names = parsed.flatMap((setting) => Object.keys(setting));
  if (new Set(names).size < names.length) return fail('has a setting twice; write each once');
  return parsed.reduce<LayerSettings>((all, own) => ({ ...all, ...own }), {});
}

/** `gdn` or `gdn@2` as a part of a layer; nothing for parts that attend. */
function parseLinear(text: string, fail: Fail): LinearPart[] {
  const [name = '', heads, ...more] = text.split('@');
  const mixer = recurrentMixer(name);
  if (mixer === undefined || more.length > 0) return [];
  return [{ mixer, heads: heads === undefined ? null : parseMixerHeads(mixer, heads, fail) }];
}

function parseMixerHeads(mixer: RecurrentMixer, text: string, fail: Fail): number {
  const heads = wholeNumber(text);
  if (heads !== null && heads >= 1) return heads;
  return fail(`"${mixer}@${text}" must give a whole number of heads >= 1, as in full@2/gdn@2`);
}

function parseBeside(text: string, fail: Fail): AttentionPattern['beside'] {
  const [name = '', heads, ...more] = text.split('@');
  const mixer = more.length > 0 ? undefined : recurrentMixer(name);
  if (mixer !== undefined)
    return { mixer, ...(heads === undefined ? {} : { heads: parseMixerHeads(mixer, heads, fail) }) };
  const near = nearest(text, RECURRENT_MIXERS);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  return fail(`"${text}" behind "+" is no recurrent mixer${hint} (one of ${RECURRENT_MIXERS.join(', ')})`);
}

function recurrentMixer(text: string): RecurrentMixer | undefined {
  return RECURRENT_MIXERS.find((name) => name === text);
}

function parsePart(text: string, fail: Fail): PatternPart {
  const [spec = '', heads, ...rest] = text.split('@');
  const [kind = '', ...fields] = spec.split(':');
  if (rest.length > 0) return fail(`"${text}" has more than one "@"; write the number of heads once, as in swa:8@3`);
  const numHeads = heads === undefined ? null : wholeNumber(heads);
  if (heads !== undefined && (numHeads === null || numHeads < 1)) {
    return fail(`"@${heads}" must give a whole number of query heads >= 1, as in swa:8@3/full@1`);
  }
  switch (kind) {
    case 'full':
      return { window: null, ...parseFlags(fields, fail), heads: numHeads };
    case 'swa': {
      const [windows, ...flags] = fields;
      return { ...parseWindows(windows, fail), ...parseFlags(flags, fail), heads: numHeads };
    }
    case 'chunk': {
      const [tokens, ...flags] = fields;
      const chunk = parseChunk(tokens, fail);
      return { window: chunk, chunk, ...parseFlags(flags, fail), heads: numHeads };
    }
    default: {
      if (kind === MLA) return fail(`"${MLA}" is attention of all heads of a layer: no other part stands beside it`);
      if (WHOLE.some((name) => name === kind)) {
        const settings = kind === MLP ? '' : ` (its settings: model.${kind})`;
        return fail(`"${kind}" is a layer of its own: it takes no flags, heads or other parts${settings}`);
      }
      const near = likelyPart(text);
      const hint = near === undefined ? '' : `; did you mean "${near}"?`;
      return fail(kind === '' ? `a layer is missing; ${GRAMMAR}` : `unknown layer "${kind}"${hint} (${GRAMMAR})`);
    }
  }
}

/** The valid part that `text` was probably meant for: `swa:128` for `swa-128`, `swa128`, `sliding_window(128)`. */
function likelyPart(text: string): string | undefined {
  const whole = nearest(text, WHOLE);
  if (whole !== undefined) return whole;
  const pieces = text.match(/[a-z]+|\d+|@\d+/gi) ?? [];
  const end = pieces.findIndex((piece) => !/^[a-z]/i.test(piece));
  // The words up to the first number or flag name the kind: "sliding window" is one.
  const words = pieces.slice(0, end < 0 ? pieces.length : end);
  const spellings = words
    .map((_, i) => words.length - i)
    .flatMap((count) => {
      const kind = nearest(words.slice(0, count).join(''), KINDS);
      return kind === undefined ? [] : [[kind, ...pieces.slice(count)].join(':').replace(':@', '@')];
    });
  return spellings.find((spelling) => parses(spelling)) ?? nearest(words[0] ?? text, KINDS);
}

function parses(part: string): boolean {
  try {
    parseLayer(part, (why) => {
      throw new ConfigError(why);
    });
    return true;
  } catch (error) {
    if (error instanceof ConfigError) return false;
    throw error;
  }
}

/** `128`, or the windows of training with `~` between them, of which `full` may be one: `128~2048`, `128~full`. */
function parseWindows(text: string | undefined, fail: Fail): Pick<PatternPart, 'window' | 'windows'> {
  if (text?.includes('~') !== true) return { window: parseWindow(text, fail) };
  const windows = text.split('~').map((window) => (window === 'full' ? null : parseWindow(window, fail)));
  if (windows.length > MOST_WINDOWS)
    return fail(`${windows.length} windows of training are too many, a layer has at most ${MOST_WINDOWS}; use fewer`);
  return { window: last(windows), windows };
}

function parseWindow(text: string | undefined, fail: Fail): number {
  if (text === undefined || text === '') return fail('swa needs a window, the number of visible keys, as in swa:128');
  const window = wholeNumber(text);
  if (window === null || window < 1) {
    return fail(`window ${text} must be a whole number of visible keys >= 1 (the query's own included), as in swa:128`);
  }
  return window;
}

function parseChunk(text: string | undefined, fail: Fail): number {
  const chunk = text === undefined ? null : wholeNumber(text);
  if (chunk !== null && chunk >= 1) return chunk;
  const given = text === undefined || text === '' ? '' : `, not ${text}`;
  return fail(`chunk needs the tokens of a chunk, a whole number >= 1${given}, as in chunk:128`);
}

type Flags = Pick<PatternPart, 'rope' | 'ropeShare' | 'ropeTheta' | 'temperature'>;

function parseFlags(flags: readonly string[], fail: Fail): Flags {
  const found = new Map<string, string | undefined>();
  for (const flag of flags) {
    const [name = '', , ...more] = flag.split('=');
    const known = FLAGS.find((f) => f === name);
    if (known === undefined || more.length > 0) {
      const near = nearest(name, FLAGS);
      const hint = near === undefined ? '' : `; did you mean "${near}"?`;
      return fail(
        `unknown flag ":${flag}"${hint} (flags are :rope, the default, :nope and :local, :rope=SHARE, :theta=BASE and :temp=log or learned)`,
      );
    }
    const kind = known === 'theta' || known === 'temp' ? known : 'positions';
    if (found.has(kind)) {
      const names =
        kind === 'positions' ? 'position flag; write one of :rope, :nope and :local' : `:${kind}; write it once`;
      return fail(`has more than one ${names}`);
    }
    found.set(kind, flag);
  }
  const [positions = 'rope', share] = found.get('positions')?.split('=') ?? [];
  const rope = positions === 'local' ? 'local' : positions !== 'nope';
  const theta = numberOf(found.get('theta'));
  const temperature = temperatureOf(found.get('temp'), fail);
  if (share !== undefined && (rope === false || !(Number(share) > 0 && Number(share) < 1)))
    return fail(
      `":${positions}=${share}" must give the share of channels that turn, between 0 and 1, as in full:rope=0.25`,
    );
  if (theta !== undefined && !(theta >= 1 && theta < 1e30))
    return fail(
      `":${found.get('theta') ?? ''}" must give the base of rotary wavelengths, at least 1, as in full:theta=500000`,
    );
  if (theta !== undefined && rope === false) return fail('has no positions (:nope), whose base :theta could be');
  return {
    rope,
    ...(share === undefined ? {} : { ropeShare: Number(share) }),
    ...(theta === undefined ? {} : { ropeTheta: theta }),
    ...(temperature === undefined ? {} : { temperature }),
  };
}

/** The number behind `=` of a flag, NaN if there is none; undefined without the flag. */
function numberOf(flag: string | undefined): number | undefined {
  const text = flag?.split('=')[1];
  return flag === undefined ? undefined : Number(text === undefined || text === '' ? NaN : text);
}

function temperatureOf(flag: string | undefined, fail: Fail): Flags['temperature'] {
  if (flag === undefined) return undefined;
  const found = TEMPERATURES.find((name) => flag === `temp=${name}`);
  return (
    found ?? fail(`":${flag}" must be :temp=log, of a fixed factor, or :temp=learned, of one that each head learns`)
  );
}

function wholeNumber(text: string): number | null {
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
}

/**
 * A layer with its heads divided between its parts.
 *
 * @throws ConfigError if the parts do not use exactly `numHeads` query heads, or would divide a key/value head
 */
export function resolveLayer(layer: PatternLayer, model: HeadCounts, where = 'layers'): LayerPlan {
  if (layer.mixer === 'mla') {
    const { mixer, ...group } = layer;
    return { mixer, groups: [{ ...group, heads: model.numHeads }] };
  }
  if (layer.mixer !== 'attention') return layer;
  const fail: Fail = (why) => {
    throw new ConfigError(`${where}: "${clip(layer.source)}": ${why}`, { details: { layer: layer.source, ...model } });
  };
  const { numHeads } = { ...model, ...layer.counts };
  const [whose, their] = layer.counts.numHeads === undefined ? ['model', 'there are'] : ['layer', 'it has'];
  const all = [...layer.parts, ...(layer.linear === null ? [] : [layer.linear])];
  const given = all.reduce((n, p) => n + (p.heads ?? 0), 0);
  const open = all.filter((p) => p.heads === null).length;
  const left = numHeads - given;
  if (open === 0 && left !== 0) return fail(`its parts name ${given} query heads, but the ${whose} has ${numHeads}`);
  if (left < open) return fail(`${given} query heads are named and ${open} more parts need some; ${their} ${numHeads}`);
  if (open > 0 && left % open !== 0) {
    return fail(
      `${left} query heads do not divide evenly between ${open} parts; say how many with @, as in swa:8@3/full@1`,
    );
  }
  const groups = layer.parts.map(({ heads, ...part }) => ({ ...part, heads: heads ?? left / open }));
  const mixed = layer.linear === null ? null : { ...layer.linear, heads: layer.linear.heads ?? left / open };
  const beside = layer.beside ?? mixed;
  const shared = layer.shared ? { shared: true as const } : {};
  const counts = mixed === null ? layer.counts : sharedOut({ ...model, ...layer.counts }, mixed, fail);
  const own = { ...counts, ...layer.settings, ...(beside === null ? {} : { beside }), ...shared };
  return checkGroups({ mixer: 'attention', groups, ...own }, model, fail);
}

/** The heads of a layer that attend where a mixer has the others. */
function sharedOut(
  { numHeads, numKvHeads }: HeadCounts,
  { mixer, heads }: Required<LinearPart>,
  fail: Fail,
): HeadCounts {
  const attending = numHeads - (heads ?? 0);
  const kept = (numKvHeads * attending) / numHeads;
  if (Number.isInteger(kept)) return { numHeads: attending, numKvHeads: kept };
  return fail(
    `with ${heads} heads of ${mixer}, the other ${attending} of ${numHeads} query heads would divide the ${numKvHeads} key/value heads; ` +
      'share out the heads so that each part has whole ones',
  );
}

/**
 * `plan`, no window larger than its chunk and no count of heads that is the model's anyway, if its groups add up to the
 * heads and hold whole key/value heads, else `fail`.
 */
export function checkGroups(plan: AttentionPlan | MlaPlan, model: HeadCounts, fail: Fail): AttentionPlan | MlaPlan {
  const { numHeads, numKvHeads } = headCounts(model, plan);
  const total = plan.groups.reduce((n, g) => n + g.heads, 0);
  const whose = plan.mixer === 'attention' && plan.numHeads !== undefined ? 'layer' : 'model';
  const astray = plan.groups.find(({ windows, window, chunk }) =>
    windows === undefined ? false : chunk !== undefined || windows.at(-1) !== window,
  );
  if (astray !== undefined)
    return fail(
      astray.chunk === undefined
        ? `the last of the windows of training of a group must be its window, ${astray.window ?? 'null for all keys'}`
        : 'chunks do not move in training; leave windows out',
    );
  if (total !== numHeads) return fail(`its groups name ${total} query heads, but the ${whose} has ${numHeads}`);
  if (plan.mixer === 'attention' && plan.beside?.heads !== undefined) {
    const { mixer } = plan.beside;
    if (RECURRENT[mixer].withHeads === undefined)
      return fail(`${mixer} has no heads that a layer could share out; write it beside attention, as in full+${mixer}`);
  }
  if (plan.mixer === 'mla') {
    if (plan.groups.some((g) => g.chunk !== undefined)) return fail('latent attention has no chunks; give a window');
    return plan;
  }
  if (plan.shared === true && plan.beside === undefined)
    return fail('a shared block feeds a recurrent mixer; name it as beside, or in the pattern behind "+"');
  if (plan.shared === true && (numHeads !== model.numHeads || numKvHeads !== model.numKvHeads))
    return fail("the heads of shared blocks are the model's; leave numHeads and numKvHeads out");
  if (plan.shared === true && plan.groups.some(({ temperature }) => temperature === 'learned'))
    return fail('the heads of a shared block learn no temperature for a layer; take temp=log, or a layer of its own');
  if (numHeads % numKvHeads !== 0) {
    return fail(
      `its ${numHeads} query heads are not a multiple of its ${numKvHeads} key/value heads; give it others, as in swa:64#6,2`,
    );
  }
  const perKv = numHeads / numKvHeads;
  const broken = plan.groups.find((g) => g.heads % perKv !== 0);
  if (broken !== undefined) {
    return fail(
      `a part of ${broken.heads} query heads would divide a key/value head: ${numHeads} query heads over ` +
        `${numKvHeads} key/value heads make parts a multiple of ${perKv}`,
    );
  }
  // A chunk shows no more keys than it holds.
  const within = (group: HeadGroup): HeadGroup =>
    group.chunk === undefined ? group : { ...group, window: Math.min(group.window ?? Infinity, group.chunk) };
  const { numHeads: _own, numKvHeads: _kv, groups, ...rest } = plan;
  return {
    ...rest,
    groups: groups.map(within),
    ...(numHeads === model.numHeads ? {} : { numHeads }),
    ...(numKvHeads === model.numKvHeads ? {} : { numKvHeads }),
  };
}

function printFlag({ rope, ropeShare, ropeTheta, temperature }: HeadGroup): string {
  const name = rope === 'local' ? ':local' : rope ? ':rope' : ':nope';
  const share = ropeShare === undefined ? '' : `=${ropeShare}`;
  const positions = name === ':rope' && share === '' ? '' : name + share;
  const theta = ropeTheta === undefined ? '' : `:theta=${ropeTheta}`;
  return positions + theta + (temperature === undefined ? '' : `:temp=${temperature}`);
}

const printWindows = ({ windows }: HeadGroup): string | null =>
  windows === undefined ? null : windows.map((window) => window ?? 'full').join('~');

function printGroup(group: HeadGroup, withHeads: boolean): string {
  const { window, chunk } = group;
  const moving = printWindows(group);
  const plain = window === null ? 'full' : `swa:${window}`;
  const kind = chunk !== undefined ? `chunk:${chunk}` : moving === null ? plain : `swa:${moving}`;
  return `${kind}${printFlag(group)}${withHeads ? `@${group.heads}` : ''}`;
}

function printLatent(group: HeadGroup): string {
  const windows = printWindows(group) ?? group.window;
  return `${MLA}${windows === null ? '' : `:${windows}`}${printFlag(group)}`;
}

/** The heads of a layer where they are not the model's. */
function printCounts({ groups, numHeads, numKvHeads }: AttentionPlan): string {
  if (numHeads === undefined && numKvHeads === undefined) return '';
  const own = numHeads ?? groups.reduce((n, g) => n + g.heads, 0);
  return `#${own}${numKvHeads === undefined ? '' : `,${numKvHeads}`}`;
}

/** What the layer has of its own beside its heads. */
function printSettings({ headDim, valuesAreKeys, sinks, biasExtent, keysOf }: AttentionPlan): string {
  return [
    headDim === undefined ? '' : `;width=${headDim}`,
    valuesAreKeys === true ? ';values=keys' : '',
    sinks === undefined ? '' : `;sinks=${sinks ? 'yes' : 'no'}`,
    biasExtent === undefined ? '' : `;bias=${biasExtent}`,
    keysOf === undefined ? '' : `;keys=${keysOf}`,
  ].join('');
}

const printBeside = ({ mixer, heads }: RecurrentPlan): string => (heads === undefined ? mixer : `${mixer}@${heads}`);

/** One layer in the short form: `swa:128`, `full:nope`, `swa:8@3/full@1`, `mamba2`. */
export function printLayer(plan: LayerPlan): string {
  if (plan.mixer === 'none') return MLP;
  if (plan.mixer === 'mla') return plan.groups.map(printLatent).join('/');
  if (plan.mixer !== 'attention') return plan.mixer;
  const uneven = plan.groups.some((g) => g.heads !== plan.groups[0]?.heads);
  const heads = plan.groups.map((g) => printGroup(g, uneven)).join('/') + printCounts(plan) + printSettings(plan);
  return plan.beside === undefined
    ? heads
    : `${plan.shared === true ? SHARED : ''}${heads}+${printBeside(plan.beside)}`;
}

/**
 * All layers in the short form, runs of equal layers as `N*`; `parsePattern` and `resolveLayer` give the same plans
 * back.
 */
export function printPattern(plans: readonly LayerPlan[]): string {
  const runs: { text: string; count: number }[] = [];
  for (const text of plans.map(printLayer)) {
    const last = runs[runs.length - 1];
    if (last?.text === text) last.count += 1;
    else runs.push({ text, count: 1 });
  }
  return runs.map(({ text, count }) => (count === 1 ? text : `${count}*${text}`)).join(' ');
}

/**
 * The shortest pattern that repeats to these layers: `swa:8 full` for `swa:8 full swa:8 full`. Also a good name for a
 * design.
 */
export function printPeriod(plans: readonly LayerPlan[]): string {
  const texts = plans.map(printLayer);
  for (let period = 1; period <= texts.length / 2; period++) {
    const repeats = texts.length % period === 0 && texts.every((t, i) => t === texts[i % period]);
    if (repeats) return printPattern(plans.slice(0, period));
  }
  return printPattern(plans);
}
