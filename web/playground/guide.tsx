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
        A text is a stream of letters, each followed by its number. A letter keeps its number to the end of the text.
        When a letter comes back, a model that remembers knows the number.
        <TaskPicture />
      </>
    ),
  },
  {
    title: 'Two models',
    text: (
      <>
        Both have three layers. Cheap layers see only the last few tokens, their <i>window</i>. Full layers see
        everything, and cost more the longer the text. A has a {wordsOf(a.run)}, B a {wordsOf(b.run)}. Both start from
        the same seed and train on the same data.
      </>
    ),
  },
  {
    title: 'Race',
    text: 'Press Race. Both models train, here in your browser. After a while both know the numbers of letters that came back quickly.',
  },
  {
    title: 'Look at what is far',
    text: `The large figure counts only letters that were last seen ${farFrom} or more tokens ago. No small window reaches that far: a full layer has to learn it. Who gets there first?`,
  },
  {
    title: 'Look at the heads',
    text: 'Layers look back with several heads. A square fills as its head learns to look at the number far back. When far recall rises, a head of a full layer lights up: a retrieval head has formed.',
  },
  {
    title: 'What a larger window does',
    text: (
      <>
        With a large window the cheap layers answer most questions themselves, and the full layer has little left to
        learn from. It stays lazy, and the model learns later to look far back, although its layers see more. Try it:
        other seeds, other windows, or full layers without positions (NoPE).
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
    <ol class="guide" aria-label="What is to be seen">
      {partsOf(lanes, farFrom).map(({ title, text }, i) => (
        <li key={title} class={i <= current ? 'there' : ''} aria-current={i === current ? 'step' : undefined}>
          <h3>{title}</h3>
          <div class="soft">{text}</div>
        </li>
      ))}
    </ol>
  );
}
