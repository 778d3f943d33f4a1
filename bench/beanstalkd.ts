/** A beanstalkd of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { freePort, listens } from '../test/support/ports.ts'
import { needTool } from '../test/support/tools.ts'
import { onCore, SERVER_CORE } from './child.ts'

export class Beanstalkd {
  readonly port: number
  readonly #process: ChildProcess

  private constructor(port: number, process: ChildProcess) {
    this.port = port
    this.#process = process
  }

  /** Durable: with a log in that folder, and an fsync for every change or for none. */
  static async start(log?: { directory: string; fsync: boolean }): Promise<Beanstalkd> {
    const port = await freePort()
    const listen = ['-l', '127.0.0.1', '-p', String(port)]
    const options = log === undefined ? [] : ['-b', log.directory, log.fsync ? '-f0' : '-F']
    const beanstalkd: [string, ...string[]] = [needTool('beanstalkd'), ...listen, ...options]
    const [command, ...args] = onCore(SERVER_CORE, beanstalkd)
    const process = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    await listens(port, process)
    return new Beanstalkd(port, process)
  }

  /** Ends when it has: another one can take over its log then. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    this.#process.kill()
    await once(this.#process, 'exit')
  }
}
