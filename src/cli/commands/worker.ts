/** `longsight worker STUDY RUN`: what a study starts for its runs, each place's one after another; not for people. */
import type { Command } from 'commander';
import { readPlan, serveWorker, sharedBeginnings } from '../../study/index.js';
import { unknownName } from '../../lab/index.js';
import type { CliContext } from '../terminal/context.js';
import { KeptEngine, performPlanned } from './planned-run.js';
import {
  addEngineOptions,
  addTakeOverOption,
  positiveNumber,
  type EngineFlags,
  type TakeOverFlag,
} from '../terminal/options.js';

/** Registers the hidden command that a study starts for its runs. */
export function addWorker(program: Command, context: CliContext): void {
  addTakeOverOption(addEngineOptions(program.command('worker', { hidden: true })))
    .argument('<study>')
    .argument('<run>')
    .option('--place <name>', 'where the run was put')
    .option('--memory-fraction <part>', "part of the device's memory that it may take", (text) =>
      positiveNumber('--memory-fraction', text),
    )
    .action(async (study: string, name: string, flags: Flags) => {
      context.exitWith(await serve(study, name, flags));
    });
}

interface Flags extends EngineFlags, TakeOverFlag {
  readonly place?: string;
  readonly memoryFraction?: number;
}

async function serve(study: string, first: string, flags: Flags): Promise<number> {
  const engine = new KeptEngine(flags, flags.memoryFraction);
  try {
    return await serveWorker(first, async (name, { signal, progress, note, sinceMs }) => {
      const { runs } = readPlan(study);
      const planned = runs.find((run) => run.name === name);
      if (planned === undefined) {
        throw unknownName(
          'run',
          name,
          runs.map((run) => run.name),
        );
      }
      await performPlanned({
        ...{ study, run: planned, shared: sharedBeginnings(runs), engine, sinceMs },
        ...{ takeOver: flags.takeOver, place: flags.place, signal, note },
        progress: ({ step, steps, tokens, tokPerSec, loss }) => progress({ step, steps, tokens, tokPerSec, loss }),
      });
    });
  } finally {
    await engine.dispose();
  }
}
