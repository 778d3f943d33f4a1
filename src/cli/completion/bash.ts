import {
  argumentsOf,
  type Kind,
  kindOf,
  kindOfFlag,
  quoted,
  type Shape,
  type Step,
} from './shape.ts'

/** Bash breaks words at `=` and `:` too, so that `--state=leased` comes in three pieces. */
export function bashScript(shapes: readonly Shape[], steps: readonly Step[]): string {
  const groups = steps.flatMap(({ after }) => (after === '' ? [] : [after]))
  return `# Completes token-orchestrator in bash 4 or later: source <(token-orchestrator completion bash)

# COMMAND PLACE: sets kind to what may stand there. A flag is the place of its value, "-" that of flags.
_token_orchestrator_kind() {
  case "$1 $2" in
${placesOf(shapes, steps).join('\n')}
    *) kind= && return 1 ;;
  esac
}

_token_orchestrator() {
  local typed=\${COMP_WORDS[COMP_CWORD]} words=() glue= piece
  for piece in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ -n $glue || $piece == [=:]* ]] && ((\${#words[@]} > 0)); then
      words[-1]+=$piece
    else
      words+=("$piece")
    fi
    [[ $piece == [=:]* ]] && glue=yes || glue=
  done
  [[ $typed != [=:]* ]] || typed=
  local cur=\${words[-1]} before=\${words[-1]%"$typed"} name=\${words[0]} at=1 place=1 ended= kind= word
  case $name in
    ${groups.join(' | ')}) name+=" \${words[1]}" at=2 ;;
  esac
  if ((\${#words[@]} <= at)); then
    ((\${#words[@]} > 1)) && name=\${words[0]} || name=
    _token_orchestrator_kind "$name" 1
  else
    while ((at < \${#words[@]} - 1)); do
      word=\${words[at++]}
      if [[ -z $ended && $word == -- ]]; then
        ended=yes
      elif [[ -n $ended || $word != -?* ]]; then
        ((place++))
      elif _token_orchestrator_kind "$name" "$word"; then
        ((at++))
      fi
    done
    if ((at >= \${#words[@]})); then
      : # kind is that of the flag before
    elif [[ -z $ended && $cur == --*=* ]]; then
      _token_orchestrator_kind "$name" "\${cur%%=*}"
      cur=\${cur#*=} before=\${before#*=}
    elif [[ -z $ended && $cur == -* ]]; then
      _token_orchestrator_kind "$name" -
    else
      _token_orchestrator_kind "$name" "$place"
    fi
  fi
  case $kind in
    FILES) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    DIRECTORIES) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    COMMANDS) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$kind" -- "$cur") ;;
  esac
  COMPREPLY=("\${COMPREPLY[@]#"$before"}")
}

complete -F _token_orchestrator token-orchestrator
`
}

/** Patterns for the places of all commands. */
function placesOf(shapes: readonly Shape[], steps: readonly Step[]): string[] {
  const places = new Map<string, string[]>()
  const add = (kind: Kind, place: string): void => {
    const text = kind === null ? '' : typeof kind === 'string' ? kind.toUpperCase() : kind.join(' ')
    places.set(text, [...(places.get(text) ?? []), place])
  }
  for (const { after, words } of steps)
    add([...words.map(({ word }) => word), '--help'], quoted(`${after} 1`))
  for (const shape of shapes) {
    const { name, flags } = shape
    add([...Object.keys(flags).map((flag) => `--${flag}`), '--help'], quoted(`${name} -`))
    for (const [flag, described] of Object.entries(flags)) {
      if (described.placeholder === undefined) continue
      add(kindOfFlag(described), quoted(`${name} --${flag}`))
      if (described.short !== undefined)
        add(kindOfFlag(described), quoted(`${name} -${described.short}`))
    }
    argumentsOf(shape).forEach((argument, at) => {
      const kind = kindOf(argument)
      if (kind === null) return
      add(kind, quoted(`${name} ${at + 1}`))
      // Any place further on too.
      if (argument.includes('...')) {
        add(kind, `${quoted(`${name} `)}[${at + 2}-9]`)
        add(kind, `${quoted(`${name} `)}[1-9][0-9]`)
      }
    })
  }
  return [...places].map(([kind, found]) => `    ${found.join(' | ')}) kind=${quoted(kind)} ;;`)
}
