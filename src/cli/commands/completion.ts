/** `longsight completion SHELL`: a script that completes commands and options, derived from the table of commands. */
import { Argument, Command, Option } from 'commander';
import { ENGINE_NAMES } from '../../engine/index.js';
import type { AddCommand, CliContext } from '../terminal/context.js';

type Shell = 'bash' | 'zsh' | 'fish';

/** What is read of the table of commands. */
interface Listed {
  readonly hidden?: boolean;
  readonly load: () => Promise<AddCommand>;
}

/** An option of a place. */
interface Listing {
  readonly flag: string;
  readonly summary: string;
  readonly takesValue: boolean;
  /** The values that it may have, where they are few and known. */
  readonly values: readonly string[];
}

/** One command or subcommand: its words after `longsight`, and what may follow. */
interface Place {
  readonly path: readonly string[];
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly options: readonly Listing[];
  /** The values that its first argument may have, where they are few and known. */
  readonly choices: readonly string[];
}

/** Makes `longsight completion` for a table of commands. */
export const completionOf =
  (entries: readonly Listed[]): AddCommand =>
  (program, context) => {
    program
      .command('completion')
      .summary('a script with which bash, zsh or fish completes commands and options')
      .description(
        'Prints a script with which a shell completes commands, subcommands, options, and values where they are few. bash: ' +
          'source <(longsight completion bash); zsh, after compinit: source <(longsight completion zsh), or the script ' +
          'as the file _longsight in a folder of fpath; fish: longsight completion fish | source.',
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
      options: [...command.options.filter(({ hidden }) => !hidden), new Option('--help', 'what there is')].flatMap(
        ({ long, description, required, argChoices }) =>
          long == null
            ? []
            : [
                {
                  flag: long,
                  summary: description,
                  takesValue: required,
                  values: long === '--engine' ? ENGINE_NAMES : (argChoices ?? []),
                },
              ],
      ),
      choices: command.registeredArguments[0]?.argChoices ?? [],
    },
    ...command.commands.flatMap((sub) => walk(sub, [...path, sub.name()])),
  ];
  return walk(root, []);
}

const wordsOf = ({ commands, options, choices }: Place) => [
  ...commands.map(({ name }) => name),
  ...choices,
  ...options.map(({ flag }) => flag),
];
const joined = ({ path }: Place) => path.join(' ');
/** A text between single quotes, as bash and zsh read it. */
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
/** A text between single quotes, as fish reads it. */
const fishQuoted = (text: string) => `'${text.replace(/[\\']/g, '\\$&')}'`;

/** The places below the root, each as the words of the place above it, a space, and its own last word. */
const steps = (places: readonly Place[]) =>
  places.filter(({ path }) => path.length > 0).map(({ path }) => `${path.slice(0, -1).join(' ')} ${path.at(-1) ?? ''}`);

/**
 * The `case` statements that bash and zsh share: which place the words lead to, and what may follow there. `prev` is
 * the word before the one that is completed; after an option that takes a value only its values follow, or files.
 */
function cases(places: readonly Place[]) {
  const takers = places.flatMap((place) =>
    place.options.filter((option) => option.takesValue).map((option) => ({ ...option, at: joined(place) })),
  );
  const known = new Map<string, string[]>();
  for (const { at, flag, values } of takers)
    known.set(values.join(' '), [...(known.get(values.join(' ')) ?? []), quoted(`${at} ${flag}`)]);
  return {
    lead: `case "$at $word" in
      ${steps(places).map(quoted).join('|')}) at="\${at:+$at }$word" ;;
      *) break ;;
    esac`,
    follow: `case "$at" in
    ${places.map((place) => `${quoted(joined(place))}) words_=${quoted(wordsOf(place).join(' '))} ;;`).join('\n    ')}
  esac
  case "$at $prev" in
    ${[...known].map(([values, after]) => `${after.join('|')}) words_=${quoted(values)} ;;`).join('\n    ')}
  esac`,
  };
}

const SCRIPTS: Readonly<Record<Shell, (places: readonly Place[]) => string>> = {
  bash: (places) => {
    const { lead, follow } = cases(places);
    // Bash makes three words of xla:cpu. They are put together, and bash is given what follows the colon.
    return `# Completes longsight in bash: source <(longsight completion bash)
_longsight() {
  local at="" word words_="" before="" n=$COMP_CWORD cur
  cur="\${COMP_WORDS[n]}"
  if [[ $cur == : ]]; then
    before="\${COMP_WORDS[n-1]}:" cur="" n=$((n - 1))
  elif [[ \${COMP_WORDS[n-1]} == : ]]; then
    before="\${COMP_WORDS[n-2]}:" n=$((n - 2))
  fi
  local prev="\${COMP_WORDS[n-1]}"
  for word in "\${COMP_WORDS[@]:1:n-1}"; do
    ${lead}
  done
  ${follow}
  COMPREPLY=($(compgen -W "$words_" -- "$before$cur"))
  [[ $cur == -* ]] || COMPREPLY+=($(compgen -f -- "$before$cur"))
  COMPREPLY=("\${COMPREPLY[@]#"$before"}")
}
complete -o filenames -F _longsight longsight
`;
  },
  zsh: (places) => {
    const { lead, follow } = cases(places);
    return `#compdef longsight
# Completes longsight in zsh, after compinit: source <(longsight completion zsh), or as the file _longsight in a
# folder of fpath.
_longsight() {
  local at="" word words_="" prev="\${words[CURRENT-1]}"
  for word in "\${(@)words[2,CURRENT-1]}"; do
    ${lead}
  done
  ${follow}
  compadd -- \${=words_}
  [[ \${words[CURRENT]} == -* ]] || _files
}
if [[ \${funcstack[1]} == _longsight ]]; then
  _longsight "$@"
else
  compdef _longsight longsight
fi
`;
  },
  fish: (places) => {
    const lines = places.flatMap((place) => {
      const when = `complete -c longsight -n ${fishQuoted(`__longsight_at ${fishQuoted(joined(place))}`)}`;
      return [
        ...place.commands.map(({ name, summary }) => `${when} -a ${name} -d ${fishQuoted(summary)}`),
        ...place.choices.map((value) => `${when} -a ${value}`),
        ...place.options.map(({ flag, summary, takesValue, values }) => {
          const value = values.length > 0 ? ` -x -a ${fishQuoted(values.join(' '))}` : takesValue ? ' -r' : '';
          return `${when} -l ${flag.slice(2)}${value} -d ${fishQuoted(summary)}`;
        }),
      ];
    });
    return `# Completes longsight in fish: longsight completion fish | source
function __longsight_at
  set -l at
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
      case ${steps(places).map(fishQuoted).join(' ')}
        set at $at $word
      case '*'
        break
    end
  end
  test "$at" = "$argv[1]"
end
${lines.join('\n')}
`;
  },
};
