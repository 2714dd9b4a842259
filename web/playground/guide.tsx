/** What is to be seen, in six short steps; the one that the race has come to stands out. */
import type { ComponentChildren } from 'preact';
import type { Lane } from './lane.js';
import { TaskPicture } from './pictures.js';
import { farOf, nearOf, reachedAt, REACHED, wordsOf } from './words.js';

interface Part {
  readonly title: string;
  readonly text: ComponentChildren;
}

const partsOf = ([a, b]: readonly [Lane, Lane], farFrom: number): readonly Part[] => [
  {
    title: 'The task',
    text: (
      <>
        A language model reads a text one token (here one box) at a time and guesses the next. This text has letters,
        each followed by its number; a dot only fills room. A letter keeps its number to the end of the text. So when a
        letter comes back, a model that finds its earlier place knows the number.
        <TaskPicture />
      </>
    ),
  },
  {
    title: 'Two models',
    text: (
      <>
        Both have three layers, which a token passes one after the other. A layer looks back at earlier tokens. A full
        layer sees all of them, and costs more the longer the text. A cheap layer with a sliding window sees only the
        last few: its <i>window</i>. A model may have both kinds, the cheap ones first, as its card shows. Now A is:{' '}
        {wordsOf(a.run)}. B is: {wordsOf(b.run)}. Both train on the same data. The <i>seed</i> sets the random start and
        the data; the same seed gives the same race.
      </>
    ),
  },
  {
    title: 'Race',
    text: 'Press Race. Both models train, here in your browser; this takes some minutes. At each step both read the same few texts, and training changes their weights (the numbers that a model is made of) a little, so that they guess better. Soon both know the numbers of letters that came back quickly.',
  },
  {
    title: 'Look at what is far',
    text: `Recall is the probability that a model gives to the right number. Far recall, the first chart, counts only letters that were last seen ${farFrom} or more tokens ago. One layer with a smaller window does not see that far. A full layer does, but has to learn where to look. Who gets there first?`,
  },
  {
    title: 'Look at the heads',
    text: 'Each layer with attention (full or window) looks back through four heads, and each head learns by itself which tokens to look at: its attention. In the map of heads, at the end of the page, a square is one head. It fills as its head looks at the right number far back. A head that does so is a retrieval head; one often appears in a full layer when far recall rises.',
  },
  {
    title: 'What a larger window does',
    text: (
      <>
        Often the model with the larger window learns later to look far back, although its layers see more. The usual
        explanation: fewer letters lie beyond a larger window, so the full layer has less to learn from. One race is one
        example. Try other seeds and other windows. Or change how full layers know where a token stands: by rotary
        positions (RoPE), or not at all (NoPE).
      </>
    ),
  },
];

/** Which part the race has come to, from 0. */
function partAt(lanes: readonly [Lane, Lane]): number {
  const last = lanes.map(({ measured }) => measured.at(-1));
  if (last.some((point) => point === undefined)) return 0;
  if (lanes.some((lane) => reachedAt(lane) !== null)) return 5;
  if (last.some((point) => point !== undefined && (farOf(point) ?? 0) > REACHED / 2)) return 4;
  if (last.some((point) => point !== undefined && (nearOf(point) ?? 0) > 0.35)) return 3;
  return lanes[0].step === 0 ? 1 : 2;
}

/** The six steps. */
export function Guide({ lanes, farFrom }: { readonly lanes: readonly [Lane, Lane]; readonly farFrom: number }) {
  const current = partAt(lanes);
  return (
    <section class="guide">
      <h2>What to look at</h2>
      <ol>
        {partsOf(lanes, farFrom).map(({ title, text }, i) => (
          <li key={title} class={i <= current ? 'there' : ''} aria-current={i === current ? 'step' : undefined}>
            <h3>{title}</h3>
            <div class="soft">{text}</div>
          </li>
        ))}
      </ol>
    </section>
  );
}
