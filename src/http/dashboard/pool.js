/** One pool: how many keys it has, why it gives none, and its keys. */
import { ask, listen, poolPath, serverNow } from './api.js'
import { confirm } from './dialogs.js'
import {
  attempt,
  button,
  count,
  duration,
  element,
  headline,
  plural,
  reconcile,
  say,
  write,
} from './elements.js'
import { Rate, Spread, STATES } from './figures.js'
import { newKeyRow } from './keys.js'

const PAGE = 50
/** Between two looks at a page of keys on which something has changed. */
const LOOK_EVERY_MS = 1000

/** Resolves when the signal comes. */
export async function showPool(main, name, signal, connected) {
  const path = poolPath(name)
  const pool = await ask('GET', path, { signal })
  const overview = new Overview()
  const keys = new Keys(path, signal)
  const failed = Promise.withResolvers()
  let isStale = false

  main.replaceChildren(
    element(
      'nav',
      { className: 'crumbs', ariaLabel: 'Breadcrumb' },
      element('a', { href: '#/' }, 'Pools'),
    ),
    headline(name, ...actions(name)),
    overview.node,
    keys.node,
    policyOf(pool.policy),
  )
  overview.update(pool)
  await keys.look()
  main.querySelector('h1').focus()

  listen(`pool=${encodeURIComponent(name)}`, signal, (event, data) => {
    connected(event)
    if (event === 'counts') overview.update(data)
    // Counts may be other ones without a change: a rest is over by itself.
    if (['open', 'change', 'missed', 'counts'].includes(event)) isStale = true
    if (event === 'gone') failed.reject(new Error(`Pool ${name} was deleted.`))
  }).catch(failed.reject)
  const ticking = setInterval(() => {
    overview.tick()
    keys.tick()
  }, 1000)
  const looking = setInterval(() => {
    if (!isStale || keys.isLooking) return
    isStale = false
    keys.look().catch(() => {
      isStale = true
    })
  }, LOOK_EVERY_MS)
  signal.addEventListener('abort', () => {
    clearInterval(ticking)
    clearInterval(looking)
    failed.resolve()
  })
  await failed.promise
}

class Overview {
  node = element('section', { className: 'card overview', ariaLabel: 'Overview' })
  #spread = new Spread()
  #rate = new Rate()
  #numbers = [...STATES, 'waiting'].map((state) => ({
    state,
    number: element('dd', { className: state }, '0'),
  }))
  #perSecond = element('dd', {}, '0')
  #why = element('p', { className: 'why' })
  #last = null

  constructor() {
    const tile = (title, ...content) =>
      element('div', { className: 'tile' }, element('dt', {}, title), ...content)
    const names = ['Available', 'Leased', 'Cooling', 'Disabled', 'Waiting']
    const tiles = this.#numbers.map(({ number }, at) => tile(names[at], number))
    const rate = tile('Leases a second', this.#perSecond)
    this.node.append(
      element('dl', {}, ...tiles, rate),
      this.#rate.node,
      this.#spread.node,
      this.#why,
    )
  }

  update(pool) {
    this.#last = pool
    for (const { state, number } of this.#numbers) {
      const times = state === 'waiting' ? pool.waiters : pool.counts[state]
      write(number, count(times))
      number.classList.toggle('none', times === 0)
    }
    this.#spread.update(pool.counts)
    this.#rate.add(pool.changes?.leased ?? 0)
    this.#explain()
  }

  tick() {
    this.#rate.tick()
    write(this.#perSecond, this.#rate.perSecond)
    this.#explain()
  }

  #explain() {
    const { counts, nextAvailableAt } = this.#last
    const { available, leased, cooling, disabled } = counts
    const next =
      nextAvailableAt === null
        ? ''
        : ` The next comes free by itself in ${duration(Date.parse(nextAvailableAt) - serverNow())}.`
    if (available > 0) {
      write(this.#why, `Whoever asks gets one of ${plural(available, 'key', 'keys')}.`)
    } else if (leased + cooling > 0) {
      write(
        this.#why,
        `Nothing is available: ${count(leased)} leased and ${count(cooling)} cooling.${next}`,
      )
    } else if (disabled > 0) {
      write(this.#why, 'Nothing is available: every key is disabled. Enable one, or make new ones.')
    } else {
      write(this.#why, 'Nothing is available: the pool has no keys. Make some, or import them.')
    }
  }
}

class Keys {
  #path
  #signal
  #state = ''
  #cursors = [null]
  #nextCursor
  #rows = new Map()
  #body = element('tbody')
  #empty = element('p', { className: 'empty', hidden: true })
  #previous = button('Previous page', () => {
    attempt(this.#turn(-1))
  })
  #next = button('Next page', () => {
    attempt(this.#turn(1))
  })
  #where = element('span', { className: 'where' })
  #looks = 0
  isLooking = false
  node

  constructor(path, signal) {
    this.#path = path
    this.#signal = signal
    const titles = ['Key', 'State', 'Holder', 'Time left', 'Failures', 'Dies']
    const head = titles.map((title) =>
      element('th', { scope: 'col', className: title === 'Failures' ? 'number' : '' }, title),
    )
    const caption = element('caption', { className: 'unseen' }, 'Keys')
    const acts = element(
      'th',
      { scope: 'col' },
      element('span', { className: 'unseen' }, 'Actions'),
    )
    this.node = element(
      'section',
      { ariaLabel: 'Keys' },
      element('div', { className: 'headline' }, element('h2', {}, 'Keys'), this.#filter()),
      element(
        'div',
        { className: 'scroll card', tabIndex: 0, role: 'region', ariaLabel: 'Table of keys' },
        element(
          'table',
          {},
          caption,
          element('thead', {}, element('tr', {}, ...head, acts)),
          this.#body,
        ),
        this.#empty,
      ),
      element(
        'nav',
        { className: 'pages', ariaLabel: 'Pages' },
        this.#previous,
        this.#where,
        this.#next,
      ),
    )
  }

  async look() {
    const look = ++this.#looks
    this.isLooking = true
    try {
      const query = new URLSearchParams({ limit: PAGE })
      if (this.#state !== '') query.set('state', this.#state)
      const cursor = this.#cursors.at(-1)
      if (cursor !== null) query.set('cursor', cursor)
      const page = await ask('GET', `${this.#path}/keys?${query}`, { signal: this.#signal })
      if (look !== this.#looks) return // something else has been asked for since
      this.#nextCursor = page.nextCursor
      this.#fill(page.keys)
    } finally {
      if (look === this.#looks) this.isLooking = false
    }
  }

  tick() {
    for (const row of this.#rows.values()) row.tick()
  }

  #fill(keys) {
    const hadFocus = this.#body.contains(document.activeElement)
    const pool = { path: this.#path, signal: this.#signal, look: () => this.look() }
    const make = (key) => newKeyRow(key, pool)
    reconcile(this.#body, this.#rows, keys, ({ keyId }) => keyId, make)
    // Its row is gone: a keyboard must not be thrown back to the beginning of the page.
    if (hadFocus && document.activeElement === document.body) this.#body.closest('.scroll').focus()
    this.#previous.disabled = this.#cursors.length === 1
    this.#next.disabled = this.#nextCursor === undefined
    this.#empty.hidden = keys.length > 0
    write(this.#empty, this.#state === '' ? 'No keys here.' : `No ${this.#state} keys here.`)
    write(this.#where, `Page ${count(this.#cursors.length)}`)
  }

  async #turn(by) {
    const before = this.#cursors
    this.#previous.disabled = true
    this.#next.disabled = true
    this.#cursors = by > 0 ? [...before, this.#nextCursor] : before.slice(0, -1)
    try {
      await this.look()
    } catch (error) {
      this.#cursors = before
      this.#previous.disabled = before.length === 1
      this.#next.disabled = this.#nextCursor === undefined
      throw error
    }
    this.#body.closest('.scroll').focus()
  }

  #filter() {
    const choices = ['', ...STATES].map((state) => {
      const input = element('input', {
        type: 'radio',
        name: 'state',
        value: state,
        checked: state === '',
        onchange: () => {
          this.#state = state
          this.#cursors = [null]
          attempt(this.look())
        },
      })
      const title = state === '' ? 'All' : state[0].toUpperCase() + state.slice(1)
      return element('label', {}, input, title)
    })
    const legend = element('legend', { className: 'unseen' }, 'Keys of which state')
    return element('fieldset', { className: 'filter' }, legend, ...choices)
  }
}

function actions(name) {
  const path = poolPath(name)
  return [
    button('Make keys', () => makeKeys(path), { className: 'primary' }),
    button('Import keys', () => importKeys(path)),
    button('Delete pool', () => deletePool(name, path), { className: 'quiet danger' }),
  ]
}

function makeKeys(path) {
  const fields = [
    { name: 'count', label: 'How many', type: 'number', min: 1, max: 10_000, value: 1 },
    {
      name: 'prefix',
      label: 'Prefix',
      hint: 'Keys with a prefix have a value, which is given in a lease only. Without one a key is its id.',
    },
  ]
  confirm({ title: 'Make keys', fields, action: 'Make them' }, async ({ count: times, prefix }) => {
    const body = { count: Number(times), ...(prefix === '' ? {} : { prefix }) }
    const { keyIds } = await ask('POST', `${path}/keys`, { body })
    say(`${plural(keyIds.length, 'key is', 'keys are')} made.`)
  })
}

function importKeys(path) {
  const fields = [
    {
      name: 'values',
      label: 'Values, one on each line',
      kind: 'textarea',
      rows: 8,
      spellcheck: false,
      required: true,
      hint: 'They are kept encrypted and shown to nobody but the holder of a lease.',
    },
    { name: 'skip', label: 'Pass over values that the pool has already', type: 'checkbox' },
  ]
  confirm({ title: 'Import keys', fields, action: 'Import them' }, async ({ values, skip }) => {
    const lines = values.split('\n').map((line) => line.trim())
    const keys = lines.filter((line) => line !== '').map((value) => ({ value }))
    const body = { keys, onDuplicate: skip ? 'skip' : 'refuse' }
    const { keyIds } = await ask('POST', `${path}/keys`, { body })
    say(`${plural(keyIds.length, 'key is', 'keys are')} imported.`)
  })
}

function deletePool(name, path) {
  const isDefault = name === 'default'
  const title = isDefault ? 'Empty the default pool' : `Delete pool ${name}`
  const text = 'All its keys and their leases end at once. This cannot be undone.'
  const fields = [{ name: 'typed', label: `Type ${name} to go on`, required: true }]
  const action = isDefault ? 'Empty it' : 'Delete it'
  confirm({ title, text, fields, action, isDangerous: true }, async ({ typed }) => {
    if (typed !== name) throw new Error(`That is not ${name}.`)
    await ask('DELETE', `${path}?force=true`)
    say(isDefault ? 'The default pool is empty.' : `Pool ${name} is deleted.`)
    if (!isDefault) location.hash = '#/'
  })
}

const POLICY = {
  keyLifetimeMs: 'Life of a key',
  leaseTtlMs: 'Time of a lease',
  maxLeaseTtlMs: 'Longest time of a lease',
  maxLeaseTotalMs: 'Longest with renewals',
  cooldownMs: 'Rest after a release',
  expiredLeaseCooldownMs: 'Rest after a lease that ran out',
  failureCooldownMs: 'Rest after a failure',
  maxFailureCooldownMs: 'Longest rest after failures',
}

function policyOf(policy) {
  const lines = Object.entries(POLICY).flatMap(([field, title]) => [
    element('dt', {}, title),
    element('dd', {}, policy[field] === null ? 'no end' : duration(policy[field])),
  ])
  const most = [element('dt', {}, 'Most keys'), element('dd', {}, count(policy.maxKeys))]
  const shards = [element('dt', {}, 'Shards'), element('dd', {}, count(policy.shards))]
  const counts = policy.shards > 1 ? [...most, ...shards] : most
  return element(
    'details',
    { className: 'card policy' },
    element('summary', {}, 'Policy'),
    element('dl', {}, ...lines, ...counts),
  )
}
