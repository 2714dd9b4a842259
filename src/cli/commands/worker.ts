/** `longsight worker STUDY RUN`: what a study starts for each of its runs; not for people. */
import type { Command } from 'commander';
import { readPlan, serveWorker, sharedBeginnings } from '../../study/index.js';
import { unknownName } from '../../lab/index.js';
import type { CliContext } from '../terminal/context.js';
import { performPlanned } from './planned-run.js';
import {
  addEngineOptions,
  addTakeOverOption,
  positiveNumber,
  type EngineFlags,
  type TakeOverFlag,
} from '../terminal/options.js';

/** Registers the hidden command that a study starts for each of its runs. */
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

async function serve(study: string, name: string, flags: Flags): Promise<number> {
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
    await performPlanned({
      ...{ study, run: planned, shared: sharedBeginnings(runs), flags, memoryFraction: flags.memoryFraction },
      ...{ takeOver: flags.takeOver, place: flags.place, signal, note },
      progress: ({ step, steps, tokens, tokPerSec, loss }) => progress({ step, steps, tokens, tokPerSec, loss }),
    });
  });
}
