/** `docs/hugging-face-families.md`, made from the table of families. */
import {
  HF_FAMILIES,
  HF_SHARED_FIELDS,
  HF_WITHOUT_EFFECT,
  HF_WRAPPERS,
  type HfFamily,
  type HfField,
} from '../checkpoint/index.js';
import { beside, markdownTable } from './docs-tables.js';

const code = (text: string) => `\`${text}\``;

/** The page, complete. */
export function familiesMarkdown(): string {
  const types = HF_FAMILIES.flatMap(({ modelTypes }) => modelTypes).length;
  const written = HF_FAMILIES.filter(({ architecture }) => architecture !== null).length;
  return `# Hugging Face families

<!-- Made by \`npm run docs\` from the table of families; a test compares. -->

A family is a class of Transformers whose \`config.json\` and tensors Longsight maps to its own model, and back. There are ${HF_FAMILIES.length} families for ${types} values of
\`model_type\`; ${written} of them are also written. [Hugging Face models](${beside('hugging-face')}) says in words what each can do, [hybrid
types](${beside('hugging-face-types')}) which types of Transformers are refused and what they lack.

Every field of a class is read, has no effect, or is refused by name:

- a field of a family is read; where a file does not have it, it has the default that stands below. \`null\` is refused where it is not
  marked;
- these fields change nothing that is computed from token ids, and are not read: ${HF_WITHOUT_EFFECT.map(code).join(', ')};
- these are heeded by every class and refused with another value than the one here: ${sharedFields()};
- \`quantization_config\` says how weights are stored; [FP8 and MXFP4](${beside('hugging-face')}#what-can-be-imported) are read, other methods are refused by name;
- a value that Longsight's models cannot compute is refused by name: \`longsight inspect FOLDER\` lists what cannot be imported.

## Text parts of other classes

These classes hold a text model of a family under \`text_config\`. Their parts for images and sounds are left out. None of them is written: an export has the class of the text model.

${markdownTable(
  ['`model_type`', 'text model, where the file names none', 'own fields with defaults'],
  HF_WRAPPERS.map(({ modelType, text, fields }) => [code(modelType), code(text), fields.map(fieldText).join(', ')]),
)}

## Families

In the order in which an export looks for a class that can express a model.

${HF_FAMILIES.map(section).join('\n\n')}
`;
}

/** One family. */
function section({ modelTypes, architecture, fields, aliases }: HfFamily): string {
  const others = Object.entries(aliases).map(([alias, name]) => `${code(alias)} for ${code(name)}`);
  return [
    `### ${modelTypes.map(code).join(', ')}`,
    [
      `- **Written as**: ${architecture === null ? 'not written' : code(architecture)}`,
      `- **Fields read, with defaults**: ${fields.map(fieldText).join(', ')}`,
      ...(others.length === 0 ? [] : [`- **Other names**: ${others.join(', ')}`]),
    ].join('\n'),
  ].join('\n\n');
}

const fieldText = ({ name, default: standard, mayBeNull }: HfField): string =>
  `${code(`${name}: ${standard}`)}${mayBeNull && standard !== 'null' ? ' (or null)' : ''}`;

const sharedFields = (): string =>
  Object.entries(HF_SHARED_FIELDS)
    .map(([name, values]) => values.map((value) => code(`${name}: ${value}`)).join(' or '))
    .join(', ');
