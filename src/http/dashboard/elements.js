/** What pages are made of. Text is only ever put in as text. */

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value
    else made.setAttribute(name, value)
  }
  made.append(...children)
  return made
}

export function button(text, onclick, properties = {}) {
  return element('button', { type: 'button', onclick, ...properties }, text)
}

/** Changes a text only where it is another, so that nothing is announced or selected anew. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text
}

/** Tells everybody, screen readers too, what has come of an action. */
export function say(text) {
  const said = document.getElementById('said')
  said.textContent = text
  clearTimeout(say.timeout)
  say.timeout = setTimeout(() => {
    said.textContent = ''
  }, 6000)
}

/** Says why something failed that was asked for in passing. */
export function attempt(promise) {
  promise.catch((error) => {
    if (error.name !== 'AbortError') say(error.message)
  })
}

/** A page begins: its title is where a screen reader goes on. */
export function headline(text, ...beside) {
  document.title = `${text} · Token Orchestrator`
  const title = element('h1', { tabIndex: -1 }, text)
  const line = element('div', { className: 'headline' }, title, ...beside)
  return line
}

/**
 * Brings the children in line with `items`, by their keys: what is there already stays the same element, and keeps
 * its focus.
 */
export function reconcile(parent, known, items, keyOf, make) {
  const before = new Map(known)
  known.clear()
  let place = parent.firstElementChild
  for (const item of items) {
    const key = keyOf(item)
    const row = before.get(key) ?? make(item)
    before.delete(key)
    known.set(key, row)
    row.update(item)
    if (row.node === place) place = place.nextElementSibling
    else parent.insertBefore(row.node, place)
  }
  for (const { node } of before.values()) node.remove()
}

const whole = new Intl.NumberFormat('en')

export function count(number) {
  return whole.format(number)
}

export function plural(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`
}

/** In two units at most. */
export function duration(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return `${hours} h ${minutes % 60} min`
  return `${count(Math.floor(hours / 24))} days`
}

/** A key by as much of its id as a person compares. */
export function short(keyId) {
  return keyId.slice(0, 8)
}
