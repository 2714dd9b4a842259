/** `longsight doctor`: what this machine has, and whether it computes right. */
import { readFileSync } from 'node:fs';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import type { Command } from 'commander';
import {
  createEngine,
  kernelsNotUsed,
  whyNoCuda,
  type Engine,
  type EngineInfo,
  type EngineName,
  type KernelSupport,
} from '../../engine/index.js';
import { nextBatch, RecallOptionsSchema, RecallSource } from '../../data/index.js';
import { initialParameters, resolveModelConfig } from '../../model/index.js';
import { machine } from '../../study/index.js';
import { Trainer, TrainConfigSchema } from '../../train/index.js';
import type { CliContext } from '../terminal/context.js';
import { EXIT } from '../terminal/errors.js';
import { addEngineOptions, addOutputOptions, type EngineFlags, type OutputFlags } from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';
import { ATTENTION_TOLERANCE, attentionErrors, enginesHere, type AttentionErrors } from '../self-test/attention.js';
import { selfTest } from './doctor-self-test.js';
import { at, maxOf } from '../../core/index.js';

interface Flags extends OutputFlags, EngineFlags {
  readonly selfTest?: boolean;
}

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly info: EngineInfo | null;
  /** The engine's own kernels; null if it has none or was not made. */
  readonly kernels: readonly KernelSupport[] | null;
  /** Largest relative difference from the reference, of loss and gradient norm over the steps. */
  readonly worst: number | null;
  /** The errors of attention at the edges of windows: in float32, and in bf16 where the engine has it. */
  readonly attention: { readonly f32: AttentionErrors; readonly bf16: AttentionErrors | null } | null;
  readonly durationMs: number;
  readonly error: string | null;
}

const STEPS = 3;
/** Float32 against float64 over three steps of a tiny model: measured below 1e-6, with room. */
const TOLERANCE = 1e-4;

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
  const expected = await run(createEngine('reference'));
  const checks: Check[] = [];
  for (const name of asked) checks.push(await check(name, flags, expected));
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
  checks: readonly Check[],
): { readonly engine: string; readonly kernels: readonly KernelSupport[] }[] {
  const found = checks.flatMap(({ name, kernels }) => (kernels === null ? [] : [{ engine: name, kernels }]));
  return found.length > 0
    ? found
    : [{ engine: 'xla:cuda', kernels: kernelsNotUsed(whyNoCuda() ?? 'no engine that was asked for has it') }];
}

/** What a check that ran to its end found, in one line. */
function findings({ info, worst, attention, durationMs }: Check): string {
  const show = (e: AttentionErrors | null | undefined) =>
    e ? `${e.forward.toExponential(1)} forward, ${e.backward.toExponential(1)} backward` : '';
  const bf16 = attention?.bf16 ? `; in bf16 ${show(attention.bf16)}` : '';
  return (
    `${info?.library}, ${info?.threads} threads; ${Math.round(durationMs)} ms; ${STEPS} training steps differ by ` +
    `${worst?.toExponential(1)}, attention at window edges by ${show(attention?.f32)}${bf16}`
  );
}

async function check(name: EngineName, flags: Flags, expected: readonly number[]): Promise<Check> {
  const start = performance.now();
  let engine: Engine | null = null;
  const made = () => ({
    name,
    info: engine?.info ?? null,
    kernels: engine?.kernels ?? null,
    durationMs: performance.now() - start,
  });
  try {
    engine = createEngine(name, flags.threads === undefined ? {} : { threads: flags.threads });
    const attention = {
      f32: await attentionErrors(engine, 'f32'),
      bf16: engine.info.name === 'xla' ? await attentionErrors(engine, 'bf16') : null,
    };
    const got = await run(engine);
    const worst = maxOf(got.map((value, i) => Math.abs(value / at(expected, i) - 1)));
    const near = (e: AttentionErrors | null, limit: number) => e === null || Math.max(e.forward, e.backward) <= limit;
    const { f32, bf16 } = ATTENTION_TOLERANCE;
    const ok = worst <= TOLERANCE && near(attention.f32, f32) && near(attention.bf16, bf16);
    return { ...made(), ok, worst, attention, error: null };
  } catch (error) {
    // Whatever an engine throws is the finding here.
    const message = error instanceof Error ? error.message : String(error);
    return { ...made(), ok: false, worst: null, attention: null, error: message };
  }
}

/** Losses and gradient norms of a few training steps of a tiny hybrid; disposes the engine. */
async function run(engine: Engine): Promise<number[]> {
  const data = RecallOptionsSchema.parse({ numKeys: 4, numValues: 4, numFillers: 8 });
  const model = resolveModelConfig({
    ...{ vocabSize: 16, hiddenSize: 16, layers: 'swa:4 full:nope', numHeads: 4, numKvHeads: 2, intermediateSize: 32 },
    ...{ qkNorm: true, sinks: true, outputGate: true },
  });
  const config = TrainConfigSchema.parse({ seqLen: 16, batchSize: 2, steps: STEPS });
  const source = new RecallSource(data, config.seqLen, 1, 'doctor');
  try {
    const trainer = await Trainer.create({ engine, model, config, parameters: initialParameters(model, 1) });
    const results: number[] = [];
    for (let step = 1; step <= STEPS; step++) {
      const { loss, gradNorm } = await trainer.step(nextBatch(source, config.batchSize), config.lr, step);
      results.push(loss, gradNorm);
    }
    await trainer.dispose();
    return results;
  } finally {
    await engine.dispose();
  }
}

function environment(): Record<string, string> {
  const { cores } = machine();
  const version = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return {
    longsight: version.version,
    node: process.versions.node,
    platform: `${platform()} ${release()} ${arch()}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: String(cores),
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
  };
}
