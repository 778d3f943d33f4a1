import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import {
  type Group,
  type Journal,
  JournalError,
  type JournalEvents,
  type Saved,
} from '../journal.ts'
import type { FromWorker, JournalCalls, JournalOptions, Opened } from './journal-worker.ts'

/** The journal in a SQLite file, which a thread of its own reads and writes. */
export class SqliteJournal implements Journal {
  readonly #worker: Worker
  readonly #events: JournalEvents
  /** Calls under way, by number. */
  readonly #calls = new Map<number, PromiseWithResolvers<unknown>>()
  #lastCall = 0
  /** Where the thread says how far it is, for there is not always time to hear its messages. */
  readonly #sequence = new BigInt64Array(new SharedArrayBuffer(8))
  #opened: Opened = { instant: 0, hasRoom: true }
  #closing = false
  /** The thread has ended, which it does of its own accord only when it fails. */
  #ended: JournalError | null = null

  private constructor(events: JournalEvents) {
    this.#events = events
    // The same file, but compiled where this one is.
    this.#worker = new Worker(new URL(`journal-worker${extname(import.meta.url)}`, import.meta.url))
    this.#worker.on('message', (message: FromWorker) => {
      this.#receive(message)
    })
    this.#worker.on('error', (error) => {
      this.#failAll(String(error))
    })
    this.#worker.on('exit', () => {
      this.#failAll('its thread has ended')
    })
  }

  /** @throws JournalError where the directory or what is in it cannot be used. */
  static async open(options: JournalOptions, events: JournalEvents): Promise<SqliteJournal> {
    const journal = new SqliteJournal(events)
    try {
      const sequence = journal.#sequence
      journal.#opened = await journal.#call('open', { ...options, sequence })
    } catch (error) {
      await journal.#end()
      throw error
    }
    if (!journal.#opened.hasRoom) events.room(false)
    return journal
  }

  get instant(): number {
    return this.#opened.instant
  }

  get sequence(): number {
    return Number(Atomics.load(this.#sequence, 0))
  }

  async *read(): AsyncIterable<Saved> {
    let next = this.#call('read', undefined)
    for (;;) {
      const part = await next
      if (part.length === 0) return
      next = this.#call('read', undefined) // while this part is worked on
      next.catch(() => undefined)
      yield* part
    }
  }

  async commit(group: Group): Promise<void> {
    const { records, chunks, history } = group
    const buffers = [records.buffer, ...chunks.map(({ records }) => records.buffer)]
    if (history !== null) buffers.push(history.records.buffer)
    const { instant } = group
    await this.#call('commit', group, buffers)
    this.#opened = { ...this.#opened, instant }
  }

  backup(): Promise<string> {
    return this.#call('backup', undefined)
  }

  async close(): Promise<void> {
    if (this.#closing) return
    try {
      await this.#call('close', undefined)
    } finally {
      await this.#end()
    }
  }

  #call<C extends keyof JournalCalls>(
    call: C,
    argument: Parameters<JournalCalls[C]>[0],
    transfer: ArrayBuffer[] = [],
  ): Promise<Awaited<ReturnType<JournalCalls[C]>>> {
    if (this.#ended !== null) return Promise.reject(this.#ended)
    const id = ++this.#lastCall
    const pending = Promise.withResolvers<unknown>()
    this.#calls.set(id, pending)
    this.#worker.postMessage({ id, call, argument }, transfer)
    return pending.promise as Promise<Awaited<ReturnType<JournalCalls[C]>>>
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'room') {
      this.#events.room(message.left)
      return
    }
    for (const id of message.ids) {
      const pending = this.#calls.get(id)!
      this.#calls.delete(id)
      if (message.kind === 'answer') pending.resolve(message.value)
      else pending.reject(new JournalError(message.fault, message.message))
    }
  }

  #failAll(reason: string): void {
    this.#ended ??= new JournalError('failed', `the journal cannot be written: ${reason}`)
    for (const pending of this.#calls.values()) pending.reject(this.#ended)
    this.#calls.clear()
  }

  async #end(): Promise<void> {
    this.#closing = true
    await this.#worker.terminate()
  }
}
