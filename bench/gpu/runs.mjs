// Whole runs by the command line, for the scripts that start several processes, kill them and resume them.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A small hybrid on recall, and how long it trains; `tiny` to try the scripts on CPUs. */
export function smallRun(platform, train, tiny) {
  const [hiddenSize, seqLen, batchSize] = tiny ? [32, 64, 8] : [256, 256, 32];
  return {
    seed: 1,
    model: { layers: 'swa:32 full:nope', hiddenSize, numLayers: 4, numHeads: 4, intermediateSize: 2 * hiddenSize },
    data: { kind: 'recall', numKeys: 16, numValues: 16, numFillers: 32 },
    train: {
      ...{ seqLen, batchSize, lr: 1e-3, logEvery: 5, evalEvery: 20, checkpointEvery: 20 },
      precision: platform === 'cuda' ? 'bf16' : 'f32',
      ...train,
    },
  };
}

/** Runs of one configuration in subfolders of a fresh `folder`. */
export class Runs {
  constructor(home, folder, platform, run) {
    Object.assign(this, { home, folder, platform });
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'run.json'), JSON.stringify(run));
  }

  path(out, ...rest) {
    return join(this.folder, out, ...rest);
  }

  /**
   * Trains into `out`; `killAt` kills it with SIGKILL once the checkpoint of that step is there, `limit` (seconds) in any case.
   * Resolves to the exit code or the signal, and the end of what it wrote to standard error, all of which is in `out.log`.
   */
  train(out, mesh, { resume = false, killAt, limit = 120, env = {}, mayKill = () => true } = {}) {
    const settings = Object.entries(mesh).flatMap(([axis, n]) => ['--set', `mesh.${axis}=${n}`]);
    const args = ['train', join(this.folder, 'run.json'), '--out', this.path(out)];
    const log = openSync(join(this.folder, `${out}.log`), 'a');
    const child = spawn(
      process.execPath,
      [
        ...[join(this.home, 'dist/cli/main.js'), ...args, '--engine', `xla:${this.platform}`, '--quiet'],
        ...[...settings, ...(resume ? ['--resume'] : [])],
      ],
      { env: { ...process.env, ...env }, stdio: ['ignore', log, log] },
    );
    closeSync(log);
    const begin = performance.now();
    const timer = setInterval(() => {
      const due = killAt !== undefined && this.hasCheckpoint(out, killAt) && mayKill();
      if (due || performance.now() - begin > 1000 * limit) child.kill('SIGKILL');
    }, 20);
    return new Promise((done) => {
      child.on('close', (code, signal) => {
        clearInterval(timer);
        const text = readFileSync(join(this.folder, `${out}.log`), 'utf8');
        const seconds = Number(((performance.now() - begin) / 1000).toFixed(1));
        done({ ending: signal ?? code, seconds, errors: code === 0 || killAt !== undefined ? '' : text.slice(-700) });
      });
    });
  }

  #checkpoint(out, step) {
    return this.path(out, 'checkpoints', `step-${String(step).padStart(6, '0')}`);
  }

  hasCheckpoint(out, step) {
    return existsSync(this.#checkpoint(out, step));
  }

  /** A digest of the tensors of a checkpoint, or null if there is none. */
  digest(out, step) {
    const folder = this.#checkpoint(out, step);
    if (!existsSync(folder)) return null;
    const hash = createHash('sha256');
    for (const name of readdirSync(folder)
      .filter((n) => n.endsWith('.safetensors'))
      .sort()) {
      hash.update(name).update(readFileSync(join(folder, name)));
    }
    return hash.digest('hex').slice(0, 16);
  }

  /** [step, value] of a metric. */
  curve(out, name) {
    if (!existsSync(this.path(out, 'metrics.jsonl'))) return [];
    return readFileSync(this.path(out, 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
      .filter((line) => name in line)
      .map((line) => [line.step, line[name]]);
  }

  config(out) {
    return JSON.parse(readFileSync(this.path(out, 'config.json'), 'utf8'));
  }
}

/** The largest difference of two curves over the same steps, or null if their steps differ. */
export function apart(a, b) {
  if (a.length === 0 || JSON.stringify(a.map(([s]) => s)) !== JSON.stringify(b.map(([s]) => s))) return null;
  return a.reduce((most, [, x], i) => Math.max(most, Math.abs(x - b[i][1])), 0);
}
