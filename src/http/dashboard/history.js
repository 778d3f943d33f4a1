/** What has happened to a key. It is a dialog, for a page of its own would have the id in its address. */
import { ask } from './api.js'
import { present } from './dialogs.js'
import { attempt, button, count, element, say, short, write } from './elements.js'

const PAGE = 50
const TITLES = ['When', 'What', 'Holder', 'By', 'Outcome', 'Until', 'Token']

/** @param path of the key; the dialog closes where the signal comes */
export async function showHistory(keyId, path, signal) {
  const history = new History(path, signal)
  const why = await history.more().catch(whyNone)
  if (signal.aborted) return
  const dialog = present(
    `History of key ${short(keyId)}`,
    ...(why === undefined ? history.nodes : [element('p', {}, why)]),
    element(
      'div',
      { className: 'buttons' },
      ...(why === undefined ? [history.older] : []),
      button('Close', () => {
        dialog.close()
      }),
    ),
  )
  dialog.classList.add('wide')
  signal.addEventListener('abort', () => {
    dialog.close()
  })
}

function whyNone(error) {
  if (error.code !== 'history_off') throw error
  return 'This server keeps no history. One that is started with --history 24h tells who held a key and who changed what.'
}

class History {
  #path
  #signal
  #cursor = null
  #since = element('p')
  #body = element('tbody')
  #table
  older = button('Show older ones', () => {
    attempt(this.#next())
  })

  constructor(path, signal) {
    this.#path = path
    this.#signal = signal
    const head = TITLES.map((title) =>
      element('th', { scope: 'col', className: title === 'Token' ? 'number' : '' }, title),
    )
    const table = element(
      'table',
      {},
      element('caption', { className: 'unseen' }, 'Changes, the latest first'),
      element('thead', {}, element('tr', {}, ...head)),
      this.#body,
    )
    this.#table = element(
      'div',
      { className: 'scroll', tabIndex: 0, role: 'region', ariaLabel: 'Table of changes' },
      table,
    )
  }

  get nodes() {
    return [this.#since, this.#table]
  }

  /** One more page. */
  async more() {
    const query = new URLSearchParams({ limit: PAGE })
    if (this.#cursor !== null) query.set('cursor', this.#cursor)
    const page = await ask('GET', `${this.#path}/history?${query}`, { signal: this.#signal })
    this.#cursor = page.nextCursor ?? null
    this.#body.append(...page.entries.map(rowOf))
    this.older.hidden = this.#cursor === null
    const since = timeOf(page.since)
    if (page.entries.length === 0 && this.#cursor === null) {
      this.#since.replaceChildren('Nothing has happened to it since ', since, '.')
    } else this.#since.replaceChildren('Nothing is missing since ', since, '.')
  }

  async #next() {
    const before = this.#body.childElementCount
    this.older.disabled = true
    try {
      await this.more()
    } finally {
      this.older.disabled = false
    }
    say(`${count(this.#body.childElementCount - before)} older ones are shown.`)
    ;(this.older.hidden ? this.#table : this.older).focus()
  }
}

function rowOf({ at, change, fencingToken, holder, by, outcome, until }) {
  const held = fencingToken === null ? '' : 'nameless'
  const cells = [holder ?? held, by ?? '', outcome ?? '', until === null ? '' : timeOf(until)]
  const row = element('tr', {}, element('td', {}, timeOf(at)))
  const what = element('th', { scope: 'row' })
  write(what, change.replaceAll('_', ' '))
  row.append(what, ...cells.map((cell) => element('td', {}, cell)))
  row.append(element('td', { className: 'number' }, fencingToken ?? ''))
  return row
}

const seconds = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' })

/** In the time of who reads; to the millisecond where it is pointed at. */
function timeOf(instant) {
  return element('time', { dateTime: instant, title: instant }, seconds.format(new Date(instant)))
}
