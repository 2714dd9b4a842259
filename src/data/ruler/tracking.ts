/** Variable tracking: which variables end up with a value, through chains of assignments. */
import { at, type Rng } from '../../core/index.js';
import { choose, number } from './draw.js';
import { NOISE } from './niah.js';
import type { Draft, RulerTask } from './types.js';

const UPPER = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const HOPS = 4;
/** Lines of noise in the worked example; RULER's fills 500 tokens whatever the budget. */
const EXAMPLE_LINES = 10;

interface Chain {
  readonly names: readonly string[];
  readonly value: string;
  readonly statements: readonly string[];
}

function chainOf(rng: Rng, letters: number, value: string): Chain {
  const names = new Set<string>();
  while (names.size <= HOPS) names.add(Array.from({ length: letters }, () => UPPER[rng.int(26)]).join(''));
  const list = [...names];
  const statements = list.map((name, i) => (i === 0 ? `VAR ${name} = ${value}` : `VAR ${name} = VAR ${list[i - 1]} `));
  return { names: list, value, statements };
}

/** Noise lines with the chain's statements among them, in order. */
function hide(rng: Rng, { statements }: Chain, lines: number): string {
  const places = choose(rng, lines, statements.length).sort((a, b) => a - b);
  const out: string[] = [];
  for (let i = 0, next = 0; i < lines; i++) {
    if (places[next] === i) out.push(`${statements[next++]}.`);
    out.push(NOISE);
  }
  return out.join('\n').replaceAll(' .\n', '.\n');
}

function prompt(context: string, { names, value }: Chain): [string, string] {
  return [
    'Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n' +
      `${context}\nQuestion: Find all variables that are assigned the value ${value} in the text above.`,
    ` Answer: According to the chain(s) of variable assignment in the text above, ${names.length} variables are assigned ` +
      `the value ${value}, they are: `,
  ];
}

function draw(rng: Rng, size: number): Draft {
  const shown = chainOf(rng, 3, number(rng, 5));
  const [exampleInput, examplePrefix] = prompt(hide(rng, shown, Math.min(EXAMPLE_LINES, size)), shown);
  const example = `${exampleInput}${examplePrefix}${shown.names.join(' ')}`;
  const chain = chainOf(rng, 5, number(rng, 5));
  const [question, answerPrefix] = prompt(hide(rng, chain, size), chain);
  const input = `${example}\n\n${question}`;
  return { input, answerPrefix, outputs: chain.names, answerAt: input.indexOf(at(chain.statements, 0)) };
}

/** RULER's `vt`: find the variables that end up with a value through a chain of assignments. */
export const trackingTask: RulerTask = {
  answerTokens: 30,
  scoring: 'all',
  generator: () => ({ minSize: HOPS + 1, maxSize: Infinity, draw: (rng, size) => draw(rng, size) }),
};
