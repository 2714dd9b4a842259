// One preparation in a process of its own: seconds, tokens, peak memory. usage: measured.mjs TEXT TOKENIZER OUT WORKERS
import { prepareShards } from '../../dist/data/index.js';

const [text, tokenizerFolder, dir, workers] = process.argv.slice(2);
const begin = performance.now();
const { manifest } = await prepareShards({
  files: [text],
  tokenizerFolder,
  dir,
  workers: Number(workers),
  heldOut: 0.01,
});
console.log(
  JSON.stringify({
    seconds: (performance.now() - begin) / 1000,
    cpuSeconds: (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
    tokens: manifest.train.tokens + manifest.heldOutSplit.tokens,
    peakMb: process.resourceUsage().maxRSS / 1e3,
  }),
);
