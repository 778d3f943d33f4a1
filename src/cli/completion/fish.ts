import { argumentsOf, type Kind, kindOf, kindOfFlag, type Shape, type Step } from './shape.ts'

export function fishScript(shapes: readonly Shape[], steps: readonly Step[]): string {
  const lines = [
    ...steps.flatMap(({ after, words }) =>
      words.map(({ word, summary }) =>
        line(`__token_orchestrator_after ${after}`.trimEnd(), `-a ${word} -d ${quoted(summary)}`),
      ),
    ),
    ...shapes.flatMap(linesOf),
  ]
  return `# Completes token-orchestrator in fish: token-orchestrator completion fish | source

# Whether the words before the cursor are these.
function __token_orchestrator_after
    set -l words (commandline -opc)
    set -e words[1]
    test "$words" = "$argv"
end

# Whether they begin with these.
function __token_orchestrator_in
    set -l words (commandline -opc)
    set -e words[1]
    string match -q -- "$argv *" "$words "
end

complete -c token-orchestrator -f
complete -c token-orchestrator -l help -d 'show what it takes'
${lines.join('\n')}
`
}

function linesOf(shape: Shape): string[] {
  const inside = `__token_orchestrator_in ${shape.name}`
  const flags = Object.entries(shape.flags).map(([name, flag]) => {
    const short = flag.short === undefined ? '' : ` -s ${flag.short}`
    const value = flag.placeholder === undefined ? '' : ` ${valueOf(kindOfFlag(flag))}`
    return line(inside, `-l ${name}${short}${value} -d ${quoted(flag.help)}`)
  })
  const words = argumentsOf(shape).flatMap((argument) => {
    const kind = kindOf(argument)
    if (kind === null) return []
    if (kind === 'files') return [line(inside, '-F')]
    // Another command goes behind `--`, and nothing but its arguments behind that.
    const place = kind === 'commands' ? '; and test (commandline -opc)[-1] = --' : ''
    return [line(inside + place, `-a ${offerOf(kind)}`)]
  })
  return [...flags, ...words]
}

function line(condition: string, rest: string): string {
  return `complete -c token-orchestrator -n ${quoted(condition)} ${rest}`
}

function valueOf(kind: Kind): string {
  if (kind === null) return '-x'
  return kind === 'files' ? '-r -F' : `-x -a ${offerOf(kind)}`
}

function offerOf(kind: readonly string[] | 'directories' | 'commands'): string {
  if (kind === 'directories') return quoted('(__fish_complete_directories)')
  return quoted(kind === 'commands' ? '(__fish_complete_command)' : kind.join(' '))
}

function quoted(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`
}
