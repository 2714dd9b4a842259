/** Where the tensors of a Transformers folder stand: one file, or shards with an index. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { parseStored, readJson, sameShape, sizeOf, StoreError, clip } from '../../core/index.js';
import { SafetensorsFile } from '../safetensors.js';
import { TensorReader } from './reader.js';
import type { NamedPlace, TensorFiles, TensorPlace } from './stored-tensor.js';

export type { NamedPlace, TensorFiles } from './stored-tensor.js';

/** The name of the tensor file of a model in one file. */
export const MODEL_FILE = 'model.safetensors';
/** The name of the index of a model in several tensor files. */
export const INDEX_FILE = 'model.safetensors.index.json';

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** Elements that are compared at a time. */
const CHUNK = 2 ** 20;

/**
 * The tensors of a folder, headers checked against the sizes of the files.
 *
 * @throws StoreError naming a file or shard that is missing or damaged, or a tensor that the index places wrongly
 */
export function tensorFiles(folder: string): TensorFiles {
  const [single, index] = [join(folder, MODEL_FILE), join(folder, INDEX_FILE)];
  const found = new Map<string, TensorPlace>();
  const add = (path: string): ReadonlySet<string> => {
    using file = new SafetensorsFile(path);
    for (const { name, shape, stored, begin, end } of file.entries.values()) {
      const place = { path, shape, stored, bytes: end - begin };
      const other = found.get(name);
      if (other !== undefined && !sameStored({ name, ...other }, { name, ...place })) {
        throw new StoreError(
          `${other.path} and ${path} both hold tensor ${clip(name)}, with different values; keep it in one shard only`,
          { details: { name, paths: [other.path, path] } },
        );
      }
      found.set(name, place);
    }
    return new Set(file.entries.keys());
  };
  if (existsSync(single)) {
    add(single);
    return found;
  }
  if (!existsSync(index)) {
    throw new StoreError(`${folder} has neither ${MODEL_FILE} nor ${INDEX_FILE}; name the folder of a saved model`, {
      details: { folder },
    });
  }
  const { weight_map: map } = parseStored(indexSchema, readJson(index), index);
  const places = Object.entries(map);
  // Every shard is opened, not only those of tensors that are asked for: a missing one is told before anything is read.
  const held = new Map<string, ReadonlySet<string>>();
  for (const shard of new Set(places.map(([, file]) => file))) {
    if (shard.includes('/') || shard.includes('\\')) {
      throw new StoreError(`${index} names the shard ${clip(shard)}; shards must lie in the folder itself`);
    }
    held.set(shard, add(join(folder, shard)));
  }
  for (const [name, shard] of places) {
    if (held.get(shard)?.has(name) === true) continue;
    throw new StoreError(`${index} places tensor ${clip(name)} in ${clip(shard)}, which does not hold it`, {
      details: { name, shard },
    });
  }
  return found;
}

/**
 * Whether two stored tensors have the same shape and the same values, as numbers; NaN equals NaN. Those that are no
 * floats are compared by their bytes. Reads both in chunks.
 */
export function sameStored(a: NamedPlace, b: NamedPlace): boolean {
  if (!sameShape(a.shape, b.shape)) return false;
  using readerA = new TensorReader(new Map([[a.name, a]]));
  using readerB = new TensorReader(new Map([[b.name, b]]));
  const size = sizeOf(a.shape);
  const isFloat = (place: TensorPlace) => place.coding !== undefined || /^B?F/.test(place.stored);
  for (let first = 0; first < size; first += CHUNK) {
    const last = Math.min(size, first + CHUNK);
    if (isFloat(a) && isFloat(b)) {
      if (!sameFloats(readerA.floats(a.name, first, last), readerB.floats(b.name, first, last))) return false;
    } else {
      if (a.stored !== b.stored) return false;
      const width = a.bytes / size;
      const [ours, theirs] = [new Uint8Array((last - first) * width), new Uint8Array((last - first) * width)];
      readerA.bytes(a, first, ours);
      readerB.bytes(b, first, theirs);
      if (ours.some((v, i) => v !== theirs[i])) return false;
    }
  }
  return true;
}

function sameFloats(a: Float32Array, b: Float32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i] && !(Number.isNaN(a[i]) && Number.isNaN(b[i]))) return false;
  return true;
}

/** The files that hold a folder's tensors, sorted by path; see `tensorFiles`. */
export function weightFiles(folder: string): string[] {
  return [...new Set([...tensorFiles(folder).values()].map(({ path }) => path))].sort();
}
