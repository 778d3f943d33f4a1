/** The command `completion`: writes what makes a shell complete all the others. */
import { ConfigError } from '../config-error.ts'
import { suggestion } from '../suggest.ts'
import { bashScript } from './bash.ts'
import { fishScript } from './fish.ts'
import { type Shape, type Step, stepsOf } from './shape.ts'
import { zshScript } from './zsh.ts'

type Script = (shapes: readonly Shape[], steps: readonly Step[]) => string

const SCRIPTS: Record<string, Script> = { bash: bashScript, zsh: zshScript, fish: fishScript }
const SHELLS = Object.keys(SCRIPTS).join('|')

export const COMPLETION_HELP = `Usage: token-orchestrator completion ${SHELLS}

Writes a script that makes the shell complete commands, options and their values. For one shell:

  bash  source <(token-orchestrator completion bash)
  zsh   source <(token-orchestrator completion zsh)
  fish  token-orchestrator completion fish | source
`

/** @param summaries of the commands, by their first words. */
export function completion(
  args: string[],
  shapes: readonly Shape[],
  summaries: Record<string, string>,
): number {
  const [shell, extra] = args
  if (shell === undefined) throw new ConfigError(`say for which shell: ${SHELLS}`)
  if (!Object.hasOwn(SCRIPTS, shell))
    throw new ConfigError(`there is none for "${shell}"${suggestion(shell, Object.keys(SCRIPTS))}`)
  if (extra !== undefined) throw new ConfigError(`unexpected "${extra}"`)
  process.stdout.write(SCRIPTS[shell]!(shapes, stepsOf(shapes, summaries)))
  return 0
}
