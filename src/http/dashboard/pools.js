/** All pools, a page at a time. */
import { ask, listen, poolPath, Refused } from './api.js'
import { confirm, parseDuration } from './dialogs.js'
import { attempt, button, count, element, headline, reconcile, say, write } from './elements.js'
import { Rate, Spread, STATES } from './figures.js'

/** As many as fit into one question for their events. */
const PAGE = 50
/** Pools that others make appear after so long. */
const LOOK_EVERY_MS = 15_000

/** Resolves when the signal comes. */
export async function showPools(main, signal, connected) {
  const cursors = [null]
  let page = await fetchPage(cursors.at(-1), signal)
  const body = element('tbody')
  const rows = new Map()
  const previous = button('Previous page', () => {
    attempt(turn(-1))
  })
  const next = button('Next page', () => {
    attempt(turn(1))
  })
  const where = element('span', { className: 'where' })
  let listening = new AbortController()

  const fill = () => {
    reconcile(body, rows, page.pools, ({ name }) => name, newRow)
    previous.disabled = cursors.length === 1
    next.disabled = page.nextCursor === undefined
    const first = (cursors.length - 1) * PAGE + 1
    const last = first + page.pools.length - 1
    write(where, last < first ? 'No pools' : `Pools ${count(first)} to ${count(last)}`)
  }
  const follow = () => {
    listening.abort()
    listening = new AbortController()
    const both = AbortSignal.any([signal, listening.signal])
    const names = page.pools.map(({ name }) => name).join(',')
    if (names === '') return Promise.resolve()
    return listen(`pools=${names}`, both, (event, data) => {
      connected(event)
      if (event === 'counts') rows.get(data.pool)?.count(data)
      if (event === 'gone') attempt(look())
    }).catch(failed.reject)
  }
  const look = async () => {
    const before = page.pools.map(({ name }) => name).join()
    const cursor = cursors.at(-1)
    const seen = await fetchPage(cursor, signal)
    if (cursor !== cursors.at(-1)) return // the reader has turned the page meanwhile
    page = seen
    if (page.pools.map(({ name }) => name).join() === before) return
    fill()
    void follow()
  }
  async function turn(by) {
    const cursor = by > 0 ? page.nextCursor : cursors.at(-2)
    previous.disabled = true
    next.disabled = true
    try {
      page = await fetchPage(cursor, signal)
      if (by > 0) cursors.push(cursor)
      else cursors.pop()
    } finally {
      fill()
    }
    void follow()
    main.querySelector('h1').focus()
  }

  const failed = Promise.withResolvers()
  main.replaceChildren(
    headline('Pools', button('New pool', newPool, { className: 'primary' }), finder()),
    tableOf(body),
    element('nav', { className: 'pages', ariaLabel: 'Pages' }, previous, where, next),
  )
  fill()
  main.querySelector('h1').focus()
  void follow()
  const ticking = setInterval(() => {
    for (const row of rows.values()) row.tick()
  }, 1000)
  const looking = setInterval(() => void look().catch(() => undefined), LOOK_EVERY_MS)
  signal.addEventListener('abort', () => {
    clearInterval(ticking)
    clearInterval(looking)
    failed.resolve()
  })
  await failed.promise
}

function fetchPage(cursor, signal) {
  const from = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
  return ask('GET', `/v1/pools?limit=${PAGE}${from}`, { signal })
}

function tableOf(body) {
  const numbers = ['Available', 'Leased', 'Cooling', 'Disabled', 'Waiting']
  const head = element(
    'tr',
    {},
    element('th', { scope: 'col' }, 'Pool'),
    element('th', { scope: 'col' }, 'Keys by state'),
    ...numbers.map((title) => element('th', { scope: 'col', className: 'number' }, title)),
    element('th', { scope: 'col', className: 'number', colSpan: 2 }, 'Leases a second'),
  )
  const caption = element('caption', { className: 'unseen' }, 'Pools and how many keys they have')
  const table = element('table', {}, caption, element('thead', {}, head), body)
  return element(
    'div',
    { className: 'scroll card', tabIndex: 0, role: 'region', ariaLabel: 'Pools' },
    table,
  )
}

function newRow({ name }) {
  const spread = new Spread()
  const rate = new Rate()
  const cells = [...STATES, 'waiting'].map((state) =>
    element('td', { className: `number ${state}` }, '–'),
  )
  const perSecond = element('td', { className: 'number' }, '0')
  const link = element('a', { href: `#/pools/${encodeURIComponent(name)}` }, name)
  const node = element(
    'tr',
    {},
    element('th', { scope: 'row' }, link),
    element('td', { className: 'figure' }, spread.node),
    ...cells,
    element('td', { className: 'figure' }, rate.node),
    perSecond,
  )
  return {
    node,
    update: () => undefined,
    count({ counts, waiters, changes }) {
      const numbers = [...STATES.map((state) => counts[state]), waiters]
      for (const [at, number] of numbers.entries()) {
        write(cells[at], count(number))
        cells[at].classList.toggle('none', number === 0)
      }
      spread.update(counts)
      rate.add(changes.leased ?? 0)
    },
    tick() {
      rate.tick()
      write(perSecond, rate.perSecond)
    },
  }
}

/** Of a hundred thousand pools, the one whose name is known. */
function finder() {
  const input = element('input', {
    type: 'search',
    placeholder: 'Name of a pool',
    ariaLabel: 'Go to the pool',
    spellcheck: false,
    required: true,
  })
  return element(
    'form',
    {
      role: 'search',
      className: 'finder',
      onsubmit: (event) => {
        event.preventDefault()
        location.hash = `#/pools/${encodeURIComponent(input.value.trim())}`
      },
    },
    input,
    element('button', { type: 'submit' }, 'Go'),
  )
}

function newPool() {
  const rules = '1 to 64 of a-z 0-9 . _ - beginning with a letter or digit'
  const fields = [
    {
      name: 'name',
      label: 'Name',
      hint: rules,
      required: true,
      pattern: '[a-z0-9][a-z0-9._\\-]{0,63}',
    },
    {
      name: 'life',
      label: 'Life of a key that nobody keeps alive',
      value: '5m',
      hint: '90s, 5m, 1h, 7d; empty: it never dies by itself',
    },
    { name: 'ttl', label: 'Time of a lease that is not renewed', value: '60s', required: true },
    { name: 'rest', label: 'Rest of a key after a lease', value: '0s', required: true },
  ]
  confirm({ title: 'New pool', fields, action: 'Make the pool' }, async (given) => {
    const { name, life, ttl, rest } = given
    const leaseTtlMs = parseDuration(ttl)
    const body = {
      keyLifetimeMs: life === '' ? null : parseDuration(life),
      leaseTtlMs,
      maxLeaseTtlMs: Math.max(leaseTtlMs, 3_600_000),
      cooldownMs: parseDuration(rest),
    }
    if (await exists(name)) throw new Error(`There is a pool ${name} already.`)
    await ask('PUT', poolPath(name), { body })
    say(`Pool ${name} is made.`)
    location.hash = `#/pools/${encodeURIComponent(name)}`
  })
}

/** A PUT would replace its policy. */
async function exists(name) {
  try {
    await ask('GET', poolPath(name))
    return true
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return false
    throw error
  }
}
