import { describe, expect, it } from 'vitest';
import { ConfigError, Rng } from '../core/index.js';
import { parsePattern, printLayer, printPattern, printPeriod, resolveLayer } from './pattern.js';
import { headCounts, headGroups, type HeadGroup, type LayerPlan } from './plan.js';

const COUNTS = { numHeads: 4, numKvHeads: 4 };

function resolve(text: string, counts = COUNTS): LayerPlan[] {
  return parsePattern(text).map((layer) => resolveLayer(layer, counts));
}

function group(window: number | null, heads: number, rope = true): HeadGroup {
  return { window, heads, rope };
}

function messageOf(text: string, counts = COUNTS): string {
  try {
    resolve(text, counts);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  return expect.unreachable(`"${text}" should not parse`);
}

/** A random stack of layers; heads come in steps of `perKv`. */
function randomPlans(rng: Rng, numHeads: number, perKv: number): LayerPlan[] {
  return Array.from({ length: 1 + rng.int(7) }, () => {
    const groups: HeadGroup[] = [];
    for (let left = numHeads / perKv; left > 0;) {
      const take = rng.int(2) === 0 ? left : 1 + rng.int(left);
      groups.push(group(rng.int(2) === 0 ? null : 1 + rng.int(300), take * perKv, rng.int(2) === 0));
      left -= take;
    }
    return { mixer: 'attention', groups };
  });
}

describe('layer patterns', () => {
  it('reads windows, position flags, repeats and head-wise mixes', () => {
    expect(resolve('swa:8 full')).toEqual([
      { mixer: 'attention', groups: [group(8, 4)] },
      { mixer: 'attention', groups: [group(null, 4)] },
    ]);
    expect(resolve(' 3*swa:128:rope   full:nope ').map(headGroups)).toEqual([
      [group(128, 4)],
      [group(128, 4)],
      [group(128, 4)],
      [group(null, 4, false)],
    ]);
    expect(resolve('swa:8/full').map(headGroups)[0]).toEqual([group(8, 2), group(null, 2)]);
    expect(resolve('swa:8@3/full:nope@1').map(headGroups)[0]).toEqual([group(8, 3), group(null, 1, false)]);
    expect(resolve('swa:8@2/swa:9/full').map(headGroups)[0]).toEqual([group(8, 2), group(9, 1), group(null, 1)]);
  });

  it('reads and prints chunks, whose window is their length', () => {
    const chunk = { window: 8, chunk: 8, rope: false };
    expect(resolve('chunk:8:nope').map(headGroups)).toEqual([[{ ...chunk, heads: 4 }]]);
    expect(printPattern(resolve('3*chunk:8 full:nope chunk:4/swa:8'))).toBe('3*chunk:8 full:nope chunk:4/swa:8');
    expect(messageOf('chunk')).toContain(
      '"chunk": chunk needs the tokens of a chunk, a whole number >= 1, as in chunk:128',
    );
    expect(messageOf('chunk:0')).toContain('a whole number >= 1, not 0, as in chunk:128');
  });

  it('reads and prints windows that move in training, of which the last is that of the layer', () => {
    expect(resolve('swa:128~2048 full:nope').map(headGroups)[0]).toEqual([{ ...group(2048, 4), windows: [128, 2048] }]);
    const text = 'swa:8~16~32:nope swa:8~full/swa:4 mla:4~8:nope mla:full~8 mla:8~full swa:full~8';
    expect(printPattern(resolve(text))).toBe(text);
    expect(resolve('swa:8~full').map(headGroups)[0]).toEqual([{ ...group(null, 4), windows: [8, null] }]);
    expect(messageOf('swa:8~0')).toContain('window 0 must be a whole number of visible keys >= 1');
    expect(messageOf('swa:8~')).toContain('swa needs a window');
    expect(messageOf(`swa:${Array.from({ length: 17 }, (_, i) => i + 1).join('~')}`)).toContain('at most 16');
    expect(messageOf('chunk:8~16')).toContain('a whole number >= 1, not 8~16');
  });

  it('reads and prints shares of channels that turn, bases and temperatures', () => {
    const text =
      'full:rope=0.25:theta=500000 swa:8:nope:temp=log full:temp=learned swa:8:local=0.5/full:theta=100 mla:nope:temp=log';
    expect(printPattern(resolve(text))).toBe(text);
    expect(resolve('full:temp=log:rope=0.5').map(headGroups)[0]).toEqual([
      { ...group(null, 4), ropeShare: 0.5, temperature: 'log' },
    ]);
    expect(messageOf('full:rope=1.5')).toContain('share of channels that turn, between 0 and 1, as in full:rope=0.25');
    expect(messageOf('full:nope=0.5')).toContain('share of channels that turn');
    expect(messageOf('full:theta=x')).toContain('base of rotary wavelengths, at least 1');
    expect(messageOf('full:nope:theta=100')).toContain('has no positions (:nope)');
    expect(messageOf('full:temp=cold')).toContain('must be :temp=log, of a fixed factor, or :temp=learned');
    expect(messageOf('full:temp=log:temp=log')).toContain('more than one :temp');
    expect(messageOf('full:tmep=log')).toContain('did you mean "temp"?');
  });

  it('reads heads of a recurrence as a part of a layer, whole key/value heads left to the rest', () => {
    const counts = { numHeads: 6, numKvHeads: 2 };
    const print = (text: string) => printPattern(resolve(text, counts));
    expect(print('full/gdn')).toBe('full#3,1+gdn@3');
    expect(print('swa:8:nope/gdn full+kda@2')).toBe('swa:8:nope#3,1+gdn@3 full+kda@2');
    expect(print('swa:8@2/gdn@4/full@2#8,4')).toBe('swa:8/full#4+gdn@4');
    expect(print('full#3,1+gdn@3')).toBe('full#3,1+gdn@3');
    expect(messageOf('full@4/gdn@2', counts)).toContain('would divide the 2 key/value heads');
    for (const mixer of ['mamba', 'rwkv7'])
      expect(messageOf(`full/${mixer}`)).toContain(`${mixer} has no heads that a layer could share out`);
    expect(messageOf('full/gdn/kda')).toContain('one recurrent mixer may stand beside attention');
    expect(messageOf('full/gdn+kda')).toContain('one recurrent mixer may stand beside attention');
    expect(messageOf('full/gdn@0')).toContain('a whole number of heads >= 1');
    expect(messageOf('full/gdn@4')).toContain('4 query heads are named and 1 more parts need some');
  });

  it('reads and prints heads counted by layer, where they are not those of the model', () => {
    const counts = { numHeads: 4, numKvHeads: 2 };
    const text = 'swa:8#6 2*full:nope#8,4 full#4,1 swa:8@4/full@2#6,3+gdn swa:2/full#2 full';
    const plans = resolve(text, counts);
    expect(plans[0]).toEqual({ mixer: 'attention', groups: [group(8, 6)], numHeads: 6 });
    expect(plans[1]).toEqual({ mixer: 'attention', groups: [group(null, 8, false)], numHeads: 8, numKvHeads: 4 });
    expect(plans[3]).toEqual({ mixer: 'attention', groups: [group(null, 4)], numKvHeads: 1 });
    expect(plans[5]).toEqual({
      mixer: 'attention',
      groups: [group(2, 1), group(null, 1)],
      numHeads: 2,
    });
    expect(printPattern(plans)).toBe(text);
    expect(printPattern(resolve('full#4 full#4,2 full', counts))).toBe('3*full');
    expect(plans.map((plan) => headCounts(counts, plan).numHeads)).toEqual([6, 8, 8, 4, 6, 2, 4]);
  });

  it('prints what it reads, for random stacks', () => {
    const rng = Rng.of(1, 'pattern');
    for (let i = 0; i < 500; i++) {
      const perKv = 1 + rng.int(3);
      const counts = { numHeads: 6 * perKv, numKvHeads: 6 };
      const plans = randomPlans(rng, counts.numHeads, perKv);
      const text = printPattern(plans);
      expect(resolve(text, counts), text).toEqual(plans);
      expect(printPattern(resolve(text, counts))).toBe(text);
    }
  });

  it('prints runs as N* and even splits without @', () => {
    expect(printPattern(resolve('swa:8 swa:8 swa:8 full:nope'))).toBe('3*swa:8 full:nope');
    expect(printLayer(resolve('swa:8@2/full@2')[0] as LayerPlan)).toBe('swa:8/full');
    expect(printLayer(resolve('swa:8@1/full@3')[0] as LayerPlan)).toBe('swa:8@1/full@3');
  });

  it('reads and prints recurrent mixers', () => {
    const plans = resolve('3*mamba2 full:nope 2*gdn lightning gla kda rwkv7 mlstm');
    expect(plans.map((p) => p.mixer)).toEqual([
      ...['mamba2', 'mamba2', 'mamba2', 'attention', 'gdn', 'gdn', 'lightning', 'gla', 'kda', 'rwkv7', 'mlstm'],
    ]);
    expect(printPattern(plans)).toBe('3*mamba2 full:nope 2*gdn lightning gla kda rwkv7 mlstm');
  });

  it('reads and prints a recurrent mixer beside attention', () => {
    const plans = resolve('2*swa:8/full+mamba2 full:nope+gdn');
    expect(plans[0]).toEqual({
      mixer: 'attention',
      groups: [group(8, 2), group(null, 2)],
      beside: { mixer: 'mamba2' },
    });
    expect(printPattern(plans)).toBe('2*swa:8/full+mamba2 full:nope+gdn');
    expect(messageOf('full+mamba3')).toContain('"mamba3" behind "+" is no recurrent mixer; did you mean "mamba');
    expect(messageOf('full+gdn+kda')).toContain('has more than one "+"');
    expect(messageOf('mamba2+full')).toContain('"mamba2" is a layer of its own');
  });

  it('reads and prints layers that use a shared block, which feeds a recurrent mixer', () => {
    const plans = resolve('2*shared:swa:8/full:nope+mamba2 mamba2');
    expect(plans[0]).toEqual({
      mixer: 'attention',
      groups: [group(8, 2), group(null, 2, false)],
      beside: { mixer: 'mamba2' },
      shared: true,
    });
    expect(printPattern(plans)).toBe('2*shared:swa:8/full:nope+mamba2 mamba2');
    expect(messageOf('shared:full')).toContain('a shared block feeds a recurrent mixer, which it names behind "+"');
    expect(messageOf('shared:mla+gdn')).toContain('"mla" is attention of all heads');
    expect(messageOf('shared:mamba2+gdn')).toContain('"mamba2" is a layer of its own');
    expect(messageOf('shared:full#2+gdn')).toContain("those of shared blocks are the model's; leave it out");
    expect(messageOf('shared:full:temp=learned+gdn')).toContain('the heads of a shared block learn no temperature');
    expect(printPattern(resolve('shared:full:temp=log+gdn'))).toBe('shared:full:temp=log+gdn');
    expect(messageOf('shared:shared:full+gdn')).toContain('unknown layer "shared"');
  });

  it('reads and prints latent attention, of which a window and a position are told', () => {
    const text = 'mla 2*mla:nope mla:128 mla:8:local kda';
    const plans = resolve(text);
    expect(plans.map((p) => p.mixer)).toEqual(['mla', 'mla', 'mla', 'mla', 'mla', 'kda']);
    expect(plans.flatMap(headGroups)).toEqual([
      group(null, 4),
      ...[group(null, 4, false), group(null, 4, false)],
      group(128, 4),
      { ...group(8, 4), rope: 'local' },
    ]);
    expect(printPattern(plans)).toBe(text);
    for (const wrong of ['mla@2', 'mla/full', 'mla+gdn', 'full/mla'])
      expect(messageOf(wrong)).toContain('"mla" is attention of all heads of a layer');
    expect(messageOf('mla:0')).toContain('window 0 must be');
    expect(messageOf('mla:nop')).toContain('did you mean "nope"');
    expect(messageOf('mla-128')).toContain('did you mean "mla:128"');
  });

  it('reads and prints layers that are MLPs alone', () => {
    const plans = resolve('mamba2 mlp full 2*mlp');
    expect(plans.map((p) => p.mixer)).toEqual(['mamba2', 'none', 'attention', 'none', 'none']);
    expect(printPattern(plans)).toBe('mamba2 mlp full 2*mlp');
  });

  it('prints the shortest repeating pattern', () => {
    expect(printPeriod(resolve('swa:8 full swa:8 full'))).toBe('swa:8 full');
    expect(printPeriod(resolve('4*full'))).toBe('full');
    expect(printPeriod(resolve('swa:8 full swa:8'))).toBe('swa:8 full swa:8');
  });

  it.each([
    ['swa:0 full', '"swa:0" (token 1 of "swa:0 full"): window 0 must be a whole number of visible keys >= 1'],
    ['full swa:-4', 'window -4 must be'],
    ['swa:1.5', 'window 1.5 must be'],
    ['swa', 'swa needs a window'],
    ['full:128', 'unknown flag ":128"'],
    ['full:nop', 'did you mean "nope"?'],
    ['ful', 'unknown layer "ful"; did you mean "full"?'],
    ['retnet', 'unknown layer "retnet" (a layer is full, swa:WINDOW or chunk:TOKENS'],
    ['swa-128 full', 'unknown layer "swa-128"; did you mean "swa:128"?'],
    ['swa128', 'unknown layer "swa128"; did you mean "swa:128"?'],
    ['3*SWA_128', 'unknown layer "SWA_128"; did you mean "swa:128"?'],
    ['swa-128-nope', 'unknown layer "swa-128-nope"; did you mean "swa:128:nope"?'],
    ['sliding_window(128)', 'unknown layer "sliding_window(128)"; did you mean "swa:128"?'],
    ['swa-128@3/full', 'unknown layer "swa-128"; did you mean "swa:128@3"?'],
    ['full-nope', 'unknown layer "full-nope"; did you mean "full:nope"?'],
    ['full_attention', 'unknown layer "full_attention"; did you mean "full"?'],
    ['gated_deltanet', 'unknown layer "gated_deltanet"; did you mean "gdn"?'],
    ['mamba-2', 'unknown layer "mamba-2"; did you mean "mamba2"?'],
    [
      'mamba2:nope',
      '"mamba2" is a layer of its own: it takes no flags, heads or other parts (its settings: model.mamba2)',
    ],
    ['gla@2', '"gla" is a layer of its own'],
    ['mlp:nope', '"mlp" is a layer of its own: it takes no flags, heads or other parts'],
    ['mlps', 'unknown layer "mlps"; did you mean "mlp"?'],
    ['full:nope:rope', 'more than one position flag'],
    ['0*full', 'repeat count before "*"'],
    ['x*full', 'repeat count before "*"'],
    ['swa:8/', 'a layer is missing'],
    ['3*', 'a layer is missing'],
    ['swa:8@1@2/full', 'more than one "@"'],
    ['swa:8@0/full', '"@0" must give a whole number of query heads'],
    ['swa:8@3/full@2', 'its parts name 5 query heads, but the model has 4'],
    ['swa:8@2', 'its parts name 2 query heads, but the model has 4'],
    ['swa:8@4/full', '4 query heads are named and 1 more parts need some'],
    ['swa:8/swa:9/full', '4 query heads do not divide evenly between 3 parts'],
    ['full#', '"#" must give the query heads of the layer and perhaps its key/value heads'],
    ['full#0', '"#0" must give the query heads'],
    ['full#8,0', '"#8,0" must give the query heads'],
    ['full#8,4,2', '"#8,4,2" must give the query heads'],
    ['full#8#4', 'more than one "#"'],
    ['full#8,3', 'its 8 query heads are not a multiple of its 3 key/value heads'],
    ['full#6', 'its 6 query heads are not a multiple of its 4 key/value heads'],
    ['swa:8@2/full@3#8', 'its parts name 5 query heads, but the layer has 8'],
    ['swa:8@8/full#8', '8 query heads are named and 1 more parts need some; it has 8'],
    ['gdn#2', '"gdn" is a layer of its own'],
    ['mla#2', '"mla" is attention of all heads of a layer'],
    ['', 'the pattern is empty'],
    ['  ', 'the pattern is empty'],
  ])('refuses "%s"', (text, message) => {
    expect(messageOf(text)).toContain(message);
  });

  it('refuses parts that divide a key/value head', () => {
    expect(messageOf('swa:8@1/full@3', { numHeads: 4, numKvHeads: 2 })).toContain(
      'a part of 1 query heads would divide a key/value head: 4 query heads over 2 key/value heads make parts a multiple of 2',
    );
    expect(resolve('swa:8/full', { numHeads: 4, numKvHeads: 2 }).map(headGroups)[0]).toEqual([
      group(8, 2),
      group(null, 2),
    ]);
  });
});
