/** `longsight doctor`: what this machine has, and whether it computes right. */
import { arch, cpus, platform, release, totalmem } from 'node:os';
import type { Command } from 'commander';
import { packageVersion } from '../../core/index.js';
import { kernelsNotUsed, whyNoCuda, type KernelSupport } from '../../engine/index.js';
import { CHECKED_STEPS, EngineChecks, enginesHere, type AttentionErrors, type EngineCheck } from '../../lab/index.js';
import { machine } from '../../study/index.js';
import type { CliContext } from '../terminal/context.js';
import { EXIT } from '../terminal/errors.js';
import { addEngineOptions, addOutputOptions, type EngineFlags, type OutputFlags } from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';
import { selfTest } from './doctor-self-test.js';

interface Flags extends OutputFlags, EngineFlags {
  readonly selfTest?: boolean;
}

/** Registers `longsight doctor`. */
export function addDoctor(program: Command, context: CliContext): void {
  const command = program
    .command('doctor')
    .summary('check the engines on this machine')
    .description(
      'Lists versions, cores and engines, and trains a tiny hybrid for three steps on every engine: losses and gradient ' +
        'norms must agree with the reference engine, and so must attention, forward and backward, at the edges of windows. ' +
        'Says of each kernel for accelerators what it takes here, or why it cannot be used. Ends with code 1 if engines ' +
        'do not agree.',
    );
  command.option(
    '--self-test',
    'try instead, in a temporary folder, what must hold on this machine: a killed training resumes to the same bits, a ' +
      'lock has one holder, a full disk is said and survived, windows see the keys that they should',
  );
  addOutputOptions(addEngineOptions(command)).action((flags: Flags) => doctor(flags, context));
}

async function doctor(flags: Flags, context: CliContext): Promise<void> {
  const output = new Output(context, flags);
  if (flags.selfTest === true) return selfTest(flags, output, context);
  const asked = flags.engine === undefined || flags.engine === 'auto' ? enginesHere() : [flags.engine];
  const engines = await EngineChecks.create();
  const checks: EngineCheck[] = [];
  for (const name of asked) checks.push(await engines.check(name, flags.threads));
  const facts = environment();
  const rows = checks.map((c) => [c.name, c.ok ? 'ok' : 'FAILED', c.error ?? findings(c)]);
  const kernels = kernelsOf(checks);
  const lines = kernels.flatMap(({ engine, kernels }) =>
    kernels.map(({ name, takes, whyNot }) => [engine, name, takes === null ? `not here: ${whyNot}` : `takes ${takes}`]),
  );
  const tables = [Object.entries(facts), rows, lines].map((table) => textTable(table));
  output.result(tables.join('\n\n'), { event: 'doctor', ...facts, engines: checks, kernels });
  if (checks.some(({ ok }) => !ok)) {
    context.stderr.write(
      `longsight: ${checks
        .filter((c) => !c.ok)
        .map((c) => c.name)
        .join(', ')} failed the check\n`,
    );
    context.exitWith(EXIT.failed);
  }
}

/** The kernels of each engine that has any; where none has, why theirs cannot be used on this machine. */
function kernelsOf(
  checks: readonly EngineCheck[],
): { readonly engine: string; readonly kernels: readonly KernelSupport[] }[] {
  const found = checks.flatMap(({ name, kernels }) => (kernels === null ? [] : [{ engine: name, kernels }]));
  return found.length > 0
    ? found
    : [{ engine: 'xla:cuda', kernels: kernelsNotUsed(whyNoCuda() ?? 'no engine that was asked for has it') }];
}

/** What a check that ran to its end found, in one line. */
function findings({ info, worst, attention, durationMs }: EngineCheck): string {
  const show = (e: AttentionErrors | null | undefined) =>
    e ? `${e.forward.toExponential(1)} forward, ${e.backward.toExponential(1)} backward` : '';
  const bf16 = attention?.bf16 ? `; in bf16 ${show(attention.bf16)}` : '';
  return (
    `${info?.library}, ${info?.threads} threads; ${Math.round(durationMs)} ms; ${CHECKED_STEPS} training steps differ by ` +
    `${worst?.toExponential(1)}, attention at window edges by ${show(attention?.f32)}${bf16}`
  );
}

function environment(): Record<string, string> {
  const { cores } = machine();
  return {
    longsight: packageVersion(),
    node: process.versions.node,
    platform: `${platform()} ${release()} ${arch()}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: String(cores),
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
  };
}
