/** `longsight doctor --self-test`: what users can try on their own machine, one line each. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf, oneLine } from '../../core/index.js';
import { createEngine, type EngineName } from '../../engine/index.js';
import { Bench, type BenchOptions } from '../self-test/bench.js';
import { enginesHere } from '../../lab/index.js';
import type { Outcome, SelfCheck } from '../self-test/definition.js';
import { SELF_CHECKS } from '../self-test/table.js';
import { windowsOn } from '../self-test/windows.js';
import type { CliContext } from '../terminal/context.js';
import { EXIT } from '../terminal/errors.js';
import type { EngineFlags } from '../terminal/options.js';
import type { Output } from '../terminal/output.js';

const STATES: Readonly<Record<Outcome['state'], string>> = { ok: 'ok', failed: 'FAILED', skipped: 'skipped' };
const NAME_WIDTH = 24;

/**
 * Tries everything in a temporary folder that is removed at the end; one line each as it is done. Ends with code 1 if a
 * check fails.
 *
 * @param flags the engine to look at (default: all that are found here), and its threads
 * @throws InterruptedError if the signal aborts
 */
export async function selfTest(flags: EngineFlags, output: Output, context: CliContext): Promise<void> {
  const asked = flags.engine === 'auto' ? undefined : flags.engine;
  const engine = asked ?? cpuEngine();
  const names = asked === undefined ? enginesHere() : [asked];
  const checks = [...SELF_CHECKS, ...names.map((name) => windowsOn(name, asked !== undefined, flags.threads))];
  const failed = await runChecks(checks, { engine, threads: flags.threads }, output, context);
  if (failed.length === 0) return;
  context.stderr.write(`longsight: the self-test failed: ${failed.join(', ')}\n`);
  context.exitWith(EXIT.failed);
}

/** The engine that trains where none was asked for: onnx, and where that is not installed the reference. */
function cpuEngine(): EngineName {
  try {
    void createEngine('onnx').dispose();
    return 'onnx';
  } catch {
    return 'reference';
  }
}

/** Runs checks one after the other and prints a line for each. Returns the names of those that failed. */
export async function runChecks(
  checks: readonly SelfCheck[],
  training: Pick<BenchOptions, 'engine' | 'threads'>,
  output: Output,
  { mainPath, signal }: CliContext,
): Promise<string[]> {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'longsight-self-test-'));
  const failed: string[] = [];
  try {
    using bench = new Bench({ folder, mainPath, ...training, signal });
    for (const check of checks) {
      const begin = performance.now();
      const { state, text } = await outcomeOf(check, bench);
      const seconds = Math.round((performance.now() - begin) / 100) / 10;
      output.result(
        `${STATES[state].padEnd(8)} ${check.name.padEnd(NAME_WIDTH)} ${oneLine(text)} (${seconds.toFixed(1)} s)`,
        { event: 'self-test', check: check.name, state, text, seconds },
      );
      if (state === 'failed') failed.push(check.name);
    }
  } finally {
    // A process that was just killed may still be writing its last file.
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
  return failed;
}

async function outcomeOf(check: SelfCheck, bench: Bench): Promise<Outcome> {
  bench.signal.throwIfAborted();
  try {
    return await check.run(bench);
  } catch (error) {
    bench.signal.throwIfAborted();
    return { state: 'failed', text: messageOf(error) };
  }
}
