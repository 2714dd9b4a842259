import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { inspectHfConfig, openHfModel, readSafetensors } from '../../../src/checkpoint/index.js';
import type { Family } from '../../../src/checkpoint/hf/family/family.js';
import { Optional, WITHOUT_EFFECT } from '../../../src/checkpoint/hf/family/fields.js';
import { FAMILIES } from '../../../src/checkpoint/hf/registry.js';
import { LongsightError, readJson, tensorFrom, toNumbers, type HostTensor } from '../../../src/core/index.js';
import { evaluateReference } from '../../../src/engine/index.js';
import { input, makeGraph } from '../../../src/graph/index.js';
import { forward, parameterInputs } from '../../../src/model/index.js';

const DATA = join(import.meta.dirname, '..', '..', 'data');
const MISSING = '@missing';

/** What Transformers makes of a field's value: as the folder is, no model, or these logits. */
type Verdict = 'same' | 'raises' | readonly number[];

interface Walk {
  /** The fields of the class with their defaults, and those that may be null. */
  readonly class: Readonly<Record<string, unknown>>;
  readonly nullable: readonly string[];
  /** What the class makes of an empty config.json, of 8 layers. */
  readonly resolved: Readonly<Record<string, unknown>>;
  readonly folder: string;
  readonly places: readonly (readonly [position: number, token: number])[];
  readonly base: readonly number[];
  readonly cases: readonly (readonly [field: string, value: unknown, verdict: Verdict])[];
}

const root = mkdtempSync(join(tmpdir(), 'longsight-fields-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** The value of a key, computed where there is none. */
function once<T>(known: Map<string, T>, key: string, compute: () => T): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  const value = compute();
  known.set(key, value);
  return value;
}

/** What Longsight makes of a config.json beside the folder's tensors: its logits at the places, or why not. */
function reader(walk: Walk): (config: Readonly<Record<string, unknown>>) => readonly number[] | string {
  const from = join(DATA, 'hf', walk.folder);
  const at = mkdtempSync(join(root, 'model-'));
  for (const file of readdirSync(from).filter((f) => /^model.*safetensors/.test(f)))
    symlinkSync(join(from, file), join(at, file));
  const ids = readSafetensors(join(from, 'expected.safetensors'))['input_ids'] as HostTensor;
  const T = ids.shape[1] as number;
  const first = toNumbers(ids).slice(0, T);
  // What a folder gives follows from its tensors, which stay, and from what its config.json is read as: most values of
  // a field are read as others are, and their folder is opened once. One field says in which order rows are read,
  // which the model does not show.
  const opened = new Map<string, readonly number[] | string>();
  const computed = new Map<string, readonly number[]>();
  const path = join(at, 'config.json');
  const open = (json: object, order: string): readonly number[] => {
    // Not written over: file systems bring a file that is cut and written anew to the disk at once.
    rmSync(path, { force: true });
    writeFileSync(path, JSON.stringify(json));
    const { config, parameters } = openHfModel(at);
    return once(computed, JSON.stringify([config, order]), () => {
      const tokens = input('tokens', 'i32', [1, T]);
      const values = parameterInputs(config, 'f32');
      const graph = makeGraph(
        { ...Object.fromEntries(values), tokens },
        { logits: forward(config, values, tokens).logits },
      );
      const results = evaluateReference(graph, {
        ...Object.fromEntries(parameters()),
        tokens: tensorFrom('i32', [1, T], first),
      });
      const logits = toNumbers(results['logits'] as HostTensor);
      return walk.places.map(([t, v]) => logits[t * config.vocabSize + v] as number);
    });
  };
  const orRefused = <T>(compute: () => T): T | string => {
    try {
      return compute();
    } catch (error) {
      if (error instanceof LongsightError) return error.message;
      throw error;
    }
  };
  return (json) => {
    const reading = orRefused(() => inspectHfConfig(json, path));
    if (typeof reading === 'string') return reading;
    const { modelType, config, unsupported, quantization } = reading;
    const order = String(json['rope_interleave']);
    const key = JSON.stringify([modelType, config, unsupported, quantization, order]);
    return once(opened, key, () => orRefused(() => open(json, order)));
  };
}

/** Fields that exports write in their own way: longest texts, experts, windows that no layer has. */
const OWN = new Set([
  'max_position_embeddings',
  'num_local_experts',
  'num_experts',
  'num_experts_per_tok',
  'mlp_only_layers',
  'mlp_layer_types',
  'moe_layers',
  'first_k_dense_replace',
  'block_auto_adjust_ff_dim',
]);

function close(a: readonly number[], b: readonly number[]): boolean {
  const tolerance = 1e-4 * Math.max(1, ...b.map(Math.abs));
  return a.every((x, i) => Math.abs(x - (b[i] as number)) <= tolerance);
}

/** The cases of a walk that Longsight reads differently without a word, and those that it refuses though they have a value. */
function compare(walk: Walk): { wrong: string[]; refused: [field: string, why: string][] } {
  const read = reader(walk);
  const base = readJson(join(DATA, 'hf', walk.folder, 'config.json')) as Record<string, unknown>;
  const [wrong, refused]: [string[], [string, string][]] = [[], []];
  for (const [field, value, verdict] of walk.cases) {
    const changed = { ...base, ...(field === '*' ? (value as object) : { [field]: value }) };
    const ours = read(Object.fromEntries(Object.entries(changed).filter(([, v]) => v !== MISSING)));
    const what = `${field} ${JSON.stringify(value)}`;
    if (typeof ours === 'string') {
      if (verdict !== 'raises') refused.push([field, `${what}: ${ours}`]);
      continue;
    }
    const theirs = verdict === 'same' ? walk.base : verdict;
    if (theirs === 'raises') {
      // Fields that change no value may hold what Transformers stumbles over.
      if (!WITHOUT_EFFECT.has(field)) wrong.push(`${what}: raises in Transformers`);
    } else if (!close(ours, theirs))
      wrong.push(`${what}: ${ours.map((v) => v.toPrecision(4)).join(' ')} for ${theirs.join(' ')}`);
  }
  return { wrong, refused };
}

const WALKS = readdirSync(join(DATA, 'hf-fields')).map((file) => file.replace('.json', ''));
const walkOf = (type: string) => readJson(join(DATA, 'hf-fields', `${type}.json`)) as Walk;

/** Fields that are refused with some of the values that Transformers computes with; `*` is several at once. */
const REFUSED = new Set(
  (
    '* is_causal per_layer_config partial_rotary_factor rope_parameters rope_scaling hidden_act hidden_activation hidden_mamba_act layer_types ' +
    'sliding_window use_sliding_window num_local_experts use_bidirectional_attention rescale_prenorm_residual eps'
  ).split(' '),
);

describe('every field of config.json', () => {
  it.each(WALKS)('is read as Transformers reads it, or refused: %s', (type) => {
    const walk = walkOf(type);
    const { wrong, refused } = compare(walk);
    expect(wrong).toEqual([]);
    // Biases, norms and gates that are stored and not asked for are in the way by the name of their tensors; a head width of null is
    // the default of one class that has no such field; more layers than there are have no keys of their own. Fewer shared blocks than are stored lack copies. Classes take experts of other groups where the chosen ones hold too few.
    const other = refused.filter(
      ([field, why]) =>
        !REFUSED.has(field) &&
        !/has no place for .*(bias|experts|post_ffn_norm|gate_proj|v_proj|shared_mlp|adapter_list)|lacks tensor .*shared_transf|attention_out_bias true|num_kv_shared_layers [46]|head_dim is null|num_(local_)?experts null|more than the \d+ experts of/.test(
          why,
        ),
    );
    expect(other).toEqual([]);
    expect(refused.length).toBeLessThan(walk.cases.length / 8);
  });

  it.each(WALKS)('has a default as in the class, or has no effect: %s', (type) => {
    const { class: byClass, nullable } = walkOf(type);
    const { fields } = FAMILIES.find((f) => f.modelTypes.includes(type)) as Family;
    const ours = Object.entries(fields).map(([name, value]) => [
      name,
      value instanceof Optional ? value.value : value,
      value instanceof Optional,
    ]);
    const theirs = Object.keys(byClass)
      .filter((name) => !WITHOUT_EFFECT.has(name) || fields[name] !== undefined)
      .map((name) => [name, byClass[name], nullable.includes(name)]);
    expect(ours.sort()).toEqual(theirs.sort());
  });

  it.each(WALKS.filter((type) => !('raises' in walkOf(type).resolved)))(
    'that is missing gives what an empty config.json gives: %s',
    (type) => {
      const { config, family } = inspectHfConfig({ model_type: type, num_hidden_layers: 8 }, 'config.json');
      // Granite's own intermediate_size is that of experts; its MLP is the shared one.
      const written = JSON.parse(JSON.stringify(family.write?.(config))) as Record<string, unknown>;
      // LFM2's is what the width of its MLP is computed from, unless it is written as it is.
      // Llama 4's is that of experts too.
      if (['granitemoehybrid', 'lfm2', 'llama4_text'].includes(type)) delete written['intermediate_size'];
      // The class alone leaves positions open, without which it computes nothing.
      if (type === 'cohere_compass_text') delete written['rope_parameters'];
      // Exports keep all tokens where a text is generated with a cache.
      if (type === 'moshi') delete written['sliding_window'];
      // The class's own stack holds a layer of experts.
      if (type === 'nemotron_h') delete written['layers_block_type'];
      const { resolved } = walkOf(type);
      // Exports have the words of its published models, which mean the same.
      if (type === 'granitemoehybrid') {
        const words = new Map([
          ['mamba', 'linear_attention'],
          ['attention', 'full_attention'],
        ]);
        written['layer_types'] = (written['layer_types'] as string[]).map((word) => words.get(word));
      }
      // The class writes YaRN's factor as two mscales, an export as what follows from them.
      if (type === 'ministral3') {
        const { attention_factor: factor, truncate, ...rope } = written['rope_parameters'] as Record<string, unknown>;
        expect([factor, truncate]).toEqual([1, true]);
        expect(resolved['rope_parameters']).toMatchObject({ ...rope, mscale: 1, mscale_all_dim: 1 });
        delete written['rope_parameters'];
      }
      const shared = Object.keys(written).filter(
        (name) => resolved[name] !== undefined && resolved[name] !== null && !OWN.has(name),
      );
      const pick = (from: Record<string, unknown>) => Object.fromEntries(shared.map((name) => [name, from[name]]));
      expect(shared.length).toBeGreaterThan(8);
      expect(pick(written)).toEqual(pick(resolved));
    },
  );
});

describe('proportional positions', () => {
  it.each(['zaya-partial', 'laguna', 'mimo-v2-flash', 'qwen3-next', 'qwen3-5'])(
    'are refused of %s, whose class pairs channels otherwise where only a share of them turns',
    (name) => {
      const json = readJson(join(DATA, 'hf', name, 'config.json')) as Record<string, unknown>;
      const proportional = (rope: object): object =>
        'rope_theta' in rope
          ? { ...rope, rope_type: 'proportional', partial_rotary_factor: 0.5 }
          : Object.fromEntries(Object.entries(rope).map(([kind, own]) => [kind, proportional(own as object)]));
      const ropes = proportional(json['rope_parameters'] as object);
      const reading = inspectHfConfig({ ...json, rope_parameters: ropes }, 'config.json');
      expect(reading.unsupported).toContainEqual(
        expect.stringMatching(/^rotary positions of type proportional beside a partial_rotary_factor of 0\.5/),
      );
    },
  );
});
