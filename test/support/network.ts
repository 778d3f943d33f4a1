/** Two networks of their own with a bridge between them, which can be cut off from each other: Linux's namespaces. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { isRoot, needTool, run } from './tools.ts'

/** Where programs run, and at what address the others reach them. */
export interface Place {
  readonly address: string
  /** What runs a program there. */
  readonly enter: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** This machine's own. */
export const HERE: Place = { address: '127.0.0.1', enter: [] }

/** Why this machine lets nobody make networks; false: it does. */
export const cannotSplit: string | false = whyNotSplit()

function whyNotSplit(): string | false {
  if (process.platform !== 'linux') return 'only Linux has network namespaces'
  if (!isRoot()) return 'network namespaces need root'
  needTool('ip')
  const links = 'ip link add name near type veth && ip link add name bridge type bridge'
  const probe = spawnSync(needTool('unshare'), ['--net', 'sh', '-c', links], { encoding: 'utf8' })
  if (probe.status === 0) return false
  return `network namespaces want CAP_SYS_ADMIN and CAP_NET_ADMIN: ${probe.stderr.trim()}`
}

/** A network as long as a process lives in it, which ends with this one. */
class Namespace implements AsyncDisposable {
  readonly enter: readonly string[]
  readonly pid: number
  readonly #process: ChildProcess

  private constructor(process: ChildProcess) {
    this.#process = process
    this.pid = process.pid!
    this.enter = [needTool('nsenter'), `--net=/proc/${this.pid}/ns/net`]
  }

  static async start(): Promise<Namespace> {
    const lives = ['--net', 'sh', '-c', 'ip link set dev lo up && echo && exec cat']
    const process = spawn(needTool('unshare'), lives, { stdio: ['pipe', 'pipe', 'inherit'] })
    await once(process.stdout, 'data')
    return new Namespace(process)
  }

  ip(...args: string[]): void {
    const [command, ...rest] = [...this.enter, needTool('ip'), ...args]
    run(command!, ...rest)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.stdin!.end()
    await once(this.#process, 'exit')
  }
}

export class SplitNetwork implements AsyncDisposable {
  readonly few: Place
  readonly many: Place
  readonly #bridge: Namespace
  readonly #all: AsyncDisposable

  private constructor(few: Place, many: Place, bridge: Namespace, all: AsyncDisposable) {
    this.few = few
    this.many = many
    this.#bridge = bridge
    this.#all = all
  }

  static async start(): Promise<SplitNetwork> {
    await using stack = new AsyncDisposableStack()
    const bridge = stack.use(await Namespace.start())
    bridge.ip('link', 'add', 'name', 'bridge', 'type', 'bridge')
    bridge.ip('link', 'set', 'dev', 'bridge', 'up')
    const places: Place[] = []
    for (const [name, address] of [
      ['few', '10.77.0.1'],
      ['many', '10.77.0.2'],
    ] as const) {
      const side = stack.use(await Namespace.start())
      const peer = ['peer', 'name', 'side', 'netns', String(side.pid)]
      bridge.ip('link', 'add', 'name', name, 'type', 'veth', ...peer)
      bridge.ip('link', 'set', 'dev', name, 'master', 'bridge', 'up')
      side.ip('address', 'add', `${address}/24`, 'dev', 'side')
      side.ip('link', 'set', 'dev', 'side', 'up')
      places.push({ address, enter: side.enter })
    }
    const [few, many] = places as [Place, Place]
    return new SplitNetwork(few, many, bridge, stack.move())
  }

  /** What is sent is lost, and nobody is told. */
  cut(): void {
    this.#bridge.ip('link', 'set', 'dev', 'few', 'down')
  }

  heal(): void {
    this.#bridge.ip('link', 'set', 'dev', 'few', 'up')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#all[Symbol.asyncDispose]()
  }
}
