export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Writes one JSON object a line. Values, access tokens and whole key ids never go into one. */
export class Log {
  readonly #least: number
  readonly #write: (line: string) => void

  constructor(level: LogLevel, write: (line: string) => void) {
    this.#least = LOG_LEVELS.indexOf(level)
    this.#write = write
  }

  info(message: string, fields: Record<string, unknown> = {}): void {
    this.#line('info', message, fields)
  }

  warn(message: string, fields: Record<string, unknown> = {}): void {
    this.#line('warn', message, fields)
  }

  error(message: string, fields: Record<string, unknown> = {}): void {
    this.#line('error', message, fields)
  }

  #line(level: LogLevel, message: string, fields: Record<string, unknown>): void {
    if (LOG_LEVELS.indexOf(level) < this.#least) return
    const time = new Date().toISOString()
    this.#write(`${JSON.stringify({ time, level, message, ...fields })}\n`)
  }
}
