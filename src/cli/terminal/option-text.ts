/** What help and `docs/commands.md` say of an option. */
import { Help, type Option } from 'commander';

const HELP = new Help();

/** The description of an option, its default as the option takes it: a list with commas, an empty one not at all. */
export function optionDescription(option: Option): string {
  const text = HELP.optionDescription(option);
  const list: unknown = option.defaultValue;
  if (!Array.isArray(list)) return text;
  const shown = `default: ${JSON.stringify(list)}`;
  return list.length === 0 ? text.replace(` (${shown})`, '') : text.replace(shown, `default: ${list.join(',')}`);
}
