/** Which page is shown, and to whom. */
import { ask, isSignedIn, Refused, signIn } from './api.js'
import { button, element, headline } from './elements.js'
import { showPool } from './pool.js'
import { showPools } from './pools.js'

const main = document.getElementById('main')
const signOut = document.getElementById('sign-out')
const live = document.getElementById('live')

/** Of the page that is shown; aborted when it is left. */
let leaving = new AbortController()

const LIVE = { open: 'live', lost: 'reconnecting' }

/** Whether what is shown is how things are. */
function connected(event) {
  if (!(event in LIVE)) return
  live.className = LIVE[event]
  live.textContent = event === 'open' ? 'Live' : 'Reconnecting…'
}

async function show() {
  leaving.abort()
  leaving = new AbortController()
  const { signal } = leaving
  signOut.hidden = !isSignedIn()
  connected('lost')
  const name = /^#\/pools\/([^/]+)$/.exec(location.hash)?.[1]
  try {
    if (name === undefined) await showPools(main, signal, connected)
    else await showPool(main, decodeURIComponent(name), signal, connected)
  } catch (error) {
    if (signal.aborted) return
    leaving.abort()
    live.textContent = ''
    live.className = ''
    if (error instanceof Refused && error.status === 401) showLogin(error)
    else showFailure(error)
  }
}

function showLogin(error) {
  const wasTried = isSignedIn()
  signIn(null)
  signOut.hidden = true
  const wrong = element('p', { className: 'wrong', role: 'alert', id: 'why' })
  const input = element('input', {
    id: 'token',
    type: 'password',
    autocomplete: 'off',
    spellcheck: false,
    required: true,
    'aria-describedby': 'why',
  })
  const form = element(
    'form',
    {
      className: 'login card',
      onsubmit: async (event) => {
        event.preventDefault()
        signIn(input.value.trim())
        try {
          await ask('GET', '/v1/pools?limit=1')
          await show()
        } catch (refused) {
          signIn(null)
          wrong.textContent = refused.message
          input.select()
        }
      },
    },
    element('label', { htmlFor: 'token' }, 'Access token'),
    input,
    wrong,
    element('button', { type: 'submit', className: 'primary' }, 'Sign in'),
    element(
      'small',
      {},
      'It needs the scope read to look, and keys:write, pools:write and leases:admin to act. It is forgotten with this tab.',
    ),
  )
  main.replaceChildren(headline('Sign in'), form)
  if (wasTried) wrong.textContent = error.message
  input.focus()
}

function showFailure(error) {
  main.replaceChildren(
    headline('That did not work'),
    element('p', { role: 'alert' }, error.message),
    element(
      'div',
      { className: 'buttons' },
      button('Try again', () => void show(), { className: 'primary' }),
      element('a', { href: '#/' }, 'All pools'),
    ),
  )
}

signOut.addEventListener('click', () => {
  signIn(null)
  void show()
})
window.addEventListener('hashchange', () => {
  if (!location.hash.startsWith('#/') && location.hash !== '') return
  void show().then(() => undefined)
})
void show()
