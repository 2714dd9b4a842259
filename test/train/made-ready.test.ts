/** What a run makes ready beside its training: the first steps do not wait for it, and what fails there ends the run. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EngineError, inTurns, readJson, turn } from '../../src/core/index.js';
import { createReferenceEngine, type Engine } from '../../src/engine/index.js';
import { performRun, resolveRunConfig } from '../../src/lab/index.js';
import { listCheckpoints } from '../../src/run/index.js';
import { temporaryFolder, TINY_TRAIN } from './support.js';

const reference = createReferenceEngine();

const run = resolveRunConfig(
  {
    seed: 1,
    model: { hiddenSize: 8, layers: 'swa:4 full', numHeads: 2, intermediateSize: 16 },
    data: { kind: 'recall', numKeys: 4, numValues: 4, numFillers: 4 },
    train: { ...TINY_TRAIN, evalEvery: 4, checkpointEvery: 6 },
    eval: { batches: 2, needle: false, trace: { samples: 20 } },
  },
  { where: 'the test', baseDir: '.' },
);

/** The reference engine as one that compiles beside the host; `load` is waited for before a program is there. */
function beside(load: (program: 'step' | 'scores' | 'trace') => Promise<void>): { engine: Engine; events: string[] } {
  const events: string[] = [];
  const programs = ['step', 'scores', 'trace'] as const;
  let given = 0;
  const engine: Engine = {
    ...reference,
    hints: { ...reference.hints, runsAhead: 3, accelerator: true },
    compile: async (graph, options) => {
      const name = programs[given++] ?? 'trace';
      events.push(`${name} given`);
      const program = await reference.compile(graph, options);
      await load(name);
      return {
        ...{ graph, dispose: () => program.dispose() },
        run: (inputs) => {
          events.push(`${name} run`);
          return program.run(inputs);
        },
      };
    },
  };
  return { engine, events };
}

const perform = (dir: string, engine: Engine, progress?: (at: { readonly step: number }) => void) =>
  performRun({ dir, run, engine, resume: 'no', ...(progress === undefined ? {} : { progress }) });

const untimed = (line: string): unknown => {
  const { time: _time, 'train/tok_per_sec': _speed, ...numbers } = JSON.parse(line) as Record<string, number>;
  return numbers;
};

/** All that a run measured, and the parameters that it ended with. */
function resultsOf(dir: string): unknown {
  const files = (folder: string) =>
    readdirSync(join(dir, folder)).map((name) => [name, readFileSync(join(dir, folder, name), 'utf8')]);
  return {
    metrics: readFileSync(join(dir, 'metrics.jsonl'), 'utf8').trimEnd().split('\n').map(untimed),
    records: [...files('evals'), ...files('analysis')],
    parameters: readFileSync(join(dir, 'checkpoints/step-000012/model.safetensors'), 'base64'),
  };
}

describe('what is made ready beside the training', () => {
  it('keeps neither the first evaluation nor steps waiting for what others need, and changes no result', async () => {
    const [plain, dir] = [temporaryFolder(), temporaryFolder()];
    let steps: () => void = () => undefined;
    const taken = new Promise<void>((done) => (steps = done));
    // The program of traces is there only once steps were taken: a run that waits for it does not end.
    const { engine, events } = beside(async (name) => {
      // The program of steps is there only once held-out batches were scored.
      while (name === 'step' && !events.includes('scores run')) await turn();
      if (name === 'trace') await taken;
      else await inTurns([1, 2, 3], () => undefined);
    });
    await perform(dir, engine, ({ step }) => {
      if (step === 2) steps();
    });
    await perform(plain, { ...reference, hints: { ...reference.hints, accelerator: true } });
    expect(events.indexOf('trace given')).toBeGreaterThan(events.indexOf('scores run'));
    expect(resultsOf(dir)).toEqual(resultsOf(plain));
  });

  it.each([
    ['step', 0],
    ['scores', 0],
    ['trace', 6],
  ] as const)('ends with the sentence of the %s program where that does not load', async (broken, step) => {
    const dir = temporaryFolder();
    const sentence = `the program of ${broken} does not fit the device`;
    const { engine } = beside(async (name) => {
      if (name !== broken) return;
      await new Promise((late) => setTimeout(late, 5));
      throw new EngineError(sentence);
    });
    await expect(perform(dir, engine)).rejects.toThrow(new RegExp(`^${sentence}$`));
    expect(readJson(join(dir, 'status.json'))).toMatchObject({ state: 'failed', message: sentence, step });
    expect(listCheckpoints(dir)).toEqual([]);
  });
});
