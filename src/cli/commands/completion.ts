/** `longsight completion SHELL`: a script that completes commands and options, derived from the table of commands. */
import { Argument, Command } from 'commander';
import { ENGINE_NAMES } from '../../engine/index.js';
import type { AddCommand, CliContext } from '../terminal/context.js';

type Shell = 'bash' | 'zsh' | 'fish';

/** What is read of the table of commands. */
interface Listed {
  readonly hidden?: boolean;
  readonly load: () => Promise<AddCommand>;
}

/** One command or subcommand: its words after `longsight`, and what may follow. */
interface Place {
  readonly path: readonly string[];
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly options: readonly { readonly flag: string; readonly summary: string }[];
}

/** Makes `longsight completion` for a table of commands. */
export const completionOf =
  (entries: readonly Listed[]): AddCommand =>
  (program, context) => {
    program
      .command('completion')
      .summary('a script with which bash, zsh or fish completes commands and options')
      .description(
        'Prints a script with which a shell completes commands, subcommands and options. bash: source <(longsight ' +
          'completion bash); zsh: source <(longsight completion zsh); fish: longsight completion fish | source.',
      )
      .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(SCRIPTS)))
      .action(async (shell: Shell) => {
        context.stdout.write(SCRIPTS[shell](await placesOf(entries, context)));
      });
  };

/** Every place of the command line. Loads the modules of all commands. */
async function placesOf(entries: readonly Listed[], context: CliContext): Promise<Place[]> {
  const root = new Command('longsight').option('--version', 'the version');
  for (const { hidden, load } of entries) if (hidden !== true) (await load())(root, context);
  const walk = (command: Command, path: readonly string[]): Place[] => [
    {
      path,
      commands: command.commands.map((sub) => ({ name: sub.name(), summary: sub.summary() || sub.description() })),
      options: [...command.options, { long: '--help', description: 'what there is', hidden: false }].flatMap(
        ({ long, description, hidden }) => (long == null || hidden ? [] : [{ flag: long, summary: description }]),
      ),
    },
    ...command.commands.flatMap((sub) => walk(sub, [...path, sub.name()])),
  ];
  return walk(root, []);
}

const wordsOf = ({ commands, options }: Place) => [...commands.map(({ name }) => name), ...options.map((o) => o.flag)];
const joined = ({ path }: Place) => path.join(' ');
/** A text between single quotes of a shell. */
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** The two `case` statements that bash and zsh share: which place the words lead to, and what may follow there. */
const cases = (places: readonly Place[]) => ({
  lead: `case "$at $word" in
      ${places
        .filter(({ path }) => path.length > 0)
        .map((place) => quoted(`${place.path.slice(0, -1).join(' ')} ${place.path.at(-1) ?? ''}`))
        .join('|')}) at="\${at:+$at }$word" ;;
    esac`,
  follow: `case "$at" in
    ${places.map((place) => `${quoted(joined(place))}) words_=${quoted(wordsOf(place).join(' '))} ;;`).join('\n    ')}
  esac`,
});

const SCRIPTS: Readonly<Record<Shell, (places: readonly Place[]) => string>> = {
  bash: (places) => {
    const { lead, follow } = cases(places);
    return `# Completes longsight in bash: source <(longsight completion bash)
_longsight() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" at="" word words_="" i
  COMPREPLY=()
  if [[ \${COMP_WORDS[COMP_CWORD - 1]} == --engine ]]; then
    COMPREPLY=($(compgen -W ${quoted(ENGINE_NAMES.join(' '))} -- "$cur"))
    return
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    ${lead}
  done
  ${follow}
  COMPREPLY=($(compgen -W "$words_" -- "$cur"))
  [[ $cur == -* ]] || COMPREPLY+=($(compgen -f -- "$cur"))
}
complete -o filenames -F _longsight longsight
`;
  },
  zsh: (places) => {
    const { lead, follow } = cases(places);
    return `#compdef longsight
# Completes longsight in zsh, after compinit: source <(longsight completion zsh)
_longsight() {
  local at="" word words_=""
  for word in "\${(@)words[2,CURRENT-1]}"; do
    ${lead}
  done
  ${follow}
  compadd -- \${=words_}
  [[ \${words[CURRENT]} == -* ]] || _files
}
compdef _longsight longsight
`;
  },
  fish: (places) => {
    const seen = (path: readonly string[]) =>
      path.length === 0
        ? '__fish_use_subcommand'
        : path.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
    const lines = places.flatMap((place) => {
      const when = `complete -c longsight -n ${quoted(seen(place.path))}`;
      return [
        ...place.commands.map(({ name, summary }) => `${when} -a ${name} -d ${quoted(summary)}`),
        ...place.options.map(({ flag, summary }) => `${when} -l ${flag.slice(2)} -d ${quoted(summary)}`),
      ];
    });
    return `# Completes longsight in fish: longsight completion fish | source\n${lines.join('\n')}\n`;
  },
};
