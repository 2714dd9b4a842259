/** What the runs say: for each question the answers in short sentences, and one small table with their numbers. */
import { type PairComparison, QUESTIONS, TOPICS, type Verdict } from '../study/index.js';
import { comparedMeasures, findingInWords, type ComparedMeasure } from './compared.js';
import { escapeHtml } from './html.js';
import type { Group } from './report-data.js';

const BADGES: Readonly<Record<Verdict['outcome'], string>> = {
  shown: 'difference',
  none: 'none shown',
  few: 'too few seeds',
  open: 'not judged',
};

const OUTCOMES = { a: 'shown', b: 'shown', none: 'none', few: 'few', unknown: 'open' } as const satisfies Readonly<
  Record<ComparedMeasure['finding'], Verdict['outcome']>
>;

/** What is to be known of all answers to a question. */
const FOOTNOTES: Readonly<Partial<Record<Verdict['topic'], string>>> = {
  cost:
    '<p class="footnote">All runs are read where they had spent what the cheapest spent in all: those that went on, in the middle of their ' +
    'schedules, before the learning rate had come down.</p>',
};

/** The measures that answer a question, of those that a pair has. */
function measuresOf(topic: Verdict['topic'], pair: PairComparison): ComparedMeasure[] {
  const all = comparedMeasures(pair);
  const of = (...keys: (keyof PairComparison)[]) => all.filter(({ key }) => keys.includes(key));
  switch (topic) {
    case 'window':
    case 'positions':
    case 'other': {
      const formed = [of('tokensToThreshold'), of('arTokens'), of('finalLoss')].find((own) => own.length > 0) ?? [];
      return [...of('lossTokensAt'), ...formed, ...(topic === 'positions' ? of('nearRecall') : [])];
    }
    case 'equal':
      return of('arAtEqualLoss');
    case 'end':
      return of('farRecall', 'needleAccuracy', 'arAccuracy', 'arLoss', 'freshLoss', 'finalLoss');
    case 'cost':
      return of('atEqualCost');
    case 'carrier':
      return [];
  }
}

/** The answers of a group, all questions one below the other; empty where there are none. */
export function answersHtml({ verdicts, pairs }: Pick<Group, 'verdicts' | 'pairs'>, isSoFar: boolean): string {
  const topics = TOPICS.filter((t) => verdicts.some((v) => v.topic === t));
  const blocks = topics.map((topic) => {
    const own = verdicts.filter((v) => v.topic === topic);
    const items = once(own).map(
      ([verdict, said]) => `<li>${badge(verdict.outcome, isSoFar)}<span>${said.join(' ')}</span></li>`,
    );
    const compared = pairs.filter(({ a, b }) => own.some((v) => v.a === a && v.b === b));
    const table = pairsTable(compared.map((pair) => ({ pair, measures: measuresOf(topic, pair) })));
    return `<div class="question"><h3>${escapeHtml(QUESTIONS[topic])}</h3><ul>${items.join('')}</ul>${table}${FOOTNOTES[topic] ?? ''}</div>`;
  });
  return blocks.length === 0 ? '' : `<div class="questions">${blocks.join('')}</div>`;
}

const badge = (outcome: Verdict['outcome'], isSoFar: boolean): string =>
  isSoFar
    ? `<span class="badge open">${BADGES[outcome]} so far</span>`
    : `<span class="badge ${outcome}">${BADGES[outcome]}</span>`;

/**
 * Each answer once, with what is to be said of it as HTML: a pair of designs may have the same answer at several
 * thresholds. The numbers stand in the table, but for what is no comparison of two designs.
 */
function once(verdicts: readonly Verdict[]): (readonly [Verdict, readonly string[]])[] {
  const said = new Map<string, readonly [Verdict, Set<string>]>();
  for (const verdict of verdicts) {
    const { topic, outcome, lead, text, remark = '' } = verdict;
    const key = JSON.stringify([outcome, lead]);
    const known = said.get(key) ?? ([verdict, new Set([`<strong>${escapeHtml(lead)}</strong>`])] as const);
    const more = topic === 'carrier' ? text : remark;
    if (more !== '') known[1].add(escapeHtml(more));
    said.set(key, known);
  }
  return [...said.values()].map(([verdict, parts]) => [verdict, [...parts]]);
}

interface PairRows {
  readonly pair: PairComparison;
  readonly measures: readonly ComparedMeasure[];
}

/** A table of pairs: a heading line for each, then a line a measure. */
function pairsTable(rows: readonly PairRows[]): string {
  const body = rows.flatMap(({ pair: { a, b }, measures }) => {
    if (measures.length === 0) return [];
    const seeds = measures[0]?.seeds.length ?? 0;
    const about = `A: ${a}, B: ${b} (${seeds === 1 ? 'one seed' : `${seeds} seeds`})`;
    return [
      `<tr class="pair"><th colspan="5" scope="rowgroup">${escapeHtml(about)}</th></tr>`,
      ...measures.map((own) => {
        const amount = own.amount === '' ? '–' : `${own.isRatio ? 'B / A' : 'B − A'}: ${own.amount}`;
        const td = [own.measure, own.a, own.b, amount].map((text) => `<td>${escapeHtml(text)}</td>`).join('');
        const word = `<span class="word ${OUTCOMES[own.finding]}">${findingInWords(own, { a: 'A', b: 'B' })}</span>`;
        return `<tr>${td}<td>${word}</td></tr>`;
      }),
    ];
  });
  if (body.length === 0) return '';
  const head = ['measured', 'A', 'B', 'difference (95 % interval)', 'answer']
    .map((text) => `<th scope="col">${text}</th>`)
    .join('');
  return `<div class="scroll"><table class="pairs"><thead><tr>${head}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}
