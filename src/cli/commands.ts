/** All commands. Each is loaded when it is called, so that one that asks a server does not wait for a server's code. */
import type { Command, Group } from './remote/command.ts'

export interface Entry {
  /** @param args what else is on the command line. */
  help: (args: string[]) => string
  /** @returns the exit code. */
  run: (args: string[], env: NodeJS.ProcessEnv) => Promise<number>
}

interface Listed {
  usage: string
  summary: string
  load: () => Promise<Entry>
}

export const COMMANDS: Record<string, Listed> = {
  serve: {
    usage: '',
    summary: 'start the server',
    load: async () => {
      const { serve, SERVE_HELP } = await import('./serve.ts')
      return { help: () => SERVE_HELP, run: serve }
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
    load: async () => {
      const { backup, BACKUP_HELP } = await import('./data.ts')
      return { help: () => BACKUP_HELP, run: backup }
    },
  },
  restore: {
    usage: 'FILE',
    summary: 'make a data directory of a backup',
    load: async () => {
      const { restore, RESTORE_HELP } = await import('./data.ts')
      return { help: () => RESTORE_HELP, run: restore }
    },
  },
  check: {
    usage: '[FILE]',
    summary: 'look for damage in a data directory or a backup',
    load: async () => {
      const { check, CHECK_HELP } = await import('./data.ts')
      return { help: () => CHECK_HELP, run: check }
    },
  },
}

async function asCommand(name: string, command: Command): Promise<Entry> {
  const { commandHelp, runCommand } = await import('./remote/command.ts')
  return {
    help: () => commandHelp(name, command),
    run: (args, env) => runCommand(command, args, env),
  }
}

async function asEntry(name: string, group: Group): Promise<Entry> {
  const { groupHelp, runGroup } = await import('./remote/command.ts')
  return {
    help: (args) => groupHelp(name, group, args),
    run: (args, env) => runGroup(name, group, args, env),
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
