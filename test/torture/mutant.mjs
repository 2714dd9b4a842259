/**
 * A process that reads mutated files one after another and says what came of each that did not end in a clear sentence.
 * usage: node mutant.mjs INPUTS SEED FROM TO PROGRESS; prints a JSON object a line.
 */
import { mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LongsightError, Rng } from '../../dist/core/index.js';
import { MUTATORS } from './mutate.mjs';
import { place, readersOf } from './readers.mjs';

const [inputs, seed, from, to, progressPath] = process.argv.slice(2);
const byName = readersOf(inputs);
const readers = Object.entries(byName);
const progress = openSync(progressPath, 'w');
const folder = mkdtempSync(join(tmpdir(), 'longsight-mutant-'));
// Each kind's files lie in a folder of its own; only the mutated one is written anew.
const placed = new Map(readers.map(([name, reader], i) => [name, place(reader, join(mkFolder(i)))]));
const accepted = {};
// Kinds of which there are many, such as families of models, take turns: `hf gemma3`, `hf llama`, ...
const groups = new Map();
for (const [name] of readers) groups.set(name.split(' ')[0], [...(groups.get(name.split(' ')[0]) ?? []), name]);
const turns = [...groups.values()];
const nameOf = (trial) => {
  const names = turns[trial % turns.length];
  return names[Math.floor(trial / turns.length) % names.length];
};

function mkFolder(i) {
  return mkdtempSync(join(folder, `${i}-`));
}

/** What is wrong with how a reader ended; undefined if nothing is. */
function faultOf(error) {
  if (!(error instanceof LongsightError)) return String(error?.stack ?? error);
  const { message, exitCode } = error;
  if (message.startsWith('internal error')) return error.stack;
  if (exitCode !== 2) return `exit code ${exitCode}: ${error.stack}`;
  if (/[\p{Cc}\p{Bidi_Control}]/u.test(message) || message.length > 2000)
    return `a message of more than a line: ${message}`;
  return undefined;
}

// As they are, files are read: a reader that refuses everything would pass.
for (const [name, reader] of readers) {
  try {
    await reader.read(placed.get(name).path);
  } catch (error) {
    console.log(JSON.stringify({ trial: -1, name, fault: `the valid file is refused: ${error.stack}` }));
  }
}

for (let trial = Number(from); trial < Number(to); trial++) {
  const name = nameOf(trial);
  const reader = byName[name];
  const { path, bytes } = placed.get(name);
  const rng = Rng.of(Number(seed), 'mutations', trial);
  const mutated = MUTATORS[reader.format](rng, bytes);
  writeFileSync(path, mutated);
  writeSync(progress, `${trial} ${name}\n`.padEnd(60), 0);
  const begin = process.cpuUsage();
  let fault;
  try {
    await reader.read(path);
    accepted[name] = (accepted[name] ?? 0) + 1;
  } catch (error) {
    fault = faultOf(error);
  }
  // Of the processor: other processes may have it for a while.
  const used = process.cpuUsage(begin);
  const ms = (used.user + used.system) / 1000;
  if (ms > 5000) fault ??= 'slow';
  if (fault !== undefined)
    console.log(JSON.stringify({ trial, name, ms: Math.round(ms), fault, start: mutated.toString('latin1', 0, 300) }));
}
writeSync(progress, 'done'.padEnd(60), 0);
rmSync(folder, { recursive: true, force: true });
console.log(JSON.stringify({ accepted, maxRssMb: Math.round(process.resourceUsage().maxRSS / 1024) }));
