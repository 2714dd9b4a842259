/** The files of an exported model, as docs/formats.md describes them. */
import { z } from 'zod';
import { field, type FileFormat } from '../../core/index.js';
import { EXPORT_DTYPES } from './export.js';
import { CONFIG_FILE } from './open.js';
import { INDEX_FILE, MODEL_FILE } from './places.js';
import { GENERATION_FILE, OTHER_FILES, SETTINGS_FILE, TOKENIZER_FILE } from './tokenizer-files.js';

const ids = z.union([z.int(), z.array(z.int())]).nullable();
const end = 'token or tokens that end a text, by their ids; null where none is known';

const config = z.looseObject({
  architectures: field(z.array(z.string()), 'the class of Transformers, in a list of one'),
  model_type: field(z.string(), 'its type, as `--type` takes it'),
  dtype: field(z.enum(EXPORT_DTYPES), 'what tensors are stored in'),
  bos_token_id: field(ids, 'token that begins a text; of an imported model that of its folder'),
  eos_token_id: field(ids, end),
  pad_token_id: field(ids, 'token that fills a batch; of an imported model that of its folder'),
});

const generation = z.looseObject({
  eos_token_id: field(ids.optional(), 'token or tokens at which generation stops; left out where none is known'),
});

const index = z.strictObject({
  metadata: field(z.strictObject({ total_size: field(z.int(), 'all tensors', 'bytes') }), 'what stands beside the map'),
  weight_map: field(z.record(z.string(), z.string()), 'the file of each tensor, by its name'),
});

/** The files of a folder that `longsight export` makes. */
export const EXPORT_FILES: readonly FileFormat[] = [
  {
    path: CONFIG_FILE,
    type: 'JSON',
    holds: 'the class of Transformers and its settings',
    fields: config,
    elsewhere: {
      fields: [],
      where:
        'The other fields are the settings of the class, as Transformers documents them; [the families](hugging-face-families.md) say which ' +
        'Longsight writes.',
    },
  },
  {
    path: `${MODEL_FILE}, model-N-of-N.safetensors`,
    type: 'safetensors, of `--dtype`',
    holds: 'the tensors, with the names and shapes of the class; several files where one would exceed `--shard-size`',
    fields: null,
  },
  {
    path: INDEX_FILE,
    type: 'JSON',
    holds: 'which tensor is in which of several files; none of a single file',
    fields: index,
  },
  {
    path: GENERATION_FILE,
    type: 'JSON',
    holds:
      'where generation stops; none where no token is known to end a text and the folder that it was imported from has none',
    fields: generation,
    elsewhere: { fields: [], where: 'The other fields are those of the folder that a model was imported from.' },
  },
  {
    path: `${TOKENIZER_FILE}, ${SETTINGS_FILE}`,
    type: 'JSON',
    holds: 'the tokenizer, copied as it is, or one for bytes; none of models that read no text',
    fields: null,
  },
  {
    path: OTHER_FILES.join(', '),
    type: 'JSON, or a template',
    holds: 'copied with the tokenizer where they are there',
    fields: null,
  },
];
