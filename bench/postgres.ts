/** A PostgreSQL of its own: a new cluster that is gone with the run. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { freePort } from '../test/support/ports.ts'
import { isRoot, needTool, run } from '../test/support/tools.ts'
import { onCore, SERVER_CORE } from './child.ts'

/** Where Debian puts the programs of each version; of them only its own wrappers are in the path. */
const VERSIONS = '/usr/lib/postgresql'
const USER = 'postgres'
/** As its documentation advises for what is written a lot; nothing here weakens what it promises. */
const SETTINGS = {
  shared_buffers: '1GB',
  max_wal_size: '4GB',
  synchronous_commit: 'on',
  lc_messages: 'C', // what it says is read
}

/** The path of one of its programs, of the newest version. */
export function postgresTool(name: string): string {
  needTool('pg_lsclusters')
  const newest = readdirSync(VERSIONS)
    .sort((a, b) => Number(a) - Number(b))
    .at(-1)!
  return join(VERSIONS, newest, 'bin', name)
}

export class PostgresServer {
  readonly port: number
  readonly #process: ChildProcess

  private constructor(port: number, process: ChildProcess) {
    this.port = port
    this.#process = process
  }

  /** In a folder that is there already. It refuses to run as root. */
  static async start(directory: string): Promise<PostgresServer> {
    const data = join(directory, 'postgres')
    mkdirSync(data)
    let as: string[] = []
    if (isRoot()) {
      const ids = ['-u', '-g'].map((which) => Number(run('id', which, USER)))
      chownSync(data, ids[0]!, ids[1]!)
      chmodSync(directory, 0o711) // he has to get through
      as = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups']
    }
    const options = ['-U', USER, '-A', 'trust', '--locale=C.UTF-8']
    const initdb = [postgresTool('initdb'), '-D', data, ...options]
    const [first, ...rest] = [...as, ...initdb] as [string, ...string[]]
    run(first, ...rest)
    const port = await freePort()
    const listen = { listen_addresses: '127.0.0.1', port, unix_socket_directories: '' }
    const settings = Object.entries({ ...listen, ...SETTINGS })
    const given = settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const command = [...as, postgresTool('postgres'), '-D', data, ...given]
    const [file, ...args] = onCore(SERVER_CORE, command as [string, ...string[]])
    const process = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    await new Promise<void>((resolve, reject) => {
      createInterface(process.stderr).on('line', (line) => {
        if (line.includes('ready to accept')) resolve()
      })
      process.once('exit', (code) => {
        reject(new Error(`postgres ended with ${String(code)} before it listened`))
      })
    })
    return new PostgresServer(port, process)
  }

  /** Ends when it has: its files can be deleted then. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    this.#process.kill('SIGINT') // without waiting for clients
    await once(this.#process, 'exit')
  }
}
