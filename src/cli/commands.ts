/** All commands. Each is loaded when it is called, so that one that asks a server does not wait for a server's code. */
import type { Shape } from './completion/shape.ts'
import type { Command, Group } from './remote/command.ts'
import type { Flag } from './flags.ts'

export interface Entry {
  /** @param args what else is on the command line. */
  help: (args: string[]) => string
  /** @returns the exit code. */
  run: (args: string[], env: NodeJS.ProcessEnv) => Promise<number>
  /** What it takes, or each of its commands. */
  shapes: Shape[]
}

interface Listed {
  usage: string
  summary: string
  /** Older versions of Node cannot load a store. */
  loadsStore?: true
  load: () => Promise<Entry>
}

export const COMMANDS: Record<string, Listed> = {
  serve: {
    usage: '',
    summary: 'start the server',
    loadsStore: true,
    load: async () => {
      const { settingFlags } = await import('./config.ts')
      const { serve, SERVE_HELP } = await import('./serve.ts')
      return { help: () => SERVE_HELP, run: serve, shapes: [shapeOf('serve', settingFlags())] }
    },
  },
  pools: {
    usage: 'COMMAND',
    summary: 'make, change and delete pools',
    load: async () => asEntry('pools', (await import('./remote/pools.ts')).pools),
  },
  keys: {
    usage: 'COMMAND',
    summary: 'make, import, export, enable, disable and delete keys',
    load: async () => asEntry('keys', (await import('./remote/keys.ts')).keys),
  },
  leases: {
    usage: 'COMMAND',
    summary: 'look who holds what; lease, renew, release, revoke',
    load: async () => asEntry('leases', (await import('./remote/leases.ts')).leases),
  },
  tokens: {
    usage: 'COMMAND',
    summary: 'make, list and delete access tokens',
    load: async () => asEntry('tokens', (await import('./remote/tokens.ts')).tokens),
  },
  status: {
    usage: '[POOL...]',
    summary: 'show what a server and its pools are at',
    load: async () => asCommand('status', (await import('./remote/status.ts')).status),
  },
  exec: {
    usage: '-- COMMAND',
    summary: 'run a command with a key',
    load: async () => asCommand('exec', (await import('./exec.ts')).exec),
  },
  backup: {
    usage: 'FILE',
    summary: 'copy what a running server has saved',
    loadsStore: true,
    load: async () => {
      const { backup, BACKUP_HELP, BACKUP_FLAGS } = await import('./data.ts')
      return { help: () => BACKUP_HELP, run: backup, shapes: [shapeOf('backup', BACKUP_FLAGS)] }
    },
  },
  restore: {
    usage: 'FILE',
    summary: 'make a data directory of a backup',
    loadsStore: true,
    load: async () => {
      const { restore, RESTORE_HELP, DATA_FLAGS } = await import('./data.ts')
      return { help: () => RESTORE_HELP, run: restore, shapes: [shapeOf('restore', DATA_FLAGS)] }
    },
  },
  check: {
    usage: '[FILE]',
    summary: 'look for damage in a data directory or a backup',
    loadsStore: true,
    load: async () => {
      const { check, CHECK_HELP, DATA_FLAGS } = await import('./data.ts')
      return { help: () => CHECK_HELP, run: check, shapes: [shapeOf('check', DATA_FLAGS)] }
    },
  },
  migrate: {
    usage: '',
    summary: 'copy all pools, keys and leases to another data directory or Redis',
    loadsStore: true,
    load: async () => {
      const { migrate, MIGRATE_HELP, MIGRATE_FLAGS } = await import('./migrate.ts')
      return { help: () => MIGRATE_HELP, run: migrate, shapes: [shapeOf('migrate', MIGRATE_FLAGS)] }
    },
  },
  completion: {
    usage: 'bash|zsh|fish',
    summary: 'write what completes commands in a shell',
    loadsStore: true, // for it loads all commands
    load: async () => {
      const { completion, COMPLETION_HELP } = await import('./completion/completion.ts')
      return { help: () => COMPLETION_HELP, run: complete, shapes: [shapeOf('completion', {})] }

      async function complete(args: string[]): Promise<number> {
        const entries = await Promise.all(Object.values(COMMANDS).map(({ load }) => load()))
        const summaries = Object.entries(COMMANDS).map(([name, { summary }]) => [name, summary])
        const shapes = entries.flatMap((entry) => entry.shapes)
        return completion(args, shapes, Object.fromEntries(summaries) as Record<string, string>)
      }
    },
  },
}

/** Of a command that is listed here as it is called. */
function shapeOf(name: string, flags: Record<string, Flag>): Shape {
  const { usage, summary } = COMMANDS[name]!
  return { name, usage, summary, flags }
}

async function asCommand(name: string, command: Command): Promise<Entry> {
  const { commandHelp, flagsOf, runCommand } = await import('./remote/command.ts')
  return {
    help: () => commandHelp(name, command),
    run: (args, env) => runCommand(command, args, env),
    shapes: [{ ...command, name, flags: flagsOf(command) }],
  }
}

async function asEntry(name: string, group: Group): Promise<Entry> {
  const { flagsOf, groupHelp, runGroup } = await import('./remote/command.ts')
  return {
    help: (args) => groupHelp(name, group, args),
    run: (args, env) => runGroup(name, group, args, env),
    shapes: Object.entries(group.commands).map(([sub, command]) => ({
      ...command,
      name: `${name} ${sub}`,
      flags: flagsOf(command),
    })),
  }
}

/** The commands as the help shows them. */
export function commandsHelp(): string {
  const rows = Object.entries(COMMANDS).map(([name, { usage, summary }]) => [
    `${name} ${usage}`.trimEnd(),
    summary,
  ])
  rows.push(
    ['--version', 'show the version'],
    ['--help', 'show this text; after a command, its options'],
  )
  const width = Math.max(...rows.map(([left]) => left!.length))
  return rows.map(([left, right]) => `  ${left!.padEnd(width)}  ${right!}`).join('\n')
}
