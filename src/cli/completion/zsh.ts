import type { Flag } from '../flags.ts'
import {
  argumentsOf,
  type Kind,
  kindOf,
  kindOfFlag,
  quoted,
  type Shape,
  type Step,
} from './shape.ts'

export function zshScript(shapes: readonly Shape[], steps: readonly Step[]): string {
  const [first, ...groups] = steps as [Step, ...Step[]]
  return `#compdef token-orchestrator
# Completes token-orchestrator in zsh: source <(token-orchestrator completion zsh), after compinit.

_token_orchestrator() {
  local name=$words[2]
  local -a known
  if ((CURRENT == 2)); then
    known=(${knownOf(first)})
    _describe command known
    return
  fi
  case $name in
${groups.map((step) => `    ${step.after}) known=(${knownOf(step)}) ;;`).join('\n')}
  esac
  if (($#known)); then
    if ((CURRENT == 3)); then
      _describe command known
      return
    fi
    name+=" $words[3]"
    shift words
    ((CURRENT--))
  fi
  shift words
  ((CURRENT--))
  case $name in
${shapes.map(specsOf).join('\n')}
  esac
}

if [[ $funcstack[1] == _token_orchestrator ]]; then
  _token_orchestrator "$@"
else
  compdef _token_orchestrator token-orchestrator
fi
`
}

function knownOf({ words }: Step): string {
  return words.map(({ word, summary }) => quoted(`${word}:${summary}`)).join(' ')
}

function specsOf(shape: Shape): string {
  const flags = Object.entries(shape.flags).flatMap(([name, flag]) => flagSpecs(name, flag))
  const words = argumentsOf(shape).map((argument, at) => {
    const place = argument.includes('...') ? '*' : String(at + 1)
    const colon = argument.startsWith('[') && place !== '*' ? '::' : ':'
    const name = argument.replace(/[[\].]/g, '')
    return quoted(`${place}${colon}${name}:${actionOf(kindOf(argument))}`)
  })
  const specs = [...flags, quoted('(- *)--help[show what it takes]'), ...words]
  return `    ${quoted(shape.name)})\n      _arguments -S \\\n        ${specs.join(' \\\n        ')} ;;`
}

function flagSpecs(name: string, flag: Flag): string[] {
  const { placeholder, short, multiple, help } = flag
  const about = `[${help.replace(/[[\]:\\]/g, '\\$&')}]`
  const value = placeholder === undefined ? '' : `:${placeholder}:${actionOf(kindOfFlag(flag))}`
  const names = [`--${name}`, ...(short === undefined ? [] : [`-${short}`])]
  const before = multiple === true ? '*' : names.length > 1 ? `(${names.join(' ')})` : ''
  return names.map((form) => {
    const joint = placeholder !== undefined && form.startsWith('--') ? '=' : ''
    return quoted(`${before}${form}${joint}${about}${value}`)
  })
}

function actionOf(kind: Kind): string {
  if (kind === null) return ' '
  if (typeof kind !== 'string') return `(${kind.join(' ').replaceAll(':', '\\:')})`
  return { files: '_files', directories: '_files -/', commands: '_command_names -e' }[kind]
}
