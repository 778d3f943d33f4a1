/** The load on beanstalkd: a job a key, and a tube for each number of them. */
import { randomUUID } from 'node:crypto'
import { answerParent } from './child.ts'
import { cycles, type Holder } from './cycles.ts'
import { LineConnection } from './line-connection.ts'

const PUT_AT_A_TIME = 1000
const TTR_S = 60

function tubeOf(keys: number): string {
  return `keys-${keys}`
}

function holder(connection: LineConnection): Holder<string> {
  return {
    async lease() {
      const [head] = await connection.ask('reserve-with-timeout 0\r\n', ['RESERVED ', ''])
      return head!.split(' ')[1]!
    },
    async release(job) {
      await connection.ask(`release ${job} 0 0\r\n`, ['RELEASED'])
    },
  }
}

const tasks = {
  /** A tube of so many keys. */
  async fill(port: number, keys: number): Promise<void> {
    const connection = new LineConnection(port)
    await connection.ask(`use ${tubeOf(keys)}\r\n`, ['USING '])
    for (let left = keys; left > 0; left -= PUT_AT_A_TIME) {
      const ids = Array.from({ length: Math.min(left, PUT_AT_A_TIME) }, () => randomUUID())
      const puts = ids.map((id) => `put 0 0 ${TTR_S} ${id.length}\r\n${id}\r\n`)
      await connection.ask(puts.join(''), Array<string>(ids.length).fill('INSERTED '))
    }
    connection.close()
  },

  /** Runs until `forMs` are over and everything is released, with one command on its way in each connection. */
  async singles(port: number, connectionCount: number, forMs: number, keys: number) {
    const connections = Array.from({ length: connectionCount }, () => new LineConnection(port))
    for (const connection of connections) {
      await connection.ask(`watch ${tubeOf(keys)}\r\nignore default\r\n`, [
        'WATCHING ',
        'WATCHING ',
      ])
    }
    const load = await cycles(connections.map(holder), forMs)
    for (const connection of connections) connection.close()
    return load
  },

  /** Ends the run unless all keys are ready. */
  async checkReleased(port: number, keys: number): Promise<void> {
    const connection = new LineConnection(port)
    const [, stats] = await connection.ask(`stats-tube ${tubeOf(keys)}\r\n`, ['OK ', '---'])
    if (!stats!.includes(`\ncurrent-jobs-ready: ${keys}\n`))
      throw new Error(`left behind: ${stats!}`)
    connection.close()
  },
}

export type BeanstalkdTasks = typeof tasks
answerParent(tasks)
