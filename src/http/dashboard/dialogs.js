/** What is shown before the page, above all questions before something is done. */
import { button, element } from './elements.js'

let fields = 0

/** Shows that until it is closed; then the focus goes back to where it was. */
export function present(title, ...content) {
  const opener = document.activeElement
  const heading = element('h2', { id: 'dialog-title' }, title)
  const dialog = element('dialog', { 'aria-labelledby': heading.id }, heading, ...content)
  dialog.addEventListener('close', () => {
    dialog.remove()
    const isThere = opener?.isConnected === true
    ;(isThere ? opener : document.querySelector('h1'))?.focus()
  })
  document.body.append(dialog)
  dialog.showModal()
  return dialog
}

/**
 * Asks, and does it with what was filled in; where that is refused it says why, and the dialog stays.
 * @param question title, text, fields (name, label, and what an input may have), action, isDangerous
 */
export function confirm(question, act) {
  const { title, text, fields = [], action, isDangerous = false } = question
  const wrong = element('p', { className: 'wrong', role: 'alert' })
  const inputs = fields.map(fieldOf)
  const go = element('button', { type: 'submit' }, action)
  go.className = isDangerous ? 'danger' : 'primary'
  const form = element(
    'form',
    {
      onsubmit: async (event) => {
        event.preventDefault()
        go.disabled = true
        try {
          await act(valuesOf(inputs))
          dialog.close()
        } catch (error) {
          wrong.textContent = error.message
          go.disabled = false
        }
      },
    },
    ...(text === undefined ? [] : [element('p', {}, text)]),
    ...inputs.map(({ node }) => node),
    wrong,
    element(
      'div',
      { className: 'buttons' },
      button('Cancel', () => {
        dialog.close()
      }),
      go,
    ),
  )
  const dialog = present(title, form)
}

function fieldOf({ name, label, hint, kind = 'input', ...properties }) {
  const id = `field-${fields++}`
  const input = element(kind, { id, name, autocomplete: 'off', ...properties })
  const about = hint === undefined ? null : element('small', { id: `${id}-hint` }, hint)
  if (about !== null) input.setAttribute('aria-describedby', about.id)
  const isCheck = properties.type === 'checkbox'
  const title = element('label', { htmlFor: id }, label)
  const node = element('div', { className: isCheck ? 'field check' : 'field' })
  node.append(...(isCheck ? [input, title] : [title, input]), ...(about === null ? [] : [about]))
  return { node, input }
}

function valuesOf(inputs) {
  return Object.fromEntries(
    inputs.map(({ input }) => [
      input.name,
      input.type === 'checkbox' ? input.checked : input.value.trim(),
    ]),
  )
}

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** ms of `90s`, `5m`, `1h`, `7d`. @throws Error in words for who typed it */
export function parseDuration(text) {
  const [, digits, unit] = /^(\d{1,9})\s*(ms|s|m|h|d)$/.exec(text) ?? []
  if (unit === undefined) throw new Error(`"${text}" is no duration: write 90s, 5m, 1h or 7d.`)
  return Number(digits) * UNIT_MS[unit]
}
