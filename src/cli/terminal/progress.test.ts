import { describe, expect, it } from 'vitest';
import type { PlannedRun } from '../../study/index.js';
import { Output, type OutputOptions } from './output.js';
import { StudyProgress } from './progress.js';

function open(options: OutputOptions = {}) {
  const [out, err]: [string[], string[]] = [[], []];
  const streams = { stdout: { write: (t: string) => out.push(t) }, stderr: { write: (t: string) => err.push(t) } };
  return { output: new Output(streams, options), out, err };
}
const run = (name: string) => ({ name }) as PlannedRun;

describe('a warning', () => {
  it('is printed once, however often it is given', () => {
    const { output, err } = open();
    for (const text of ['slow', 'slow', 'old', 'slow']) output.warn(text);
    expect(err).toEqual(['longsight: warning: slow\n', 'longsight: warning: old\n']);
  });
});

describe('a note on the runs of a study', () => {
  it('is printed when first said, and at the end once with all runs that it is about', () => {
    const { output, err } = open();
    const progress = new StudyProgress(output);
    for (const name of ['a', 'b', 'a', 'c']) progress.note(run(name), 'float32 only');
    progress.note(run('b'), 'another');
    progress.note(run('b'), 'another');
    expect(err).toEqual(['a: float32 only\n', 'b: another\n']);
    progress.stop();
    expect(err.slice(2)).toEqual(['said of 3 runs (a, b, c): float32 only\n']);
  });

  it('is an event of every run for programs', () => {
    const { output, out, err } = open({ json: true });
    const progress = new StudyProgress(output);
    for (const name of ['a', 'b']) progress.note(run(name), 'float32 only');
    progress.stop();
    expect(out.map((line) => (JSON.parse(line) as { run: string }).run)).toEqual(['a', 'b']);
    expect(err).toEqual([]);
  });
});
