/** `longsight worker STUDY RUN`: what a study starts for each of its runs; not for people. */
import type { Command } from 'commander';
import { createEngine } from '../../engine/index.js';
import { readPlan, runFolder, serveWorker } from '../../study/index.js';
import { performRun, unknownName } from '../../lab/index.js';
import type { CliContext } from '../context.js';
import { addEngineOptions, addTakeOverOption, type EngineFlags, type TakeOverFlag } from '../options.js';
import { engineChoice } from './train.js';

export function addWorker(program: Command, context: CliContext): void {
  addTakeOverOption(addEngineOptions(program.command('worker', { hidden: true })))
    .argument('<study>')
    .argument('<run>')
    .action(async (study: string, name: string, flags: EngineFlags & TakeOverFlag) => {
      context.exitWith(await serve(study, name, flags));
    });
}

async function serve(study: string, name: string, flags: EngineFlags & TakeOverFlag): Promise<number> {
  return serveWorker(async ({ signal, progress, note }) => {
    const { runs } = readPlan(study);
    const planned = runs.find((run) => run.name === name);
    if (planned === undefined) {
      throw unknownName(
        'run',
        name,
        runs.map((run) => run.name),
      );
    }
    const run = planned.config;
    const engine = createEngine(flags.engine ?? run.engine, engineChoice(flags, run));
    try {
      await performRun({
        ...{ dir: runFolder(study, name), run, engine, resume: 'auto', takeOver: flags.takeOver, signal, note },
        progress: ({ step, steps, tokens, tokPerSec, loss }) => progress({ step, steps, tokens, tokPerSec, loss }),
      });
    } finally {
      await engine.dispose();
    }
  });
}
