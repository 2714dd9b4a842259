/** What was compared, for somebody who sees it for the first time: the task, the designs, and the words of the page. */
import { maxOf, plural } from '../core/index.js';
import type { TaskPicture } from '../lab/index.js';
import {
  firstVisible,
  headGroups,
  type LayerPlan,
  meanGroupKeys,
  printLayer,
  recurrentMixers,
  SECTIONS,
} from '../model/index.js';
import type { RunRecord } from '../study/index.js';
import { escapeHtml } from './html.js';
import { forReaders } from './measured.js';
import type { DesignModel } from './report-data.js';
import type { SeriesStyle } from './plot.js';

/** Designs that are drawn; the others have their layers in the legend. */
const MOST_DRAWN = 12;
/** Layers of a stack that are drawn one by one. */
const MOST_LAYERS = 8;

/** A design as it is drawn. */
export interface PicturedDesign {
  readonly style: SeriesStyle;
  readonly model: DesignModel;
}

/** The tasks that runs measured, the designs, and the words; empty where nothing is known. */
export function comparedHtml(designs: readonly PicturedDesign[], records: readonly RunRecord[], seeds: number): string {
  const readers = forReaders(records);
  const tasks = readers.flatMap(({ task }) => task ?? []).map(taskHtml);
  const terms = [...layerTerms(designs), ...readers.flatMap((own) => Object.entries(own.terms)), ...commonTerms(seeds)];
  const words = terms
    .map(([term, text]) => `<div><dt>${escapeHtml(term)}</dt><dd>${escapeHtml(text)}</dd></div>`)
    .join('');
  if (designs.length === 0 && tasks.length === 0) return '';
  return (
    `<div class="compared">${tasks.join('')}${stacksHtml(designs)}</div>` +
    `<details class="words" open><summary>The words on this page</summary><dl>${words}</dl></details>`
  );
}

/** Tokens in boxes, an arc of words below. */
function taskHtml({ tokens, caption }: TaskPicture): string {
  const boxes = tokens.map(({ text, role }) => `<span class="${role}">${escapeHtml(text)}</span>`).join('');
  return `<div class="task"><h3>The task</h3><div class="strip">${boxes}</div><p>${escapeHtml(caption)}</p></div>`;
}

function stacksHtml(designs: readonly PicturedDesign[]): string {
  if (designs.length === 0) return '';
  const drawn = designs.slice(0, MOST_DRAWN).map(stackHtml).join('');
  const rest = designs.length - MOST_DRAWN;
  const more = rest > 0 ? ` ${plural(rest, 'more design')} in the legend.` : '';
  const { seqLen } = designs[0]?.model ?? { seqLen: 0 };
  const hasState = designs.some(({ model }) => model.layers.some((plan) => recurrentMixers(plan).length > 0));
  const state = hasState ? ' Hatched: a state of fixed size that sums up the tokens before.' : '';
  return (
    `<div class="designs"><h3>The designs</h3><div class="stacks">${drawn}</div>` +
    `<p>Each bar is a layer, the input at the bottom; its filled part is what the last of ${seqLen} tokens of a training ` +
    `sequence sees directly.${state}${more}</p></div>`
  );
}

/** The layers of a design, input at the bottom; long stacks as one period and how often it comes. */
function stackHtml({ style, model: { layers, seqLen } }: PicturedDesign): string {
  const names = layers.map(printLayer);
  const period = periodOf(names);
  const isShort = layers.length <= MOST_LAYERS;
  const shown = isShort ? layers : layers.slice(0, Math.min(period, MOST_LAYERS));
  const times = isShort ? '' : period <= MOST_LAYERS ? ` × ${layers.length / period}` : ` of ${layers.length} layers`;
  const bars = shown.map((plan) => layerHtml(plan, seqLen)).reverse();
  return (
    `<div class="stack ${style.className}"><h4><i style="background:${style.color}"></i>${escapeHtml(style.label)}${times}</h4>` +
    `${bars.join('')}</div>`
  );
}

/** The shortest stretch of layers that a stack repeats. */
function periodOf(names: readonly string[]): number {
  for (let n = 1; n <= names.length / 2; n++)
    if (names.length % n === 0 && names.every((name, i) => name === names[i % n])) return n;
  return names.length;
}

function layerHtml(plan: LayerPlan, seqLen: number): string {
  const groups = headGroups(plan);
  const seen = maxOf([0, ...groups.map((group) => seqLen - firstVisible(group, seqLen - 1))]);
  const hasState = recurrentMixers(plan).length > 0;
  const share = groups.length === 0 ? 0 : Math.max(2, (100 * seen) / seqLen);
  const keys = groups.length === 0 ? 'a state' : `${seen} of ${seqLen} tokens`;
  const mean =
    groups.length === 0 ? '' : `, ${Math.round(maxOf(groups.map((g) => meanGroupKeys(g, seqLen))))} on average`;
  return (
    `<div class="layer" title="${escapeHtml(`${printLayer(plan)}: ${keys}${mean}`)}"><code>${escapeHtml(printLayer(plan))}</code>` +
    `<span class="reach${hasState ? ' state' : ''}"><b style="width:${share.toFixed(1)}%"></b></span></div>`
  );
}

/** What the kinds of layers of the designs are. */
function layerTerms(designs: readonly PicturedDesign[]): [string, string][] {
  const plans = designs.flatMap(({ model }) => model.layers);
  const groups = plans.flatMap((plan) => (plan.mixer === 'attention' ? plan.groups : []));
  const still = groups.filter(({ windows, chunk }) => windows === undefined && chunk === undefined);
  const windows = new Set(still.flatMap(({ window }) => window ?? []));
  const moving = new Set(groups.flatMap((own) => own.windows?.map((window) => window ?? 'full').join('~') ?? []));
  const terms: [string, string][] = [];
  if (still.some(({ window }) => window === null))
    terms.push([
      'full',
      'A layer with full attention: each token sees all tokens before it. It alone can look far back directly.',
    ]);
  for (const w of [...windows].sort((a, b) => a - b))
    terms.push([`swa:${w}`, `A layer with sliding-window attention: each token sees ${w} tokens, itself included.`]);
  for (const list of moving)
    terms.push([
      `swa:${list}`,
      'A layer whose window moves in training, over these; it is measured, and drawn here, with the last.',
    ]);
  for (const chunk of new Set(groups.flatMap((group) => group.chunk ?? [])))
    terms.push([
      `chunk:${chunk}`,
      `A layer that cuts the text into chunks of ${chunk} tokens: each token sees those before it in its own chunk.`,
    ]);
  if (plans.some((plan) => headGroups(plan).some(({ rope }) => rope === false)))
    terms.push(['nope', 'No positions: queries and keys of the layer are not rotated by their place (NoPE).']);
  for (const name of new Set(plans.flatMap(recurrentMixers)))
    terms.push([name, `A mixer that carries a state along the sequence; ${SECTIONS[name].summary}.`]);
  if (plans.some(({ mixer }) => mixer === 'mla')) terms.push(['mla', `Attention: ${SECTIONS.mla.summary}.`]);
  return terms;
}

const commonTerms = (seeds: number): [string, string][] => [
  ['token', 'The unit of text that models read and predict. Training is counted in tokens.'],
  ...(seeds > 1
    ? [
        ['seed', 'The random start of a run. Differences between seeds of one design are chance.'] satisfies [
          string,
          string,
        ],
      ]
    : []),
];
