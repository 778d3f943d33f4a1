/** A key in the table of its pool. */
import { ask, serverNow } from './api.js'
import { confirm } from './dialogs.js'
import { attempt, button, count, duration, element, say, short, write } from './elements.js'
import { showHistory } from './history.js'

/** @param pool its path, the signal when its page is left, and look: called when something was done to the key */
export function newKeyRow({ keyId }, pool) {
  const id = element('code', { title: keyId }, short(keyId))
  const name = element('span', { className: 'name' })
  const badge = element('span', { className: 'badge' })
  const reason = element('span', { className: 'reason' })
  const holder = element('td', { className: 'holder' })
  const bar = element('progress', { max: 1, value: 0, ariaLabel: `Time left of ${short(keyId)}` })
  const left = element('span', { className: 'left' })
  const failures = element('td', { className: 'number' })
  const dies = element('td', { className: 'dies' })
  const buttons = buttonsOf(keyId, pool)
  const node = element(
    'tr',
    {},
    element('th', { scope: 'row' }, id, name),
    element('td', {}, badge, reason),
    holder,
    element('td', { className: 'time' }, bar, left),
    failures,
    dies,
    element('td', { className: 'acts' }, ...Object.values(buttons)),
  )
  let key = null
  let span = { from: 0, until: null }

  const tick = () => {
    const now = serverNow()
    bar.hidden = span.until === null
    if (span.until !== null) {
      bar.max = Math.max(1, span.until - span.from)
      bar.value = Math.max(0, span.until - now)
    }
    write(left, span.until === null ? '' : duration(span.until - now))
    const end = key.expiresAt === null ? 'never' : `in ${duration(Date.parse(key.expiresAt) - now)}`
    write(dies, end)
  }
  return {
    node,
    tick,
    update(shown) {
      key = shown
      span = spanOf(shown, span)
      write(name, shown.name ?? '')
      write(badge, shown.state)
      badge.className = `badge ${shown.state}`
      bar.className = shown.state
      const willRest = shown.disabled && shown.state === 'leased' ? 'disabled when it ends' : ''
      write(reason, shown.disabledReason ?? willRest)
      write(holder, shown.lease === null ? '' : (shown.lease.holder ?? 'nameless'))
      write(failures, shown.failures === 0 ? '' : count(shown.failures))
      buttons.disable.hidden = shown.disabled
      buttons.enable.hidden = !shown.disabled
      buttons.revoke.disabled = shown.lease === null
      tick()
    },
  }
}

/** What the bar stands for: a lease from its grant on, a rest from when it was first seen. */
function spanOf({ lease, coolingUntil }, before) {
  if (lease !== null) {
    return { from: Date.parse(lease.grantedAt), until: Date.parse(lease.expiresAt) }
  }
  if (coolingUntil === null) return { from: 0, until: null }
  const until = Date.parse(coolingUntil)
  return until === before.until ? before : { from: serverNow(), until }
}

function buttonsOf(keyId, pool) {
  const key = short(keyId)
  const path = `${pool.path}/keys/${encodeURIComponent(keyId)}`
  const act = (text, question, method, place, bodyOf, done) =>
    button(
      text,
      () => {
        confirm({ action: text, ...question }, async (given) => {
          await ask(method, path + place, { body: bodyOf?.(given) })
          say(`Key ${key} ${done}.`)
          await pool.look()
        })
      },
      { ariaLabel: `${text} key ${key}`, className: 'small' },
    )
  return {
    history: button('History', () => attempt(showHistory(keyId, path, pool.signal)), {
      ariaLabel: `History of key ${key}`,
      className: 'small',
    }),
    disable: act(
      'Disable',
      {
        title: `Disable key ${key}`,
        text: 'Nobody is given it any more. Who holds it now may renew and finish.',
        fields: [{ name: 'reason', label: 'Why', maxLength: 200 }],
      },
      'PATCH',
      '',
      ({ reason }) => ({ disabled: true, ...(reason === '' ? {} : { reason }) }),
      'is disabled',
    ),
    enable: act(
      'Enable',
      {
        title: `Enable key ${key}`,
        text: 'It may be leased again at once: its rest ends, and its failures are forgotten.',
      },
      'PATCH',
      '',
      () => ({ disabled: false, coolingUntil: null }),
      'is enabled',
    ),
    revoke: act(
      'Revoke',
      {
        title: `Revoke the lease of key ${key}`,
        text: 'Its holder loses it at once, and may still be using it.',
        isDangerous: true,
      },
      'DELETE',
      '/lease',
      null,
      'is taken from its holder',
    ),
    remove: act(
      'Delete',
      {
        title: `Delete key ${key}`,
        text: 'The key is gone at once, and its lease with it. This cannot be undone.',
        isDangerous: true,
      },
      'DELETE',
      '',
      null,
      'is deleted',
    ),
  }
}
