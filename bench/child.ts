/** Child processes that do a part of a benchmark: each has a heap of its own and can have a core. */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'

// A task may take and give whatever IPC can carry; `never` lets parameters of any type match.
type Tasks = Record<string, (...args: never[]) => unknown>

type Reply = { result: unknown } | { error: string }

/** Of two cores the servers get one and the load the other, so that neither takes the other's time. */
export const SERVER_CORE = 0
export const LOAD_CORE = 1

/** Whether processes can be bound to cores here. */
export const canPin =
  availableParallelism() > 1 && spawnSync('taskset', ['-c', '0', 'true']).status === 0

/** The command line that runs a command on that core, or on any. */
export function onCore(core: number | null, command: [string, ...string[]]): typeof command {
  return core === null || !canPin ? command : ['taskset', '-c', String(core), ...command]
}

export function nodeCommand(core: number | null): [string, ...string[]] {
  return onCore(core, [process.execPath])
}

/** Another file of this folder as a process that does tasks when it is asked to, one at a time. */
export class Child<T extends Tasks> {
  readonly #process: ChildProcess
  #settle: ((reply: Reply) => void) | null = null

  /** `enter` is what runs a program where it is to be, if not here. */
  constructor(file: string, core: number | null = null, enter: readonly string[] = []) {
    const [execPath, ...execArgv] = [...enter, ...nodeCommand(core)] as [string, ...string[]]
    const path = fileURLToPath(new URL(file, import.meta.url))
    this.#process = fork(path, {
      execPath,
      execArgv: [...execArgv, '--expose-gc'],
      serialization: 'advanced',
    })
    this.#process.on('message', (reply: Reply) => this.#settle?.(reply))
    this.#process.on('exit', (code) => this.#settle?.({ error: `exited with ${String(code)}` }))
  }

  get pid(): number {
    return this.#process.pid!
  }

  async ask<N extends keyof T & string>(
    task: N,
    ...args: Parameters<T[N]>
  ): Promise<Awaited<ReturnType<T[N]>>> {
    const reply = await new Promise<Reply>((resolve) => {
      this.#settle = resolve
      this.#process.send({ task, args })
    })
    if ('error' in reply) throw new Error(`${task}: ${reply.error}`)
    return reply.result as Awaited<ReturnType<T[N]>>
  }

  [Symbol.dispose](): void {
    this.#settle = null
    this.#process.kill()
  }

  /** Kills it, and ends when it has: it has closed nothing, and no longer touches what it had open. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#settle = null
    if (this.#process.kill('SIGKILL')) await once(this.#process, 'exit')
  }
}

/** In the child: does what the parent asks for. */
export function answerParent(tasks: Tasks): void {
  const answer = async (task: string, args: never[]): Promise<Reply> => {
    try {
      return { result: await tasks[task]!(...args) }
    } catch (error) {
      return { error: (error as Error).stack ?? String(error) }
    }
  }
  process.on('message', ({ task, args }: { task: string; args: never[] }) => {
    void answer(task, args).then((reply) => process.send!(reply))
  })
  process.on('disconnect', () => process.exit())
}

/** CPU time that a process has taken, in ms; NaN where the system does not tell. */
export function cpuMs(pid: number): number {
  if (process.platform !== 'linux') return NaN
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10 // utime and stime, in ticks of 10 ms
}

/** Collects garbage until nothing more is found, so that memory can be read. */
export async function collectGarbage(): Promise<void> {
  for (let round = 0; round < 3; round++) {
    globalThis.gc!()
    await new Promise((resolve) => setTimeout(resolve, 20)) // buffers are freed in the background
  }
}
