/** Trains one design of the playground beside the page, by the code that trains in Node. */
import * as ort from 'onnxruntime-web/wasm';
import { config as zod } from 'zod';
import { input, makeGraph, neg } from '../../src/graph/index.js';
import { createWebOnnxEngine } from '../../src/engine/onnx/web.js';
import { MEASURE_EVERY } from '../../src/playground/design.js';
import { Session } from '../../src/playground/session.js';
import type { Answer, Request } from '../../src/playground/protocol.js';

// Schemas would compile themselves to functions, which the page's security policy does not allow.
zod({ jitless: true });

const say = (answer: Answer): void => self.postMessage(answer);

/** The run that is under way. */
let session: Session | null = null;
/** The step to train up to, and whether to measure there. */
let goal = { until: 0, measure: false };
/** The step that was measured last. */
let measuredAt = -1;

/** A module of WebAssembly with one function, which gives `f32x4.relaxed_madd` of its three arguments. */
const RELAXED_SIMD = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x08, 0x01, 0x60, 0x03, 0x7b, 0x7b, 0x7b, 0x01, 0x7b],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x0a, 0x0d, 0x01, 0x0b, 0x00, 0x20, 0x00, 0x20, 0x01, 0x20, 0x02, 0xfd, 0x85, 0x02, 0x0b],
);

async function load({ files, threads }: Extract<Request, { kind: 'load' }>): Promise<void> {
  const relaxedSimd = WebAssembly.validate(RELAXED_SIMD);
  const wasm = relaxedSimd ? 'ort-wasm-simd-threaded.relaxed.wasm' : 'ort-wasm-simd-threaded.wasm';
  ort.env.wasm.wasmPaths = { mjs: `${files}ort-wasm-simd-threaded.mjs`, wasm: `${files}${wasm}` };
  ort.env.wasm.numThreads = threads;
  const engine = createWebOnnxEngine(ort);
  // A first program, so that everything is fetched: the page then works without a network.
  const x = input('x', 'f32', [1]);
  const program = await engine.compile(makeGraph({ x }, { y: neg(x) }));
  await program.dispose();
  say({ kind: 'loaded', library: engine.info.library, relaxedSimd, threads: engine.info.threads });
}

async function begin({ run }: Extract<Request, { kind: 'begin' }>): Promise<void> {
  await session?.dispose();
  session = await Session.begin(createWebOnnxEngine(ort), run);
  const measured = await session.measure();
  measuredAt = 0;
  say({ kind: 'begun', parameters: session.parameters, labels: session.labels, measured });
}

const turns = new MessageChannel();

/** Lets the worker read the requests that came meanwhile. A timer would wait 4 ms, as browsers have it for timers in timers. */
const requestsRead = (): Promise<void> =>
  new Promise((done) => {
    turns.port1.onmessage = () => done();
    turns.port2.postMessage(null);
  });

/** Trains up to the goal, which a request may move between two steps. */
async function train(own: Session): Promise<void> {
  while (own.step < goal.until) {
    const since = performance.now();
    const point = await own.train();
    say({ kind: 'stepped', point, milliseconds: performance.now() - since });
    if (point.step % MEASURE_EVERY === 0) await measure(own);
    await requestsRead();
  }
  if (goal.measure) await measure(own);
  say({ kind: 'rests', step: own.step });
}

async function measure(own: Session): Promise<void> {
  if (measuredAt === own.step) return;
  measuredAt = own.step;
  say({ kind: 'measured', point: await own.measure() });
}

async function answer(request: Request): Promise<void> {
  switch (request.kind) {
    case 'load':
      return load(request);
    case 'begin':
      return begin(request);
    case 'train':
      return session === null ? undefined : train(session);
    case 'pause':
      return undefined;
  }
}

/** What was asked is done one after another; only the goal of training changes at once. */
let last: Promise<void> = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<Request>): void => {
  if (data.kind === 'train') goal = { until: data.until, measure: data.measure };
  else goal = { until: 0, measure: false };
  last = last
    .then(() => answer(data))
    .catch((error: unknown) =>
      say({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
    );
};
