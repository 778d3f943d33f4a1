/** What hostile clients do to a server. Each attack goes on until it is told to end. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { SeededRandom } from '../support/seeded-random.ts'
import { brokenRequest, strangeJson } from './grammar.ts'

/** How often who is slow says something. */
const SLOW_MS = 1000
/** When who is hasty breaks off. */
const HASTY_MS = 20
/** Whoever gets no answer goes away. */
const PATIENCE_MS = 3000
const STATUS = /^HTTP\/1\.1 (\d{3}) .*/gm
const SHED = '"code":"overloaded"'
const HEAD = 'POST /keys HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
/** A page of 1 000 keys is 300 KB, and takes ms to make. */
const LIST = 'GET /v1/pools/default/keys?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n'
/** As much as it takes of one connection; more than it reads at once. */
const MANY_LISTS = LIST.repeat(128)
const TOO_MANY = 'GET /keys/1 HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(1000)

/** What has come of an attack. */
export interface Outcome {
  connections: number
  /** By status. */
  answers: Map<string, number>
  /** Answers that no right server gives. */
  wrong: string[]
}

export class Damage implements Outcome {
  connections = 0
  readonly answers = new Map<string, number>()
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
  /** New connections a second that all make together, at most. With more it is a flood, and no trick. */
  rate: number
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
    everyMs = SLOW_MS,
  ): Promise<void> {
    const socket = connect({ port: this.#port, host: '127.0.0.1', allowHalfOpen: true })
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => undefined)
    socket.on('end', () => socket.destroy())
    this.damage.connections++
    let text = ''
    if (isReading) socket.setEncoding('latin1').on('data', (part: string) => (text += part))
    socket.write(said, 'latin1')
    const timer = goOn === null ? null : setInterval(goOn, everyMs, socket)
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
  {
    name: 'idle connections',
    sizes: [1000, 10_000],
    rate: 2000,
    once: (attacker) => attacker.talk('', null),
  },
  {
    name: 'slow heads',
    sizes: [200, 2000],
    rate: 1000,
    once: (attacker) =>
      attacker.talk('GET /keys HTTP/1.1\r\nHost: localhost\r\n', (socket) =>
        socket.write('X: y\r\n'),
      ),
  },
  {
    name: 'slow bodies',
    sizes: [200, 2000],
    rate: 1000,
    once: (attacker) =>
      attacker.talk(`${HEAD}Content-Length: 60000\r\n\r\n`, (socket) => socket.write(' ')),
  },
  {
    name: 'slow chunks',
    sizes: [200, 2000],
    rate: 1000,
    once: (attacker) =>
      attacker.talk(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`, (socket) =>
        socket.write('1;x=y\r\n \r\n'),
      ),
  },
  {
    name: 'answers that nobody reads',
    sizes: [50, 200],
    rate: 100,
    once: (attacker) => attacker.ignore(MANY_LISTS),
  },
  {
    name: 'more requests than it takes of one connection',
    sizes: [16, 64],
    rate: 10,
    once: (attacker) => attacker.ignore(TOO_MANY),
  },
  {
    name: 'broken requests',
    sizes: [16, 64],
    rate: 200,
    once: (attacker) => attacker.ask(brokenRequest(attacker.random)),
  },
  {
    name: 'strange JSON',
    sizes: [16, 64],
    rate: 200,
    once: (attacker) => attacker.ask(strangeJson(attacker.random)),
  },
  {
    name: 'connections that are broken off',
    sizes: [16, 64],
    rate: 20,
    once: (attacker) => attacker.talk(LIST, (socket) => socket.resetAndDestroy(), true, HASTY_MS),
  },
]

/** Resolves when it is over and nothing of it is left. */
export async function attackWith(
  { once: attack, rate }: Attack,
  port: number,
  connections: number,
  forMs: number,
  seed: number,
): Promise<Damage> {
  const damage = new Damage()
  const stop = new AbortController()
  const over = once(stop.signal, 'abort')
  const random = new SeededRandom(seed)
  const attackers = Array.from({ length: connections }, async () => {
    const own = new SeededRandom(random.uint32())
    const attacker = new Attacker(port, own, damage, stop.signal)
    const roundMs = (connections / rate) * 1000
    await Promise.race([sleep(own.below(roundMs), undefined, { ref: false }), over])
    while (!attacker.isOver) {
      const next = sleep(roundMs, undefined, { ref: false })
      await attack(attacker)
      await Promise.race([next, over])
    }
  })
  await sleep(forMs)
  stop.abort()
  await Promise.all(attackers)
  return damage
}
