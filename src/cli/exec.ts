/** The command `exec`: runs another command with a key for as long as that takes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import {
  type Lease,
  type LeaseOptions,
  ProblemError,
  type Report,
  TokenOrchestrator,
  UnreachableError,
} from '../client/client.ts'
import { ConfigError } from './config-error.ts'
import { OUTCOMES } from '../engine/transitions.ts'
import { ApiError, serverOf } from './remote/api.ts'
import type { Call, Command } from './remote/command.ts'
import { durationOf } from './remote/words.ts'

/** EX_TEMPFAIL: try again later. */
const LOST = 75
const NOT_EXECUTABLE = 126
const NOT_FOUND = 127
const GRACE_MS = 10_000
/** Whoever waits longer for a key is told that he does. */
const TOLD_AFTER_MS = 1000
/** A server that is gone keeps nobody from ending for longer. */
const RETRY_FOR_MS = 10_000
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const
/** A terminal sends them to the command itself. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT']

export const exec: Command = {
  usage: 'COMMAND [ARGUMENT...]',
  summary: 'Run a command with a key, and give the key back when it ends',
  more: `Put -- before the command: token-orchestrator exec --pool llm -- ./work.sh --fast
The command finds the key in API_KEY, and API_KEY_LEASE_ID and API_KEY_FENCING_TOKEN beside it.
The exit code is the command's, 128 and the signal's number if one ended it, 1 if there
is no key to have, ${LOST} if the lease was lost: then the command is told to end.`,
  flags: {
    pool: { placeholder: 'POOL', help: 'the pool to lease from (default)' },
    env: { placeholder: 'NAME', help: 'variable that the key is put into (API_KEY)' },
    'lease-ttl': { placeholder: 'DURATION', help: "TTL of the lease (the pool's)" },
    wait: { placeholder: 'DURATION', help: 'how long to wait for a key (30s)' },
    holder: { placeholder: 'NAME', help: 'who you are, for whoever looks after the pool' },
    grace: {
      placeholder: 'DURATION',
      help: 'time to end in when the lease is lost, before it is killed (10s)',
    },
    outcome: {
      placeholder: 'CODE=OUTCOME',
      multiple: true,
      help: `what an exit code says about the key: ${OUTCOMES.join(', ')} (0=ok, all others error)`,
    },
  },
  run,
}

async function run(call: Call): Promise<number> {
  const name = call.text('env') ?? 'API_KEY'
  if (!/^[A-Za-z_]\w*$/.test(name)) throw new ConfigError(`--env must be a name, not "${name}"`)
  const outcomes = outcomesOf(call.texts('outcome'))
  const graceMs = durationOf(call, 'grace') ?? GRACE_MS
  const server = serverOf(call.text('url'), call.text('token-file'), process.env)
  const client = new TokenOrchestrator({ ...server, retryForMs: RETRY_FOR_MS })
  const signals = new Signals()
  const lease = await leaseFor(client, call, signals)
  if (lease === null) return signals.code
  const ended = await runWith(lease, name, call.words, signals, graceMs)
  const report = typeof ended === 'number' ? outcomes.get(ended) : undefined
  const failed = typeof ended === 'number' && ended !== 0 && !lease.signal.aborted
  await lease.giveBack(report ?? (failed ? { outcome: 'error' } : {}))
  if (lease.signal.aborted) return LOST
  return typeof ended === 'number' ? ended : 128 + constants.signals[ended]
}

/** Null: a signal came first. @throws ApiError where there is no key to have. */
async function leaseFor(
  client: TokenOrchestrator,
  call: Call,
  signals: Signals,
): Promise<Lease | null> {
  const ttlMs = durationOf(call, 'lease-ttl')
  const waitMs = durationOf(call, 'wait')
  const holder = call.text('holder')
  const options: LeaseOptions = {
    signal: signals.came,
    onUnreleased: (error) => {
      say(`the key could not be given back and is free after its TTL: ${(error as Error).message}`)
    },
  }
  if (ttlMs !== undefined) options.ttlMs = ttlMs
  if (waitMs !== undefined) options.waitMs = waitMs
  if (holder !== undefined) options.holder = holder
  const pool = call.text('pool') ?? 'default'
  const waits = setTimeout(say, TOLD_AFTER_MS, `waiting for a key of the pool "${pool}"`)
  try {
    return await client.lease(pool, options)
  } catch (error) {
    if (signals.came.aborted) return null
    if (error instanceof ProblemError || error instanceof UnreachableError)
      throw new ApiError(error.code, error.message)
    throw error
  } finally {
    clearTimeout(waits)
  }
}

/** @returns its exit code, or the signal that ended it. */
function runWith(
  lease: Lease,
  name: string,
  [file, ...args]: string[],
  signals: Signals,
  graceMs: number,
): Promise<number | NodeJS.Signals> {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    [name]: lease.key,
    [`${name}_LEASE_ID`]: lease.leaseId,
    [`${name}_FENCING_TOKEN`]: String(lease.fencingToken),
  }
  delete env.TOKEN_ORCHESTRATOR_TOKEN // it is given a key, not the right to lease others
  const atTerminal = process.stdin.isTTY
  // A group of its own, so that what it has started is reached too; at a terminal it must stay in ours.
  const child = spawn(file!, args, { stdio: 'inherit', env, detached: !atTerminal })
  signals.passOn = (signal) => {
    if (!atTerminal) killGroup(child, signal)
    else if (!FROM_TERMINAL.includes(signal)) child.kill(signal)
  }
  let grace: NodeJS.Timeout | undefined
  const stop = (): void => {
    say(`${(lease.signal.reason as Error).message} The command is told to end.`)
    const kill = (signal: NodeJS.Signals): void => {
      if (atTerminal) child.kill(signal)
      else killGroup(child, signal)
    }
    kill('SIGTERM')
    grace = setTimeout(kill, graceMs, 'SIGKILL')
  }
  if (lease.signal.aborted) stop()
  else lease.signal.addEventListener('abort', stop)
  return new Promise((resolve) => {
    child.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      say(`the command cannot be run: ${message}`)
      resolve(code === 'ENOENT' ? NOT_FOUND : NOT_EXECUTABLE)
    })
    child.on('exit', (code, signal) => {
      clearTimeout(grace)
      lease.signal.removeEventListener('abort', stop)
      resolve(code ?? signal!)
    })
  })
}

function killGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // it has ended
  }
}

/** Signals to this process: while it waits they end the waiting, afterwards they go to the command. */
class Signals {
  readonly #came = new AbortController()
  readonly came = this.#came.signal
  passOn: ((signal: NodeJS.Signals) => void) | null = null
  /** What to exit with where one came before the command ran. */
  code = 0

  constructor() {
    for (const signal of PASSED_ON) {
      process.on(signal, () => {
        this.code = 128 + constants.signals[signal]
        if (this.passOn === null) this.#came.abort()
        else this.passOn(signal)
      })
    }
  }
}

function outcomesOf(texts: string[]): Map<number, Report> {
  return new Map(
    texts.map((text) => {
      const [, code, word] = /^(\d{1,3})=(\w+)$/.exec(text) ?? []
      const outcome = OUTCOMES.find((known) => known === word)
      if (outcome === undefined || Number(code) > 255)
        throw new ConfigError(`--outcome must be like 75=rate_limited, not "${text}"`)
      return [Number(code), { outcome }]
    }),
  )
}

function say(text: string): void {
  process.stderr.write(`token-orchestrator: ${text}\n`)
}
