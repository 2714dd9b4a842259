/** Progress of runs and studies: bars on a terminal, lines elsewhere, events with --json, nothing with --quiet. */
import cliProgress from 'cli-progress';
import type { PrepareProgress } from '../../data/index.js';
import { evalEvent, evalWords, type EvalRecord } from '../../lab/index.js';
import { formatTokens } from '../../core/index.js';
import {
  etaSeconds,
  formatDuration,
  type PlannedRun,
  type RunOutcome,
  type StudyObserver,
  type StudySnapshot,
} from '../../study/index.js';
import type { TrainProgress } from '../../train/index.js';
import type { Output } from './output.js';

/** Milliseconds between two lines of progress where no bar is drawn. */
const LINE_INTERVAL_MS = 15_000;
const BAR = { hideCursor: true, clearOnComplete: true, barCompleteChar: '█', barIncompleteChar: '░', fps: 8 };

/** Shows one run. */
export class RunProgress {
  readonly #output: Output;
  readonly #bar: cliProgress.SingleBar | null;
  #lastMs = -Infinity;
  #loss: number | null = null;

  constructor(output: Output) {
    this.#output = output;
    const format = '{bar} {percentage} %  step {value}/{total}  loss {loss}  {speed} tok/s  {eta_text}';
    this.#bar = output.isTerminal ? new cliProgress.SingleBar({ ...BAR, format }) : null;
  }

  step(progress: TrainProgress): void {
    const { step, steps, tokens, loss, tokPerSec } = progress;
    this.#loss = this.#loss === null ? loss : 0.9 * this.#loss + 0.1 * loss;
    const left = etaSeconds([(steps - step) * (tokens / step)], [], 1, tokPerSec);
    const eta = left === null ? '' : `${formatDuration(left)} left`;
    const fields = { loss: this.#loss.toFixed(3), speed: formatTokens(tokPerSec), eta_text: eta };
    if (this.#bar !== null) {
      if (this.#bar.isActive) this.#bar.update(step, fields);
      else this.#bar.start(steps, step, fields);
      return;
    }
    const now = performance.now();
    if (now - this.#lastMs < LINE_INTERVAL_MS && step < steps) return;
    this.#lastMs = now;
    this.#output.note(`step ${step}/${steps}  loss ${fields.loss}  ${fields.speed} tok/s  ${eta}`);
    this.#output.event({ event: 'progress', step, steps, tokens, loss, tokPerSec, secondsLeft: left });
  }

  evaluated(record: EvalRecord): void {
    const words = evalWords(record);
    if (words !== '') this.#line(`step ${record.step}: ${words}`);
    this.#output.event({ event: 'evaluated', ...evalEvent(record) });
  }

  note(text: string): void {
    this.#line(text);
    this.#output.event({ event: 'note', text });
  }

  stop(): void {
    this.#bar?.stop();
  }

  /** A line above the bar, if there is one: it is drawn again at the next step. */
  #line(text: string): void {
    if (this.#bar?.isActive === true) this.#bar.stop();
    this.#output.note(text);
  }
}

/** Shows how much of some files is done. */
export class BytesProgress {
  readonly #output: Output;
  readonly #bar: cliProgress.SingleBar | null;
  readonly #startMs = performance.now();
  #lastMs = performance.now();

  constructor(output: Output) {
    this.#output = output;
    const format = '{bar} {percentage} %  {done}  {speed}  {eta_text}';
    this.#bar = output.isTerminal ? new cliProgress.SingleBar({ ...BAR, format }) : null;
  }

  /** `freshBytes` of `bytes` were done since this start: speed and time left come from them. */
  update({ bytes, totalBytes, freshBytes }: PrepareProgress): void {
    const seconds = (performance.now() - this.#startMs) / 1000;
    const speed = freshBytes / Math.max(seconds, 1e-3);
    const left = freshBytes > 0 ? (totalBytes - bytes) / speed : null;
    const fields = {
      done: `${(bytes / 1e6).toFixed(0)}/${(totalBytes / 1e6).toFixed(0)} MB`,
      speed: `${(speed / 1e6).toFixed(1)} MB/s`,
      eta_text: left === null ? '' : `${formatDuration(left)} left`,
    };
    if (this.#bar !== null) {
      if (this.#bar.isActive) this.#bar.update(bytes, fields);
      else this.#bar.start(totalBytes, bytes, fields);
      return;
    }
    const now = performance.now();
    if (now - this.#lastMs < LINE_INTERVAL_MS) return;
    this.#lastMs = now;
    this.#output.note(`${fields.done}  ${fields.speed}  ${fields.eta_text}`);
    this.#output.event({ event: 'progress', bytes, totalBytes, bytesPerSecond: speed, secondsLeft: left });
  }

  stop(): void {
    this.#bar?.stop();
  }
}

/** Shows a study: one bar for all of it on a terminal, a line for every run that starts or ends. */
export class StudyProgress implements StudyObserver {
  readonly #output: Output;
  readonly #bar: cliProgress.SingleBar | null;
  #lastMs = performance.now();
  /** Runs by what was said of them: a sentence is printed once, and at the end with all runs that it is about. */
  readonly #notes = new Map<string, string[]>();

  constructor(output: Output) {
    this.#output = output;
    const format = '{bar} {percentage} %  {runs}  {eta_text}  {active}';
    this.#bar = output.isTerminal ? new cliProgress.SingleBar({ ...BAR, format, barsize: 24 }) : null;
  }

  started(run: PlannedRun, how: 'new' | 'resumed' | 'retried', place: string): void {
    if (how !== 'new') this.#line(`${how}: ${run.name}${place === 'cpu' ? '' : ` on ${place}`}`);
    this.#output.event({ event: 'started', run: run.name, how, place });
  }

  waiting(runs: readonly string[]): void {
    this.#line(`waiting for the processes of an earlier call to save ${runs.join(', ')} and end`);
    this.#output.event({ event: 'waiting', runs });
  }

  note(run: PlannedRun, text: string): void {
    const about = this.#notes.get(text) ?? [];
    if (about.length === 0) this.#line(`${run.name}: ${text}`);
    if (!about.includes(run.name)) this.#notes.set(text, [...about, run.name]);
    this.#output.event({ event: 'note', run: run.name, text });
  }

  progress(_run: PlannedRun, snapshot: StudySnapshot): void {
    const text = describe(snapshot);
    if (this.#bar !== null) {
      const fields = { runs: text.runs, eta_text: text.eta, active: text.active };
      if (this.#bar.isActive) this.#bar.update(snapshot.tokensDone, fields);
      else this.#bar.start(snapshot.tokensTotal, snapshot.tokensDone, fields);
      return;
    }
    const now = performance.now();
    if (now - this.#lastMs < LINE_INTERVAL_MS) return;
    this.#lastMs = now;
    this.#output.note(`${text.percent}  ${text.runs}  ${text.eta}  ${text.active}`);
    const { total, finished, failed, tokensDone, tokensTotal, eta } = snapshot;
    const active = Object.fromEntries(
      [...snapshot.active].map(([name, p]) => [name, { ...p, place: snapshot.places.get(name) ?? 'cpu' }]),
    );
    this.#output.event({
      event: 'progress',
      total,
      finished,
      failed,
      tokensDone,
      tokensTotal,
      secondsLeft: eta,
      active,
    });
  }

  finished(run: PlannedRun, outcome: RunOutcome, snapshot: StudySnapshot): void {
    const why = outcome.message === undefined ? '' : `: ${outcome.message}`;
    const where = outcome.place === undefined ? '' : ` on ${outcome.place}`;
    this.#line(`[${snapshot.finished + snapshot.failed}/${snapshot.total}] ${run.name} ${outcome.state}${where}${why}`);
    const { state, message = null, place = null } = outcome;
    this.#output.event({ event: 'finished', run: run.name, state, message, place });
  }

  stop(): void {
    this.#bar?.stop();
    for (const [text, runs] of this.#notes) {
      if (runs.length > 1) this.#output.note(`said of ${runs.length} runs (${runs.join(', ')}): ${text}`);
    }
  }

  /** A line above the bar, if there is one. */
  #line(text: string): void {
    if (this.#bar?.isActive === true) this.#bar.stop();
    this.#output.note(text);
  }
}

function describe({ total, finished, failed, active, places, tokensDone, tokensTotal, eta }: StudySnapshot) {
  const runs = `${finished}/${total} runs${failed > 0 ? `, ${failed} failed` : ''}`;
  const current = [...active].map(([name, p]) => {
    const place = places.get(name);
    return `${place === undefined ? '' : `${place}: `}${name} ${Math.floor((100 * p.step) / p.steps)} %`;
  });
  return {
    percent: `${Math.floor((100 * tokensDone) / tokensTotal)} %`,
    runs,
    eta: eta === null ? '' : `${formatDuration(eta)} left`,
    active: current.join(', '),
  };
}
