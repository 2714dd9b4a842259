/**
 * What a folder of predictions was made from: kept beside them, so that answers are never scored as those to something
 * else.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { canonicalJson, ConfigError, fingerprint, readJson, writeJsonAtomic, clip } from '../../core/index.js';
import type { RulerSample } from '../../data/index.js';

const RECORD_FILE = 'run.json';
/** Hexadecimal digits kept of a sample's fingerprint: 64 bits. */
const SAMPLE_DIGITS = 16;

const recordSchema = z.looseObject({
  format: z.literal(2),
  of: z.record(z.string(), z.unknown()),
  files: z.record(z.string(), z.object({ settings: z.record(z.string(), z.unknown()), samples: z.array(z.string()) })),
});
type Stored = z.output<typeof recordSchema>;
type StoredFile = Stored['files'][string];

/** One file of predictions and everything of its own that decides them. */
export interface ClaimedFile {
  /** The file's name, without its ending. */
  readonly name: string;
  /** The settings that predictions depend on, by words that a message can use, such as `answer tokens`. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly samples: readonly RulerSample[];
}

/** What all predictions of a folder depend on: contents or their fingerprints, by words that a message can use. */
export type PredictionOrigin = Readonly<Record<string, unknown>>;

/**
 * Checks that a folder may take predictions of these samples by this model, or goes on in one that holds some; other
 * files may join.
 *
 * @param about said in the record, and not compared
 * @returns what writes the record, to be called once the folder's lock is held; it checks again
 * @throws ConfigError if the folder holds predictions of anything else, naming what differs; nothing is written then
 */
export function claimPredictions(
  dir: string,
  of: PredictionOrigin,
  files: Iterable<ClaimedFile>,
  about: Readonly<Record<string, unknown>> = {},
): () => void {
  const prints = new Map<string, StoredFile>();
  for (const { name, settings, samples } of files)
    prints.set(name, {
      settings: { ...settings },
      samples: samples.map((s) => fingerprint([s.index, s.prompt, s.outputs]).slice(0, SAMPLE_DIGITS)),
    });
  const joined = () => joinRecord(dir, of, prints);
  joined();
  return () => writeJsonAtomic(join(dir, RECORD_FILE), { ...about, format: 2, of, files: joined() });
}

/** The files of a folder's record, and those that join it. */
function joinRecord(
  dir: string,
  of: PredictionOrigin,
  files: ReadonlyMap<string, StoredFile>,
): Record<string, StoredFile> {
  const path = join(dir, RECORD_FILE);
  const refuse = (what: string): never => {
    throw new ConfigError(
      `${dir} holds predictions of another model or other samples (${what}); choose another folder (--out)`,
      {
        details: { path },
      },
    );
  };
  const stored = existsSync(path) ? recordSchema.safeParse(readJson(path)) : null;
  if (stored?.success === false) refuse(`${RECORD_FILE} does not say what they were made from`);
  const before: Stored = stored?.data ?? { format: 2, of: { ...of }, files: {} };
  const other = changed(before.of, of);
  if (other !== undefined) refuse(`${other} differ`);
  const now: Record<string, StoredFile> = { ...before.files };
  for (const [name, file] of files) {
    const known = before.files[name];
    if (known === undefined && existsSync(join(dir, `${name}.jsonl`)))
      refuse(`${RECORD_FILE} does not know ${name}.jsonl`);
    if (known !== undefined) checkFile(name, known, file, refuse);
    now[name] = file;
  }
  return now;
}

function checkFile(name: string, known: StoredFile, now: StoredFile, refuse: (what: string) => never): void {
  const setting = changed(known.settings, now.settings);
  if (setting !== undefined) {
    const show = (value: unknown) => (value === undefined ? 'not said' : clip(JSON.stringify(value)));
    const [was, is] = [show(known.settings[setting]), show(now.settings[setting])];
    refuse(`${name}: ${setting} was ${was}, now ${is}`);
  }
  const [there, here] = [known.samples.length, now.samples.length];
  const at = known.samples.findIndex((sample, i) => i < here && sample !== now.samples[i]);
  if (at >= 0) refuse(`${name}: sample ${at} differs`);
  if (there !== here) refuse(`${name}: ${there} samples there, ${here} here`);
}

/** The first name under which two records differ. */
function changed(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): string | undefined {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names.find((name) => canonicalJson(a[name]) !== canonicalJson(b[name]));
}
