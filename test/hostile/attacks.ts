/** What hostile clients do to a server. Each attack goes on until it is told to end. */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { SeededRandom } from '../support/seeded-random.ts'
import { brokenRequest, strangeJson } from './grammar.ts'

/** How often who is slow says or reads something. */
const SLOW_MS = 200
/** Whoever gets no answer goes away. */
const PATIENCE_MS = 3000
const STATUS = /^HTTP\/1\.1 (\d{3}) .*/gm
const SHED = '"code":"overloaded"'
const HEAD = 'POST /keys HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
const LIST = 'GET /v1/pools/default/keys?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n'
/** As much as the server reads at once, and more. */
const LISTS = LIST.repeat(1000)

/** What has come of an attack. */
export class Damage {
  connections = 0
  /** By status. */
  readonly answers = new Map<string, number>()
  /** Answers that no right server gives. */
  readonly wrong: string[] = []

  /** All that came back on a connection. */
  read(text: string, asked: string): void {
    for (const [, status] of text.matchAll(STATUS)) {
      this.answers.set(status!, (this.answers.get(status!) ?? 0) + 1)
      const isShed = status === '503' && text.includes(SHED)
      if (status!.startsWith('5') && !isShed) this.wrong.push(`${asked}\n->\n${text}`)
    }
    if (text.includes('polluted"')) this.wrong.push(`${asked}\n->\n${text}`)
  }
}

export interface Attack {
  name: string
  /** Connections at a time: in a short trial, in a long one. */
  sizes: readonly [number, number]
  /** Each connection does this again and again. */
  once: (attacker: Attacker) => Promise<void>
}

export class Attacker {
  readonly random: SeededRandom
  readonly damage: Damage
  readonly #port: number
  readonly #signal: AbortSignal

  constructor(port: number, random: SeededRandom, damage: Damage, signal: AbortSignal) {
    this.#port = port
    this.random = random
    this.damage = damage
    this.#signal = signal
  }

  get isOver(): boolean {
    return this.#signal.aborted
  }

  /** Says that, then goes on as told until the connection or the attack is over. */
  async talk(
    said: string,
    goOn: ((socket: Socket) => void) | null,
    isReading = true,
  ): Promise<void> {
    const socket = connect({ port: this.#port, host: '127.0.0.1', allowHalfOpen: true })
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => undefined)
    socket.on('end', () => socket.destroy())
    this.damage.connections++
    let text = ''
    if (isReading) socket.setEncoding('latin1').on('data', (part: string) => (text += part))
    socket.write(said, 'latin1')
    const timer = goOn === null ? null : setInterval(goOn, SLOW_MS, socket)
    const end = (): void => void socket.destroy()
    this.#signal.addEventListener('abort', end)
    await closed
    this.#signal.removeEventListener('abort', end)
    if (timer !== null) clearInterval(timer)
    this.damage.read(text, said.slice(0, 2000))
  }

  /** Says that and hears what comes of it. */
  async ask(said: string): Promise<void> {
    const end = performance.now() + PATIENCE_MS
    await this.talk(said, (socket) => {
      if (performance.now() > end) socket.destroy()
    })
  }

  /** Says that and reads nothing. */
  async ignore(said: string): Promise<void> {
    await this.talk(said, null, false)
  }
}

export const ATTACKS: Attack[] = [
  { name: 'idle connections', sizes: [1000, 10_000], once: (attacker) => attacker.talk('', null) },
  {
    name: 'slow heads',
    sizes: [200, 2000],
    once: (attacker) =>
      attacker.talk('GET /keys HTTP/1.1\r\nHost: localhost\r\n', (socket) =>
        socket.write('X: y\r\n'),
      ),
  },
  {
    name: 'slow bodies',
    sizes: [200, 2000],
    once: (attacker) =>
      attacker.talk(`${HEAD}Content-Length: 60000\r\n\r\n`, (socket) => socket.write(' ')),
  },
  {
    name: 'slow chunks',
    sizes: [200, 2000],
    once: (attacker) =>
      attacker.talk(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`, (socket) =>
        socket.write('1;x=y\r\n \r\n'),
      ),
  },
  {
    name: 'answers that nobody reads',
    sizes: [50, 200],
    once: (attacker) => attacker.ignore(LISTS),
  },
  {
    name: 'broken requests',
    sizes: [16, 64],
    once: (attacker) => attacker.ask(brokenRequest(attacker.random)),
  },
  {
    name: 'strange JSON',
    sizes: [16, 64],
    once: (attacker) => attacker.ask(strangeJson(attacker.random)),
  },
  {
    name: 'connections that are broken off',
    sizes: [16, 64],
    once: (attacker) => attacker.talk(LIST, (socket) => socket.resetAndDestroy()),
  },
]

/** Resolves when it is over and nothing of it is left. */
export async function attackWith(
  { once }: Attack,
  port: number,
  connections: number,
  forMs: number,
  seed: number,
): Promise<Damage> {
  const damage = new Damage()
  const stop = new AbortController()
  const random = new SeededRandom(seed)
  const attackers = Array.from({ length: connections }, async () => {
    const own = new SeededRandom(random.uint32())
    const attacker = new Attacker(port, own, damage, stop.signal)
    while (!attacker.isOver) await once(attacker)
  })
  await sleep(forMs)
  stop.abort()
  await Promise.all(attackers)
  return damage
}
